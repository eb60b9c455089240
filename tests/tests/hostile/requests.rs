//! Requests that other clients and proxies write otherwise than the JavaScript client does: to a node, and through a balancer.

use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use sociable::{Server, ServerBuilder, Socket};
use sociable_balancer_core::Options;
use sociable_tests::{Client, Connection, Node, Polling, Response, WebSocket, ack, event, eventually, get, message, note, upgrade};

use crate::front::Front;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A node, and a balancer in front of it.
struct Site {
    server: Server,
    node: Node,
    front: Front,
}

impl Site {
    async fn start(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let server = options(Server::builder()).build().unwrap();
        let node = Node::with_health(&server, 2);
        let trusted = vec!["127.0.0.1/32".parse().unwrap()];
        let front = Front::start(std::slice::from_ref(&node), Options { trusted, ..Options::default() }).await;
        Self { server, node, front }
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [self.node.addr, self.front.addr()]
    }
}

mod lists {
    use super::*;

    #[tokio::test]
    async fn address_of_the_proxy_is_last_when_it_adds_a_line() {
        let site = Site::start(|options| options).await;
        let (seen, see) = note();
        site.server.on_connect(move |socket: Socket| {
            let handshake = socket.handshake();
            let value = |name| handshake.header(name).map(str::to_owned);
            see((value("x-forwarded-for"), value("cookie"), value("x-list")));
            ready(())
        });
        let lines = [
            ("X-Forwarded-For", "6.6.6.6"),
            ("Cookie", "a=1"),
            ("X-List", "one"),
            ("X-Forwarded-For", "10.1.2.3"),
            ("Cookie", "b=2"),
            ("X-List", "two, three"),
        ];
        for address in site.addresses() {
            let websocket = WebSocket::try_open(address, "/socket.io/?EIO=4&transport=websocket", &lines).await.unwrap();
            let mut client = Client::session_over(websocket).await;
            client.join("/").await;
        }
        let [direct, balanced] = ["6.6.6.6, 10.1.2.3", "6.6.6.6, 10.1.2.3, 127.0.0.1"]
            .map(|chain| (Some(chain.to_owned()), Some("a=1; b=2".to_owned()), Some("one, two, three".to_owned())));
        eventually("both are seen", || seen.lock().unwrap().len() == 2).await;
        assert_eq!(*seen.lock().unwrap(), [direct, balanced]);
    }
}

mod protocols {
    use super::*;

    /// Asks for a WebSocket with these lines of protocols.
    async fn offer(address: SocketAddr, target: &str, lines: &[&str]) -> Response {
        let headers: Vec<_> = lines.iter().map(|line| ("Sec-WebSocket-Protocol", *line)).collect();
        upgrade(address, target, &headers).await
    }

    #[tokio::test]
    async fn first_protocol_is_chosen_when_a_client_offers_some() {
        let site = Site::start(|options| options.allow_eio3(true)).await;
        for address in site.addresses() {
            let polling = Polling::open(address, "/socket.io/").await;
            let opening = ["/socket.io/?EIO=4&transport=websocket", "/socket.io/?EIO=3&transport=websocket"];
            for target in opening.map(str::to_owned).into_iter().chain([polling.upgrade_target()]) {
                let answer = offer(address, &target, &["chat.v1, chat.v2", "chat.v3"]).await;
                assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("chat.v1")), "{target} at {address}");
            }
            let answer = offer(address, opening[0], &[]).await;
            assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None));
            for wrong in ["a,,b", "a, a", "a b", "", "a/b"] {
                let answer = offer(address, opening[0], &[wrong]).await;
                assert_eq!(answer.brief(), (400, "Invalid Sec-WebSocket-Protocol header"), "{wrong} at {address}");
            }
        }
    }

    #[tokio::test]
    async fn application_chooses_the_protocol_when_it_wants_to() {
        let choose = |options: ServerBuilder| {
            options.choose_websocket_protocol(|offered, handshake| {
                let wanted = handshake.query_value("want").unwrap_or_default();
                offered.iter().copied().find(|name| *name == wanted)
            })
        };
        let site = Site::start(choose).await;
        for address in site.addresses() {
            for (want, chosen) in [("chat.v2", Some("chat.v2")), ("none", None)] {
                let answer = offer(address, &format!("/socket.io/?EIO=4&transport=websocket&want={want}"), &["chat.v1, chat.v2"]).await;
                assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, chosen), "{want} at {address}");
            }
        }
    }
}

mod heads {
    use super::*;

    #[tokio::test]
    async fn answer_has_the_cause_when_a_target_is_not_encoded() {
        let site = Site::start(|options| options).await;
        for address in site.addresses() {
            let mut connection = Connection::open(address).await;
            // Also behind a request that was answered.
            connection.ask("GET", POLLING, &[], "").await;
            assert_eq!(connection.response().await.unwrap().status, 200);
            connection.ask("GET", &format!("{POLLING}&user={{\"a\":1}}"), &[], "").await;
            let answer = connection.response().await.unwrap();
            assert_eq!(answer.status, 400);
            assert!(answer.text().contains("percent-encoded"), "{answer:?} at {address}");
            assert_eq!(get(address, &format!("{POLLING}&user=%7B%22a%22:1%7D")).await.status, 200);
        }
    }

    #[tokio::test]
    async fn answer_has_the_cause_when_there_are_too_many_fields() {
        let site = Site::start(|options| options).await;
        let names: Vec<_> = (0..97).map(|n| format!("X-{n}")).collect();
        for (address, most) in site.addresses().into_iter().zip([96, 92]) {
            for (fields, status) in [(most, 200), (most + 1, 431), (98, 431)] {
                // The host is one, too.
                let headers: Vec<_> = names[..fields - 1].iter().map(|name| (&**name, "1")).collect();
                let mut connection = Connection::open(address).await;
                connection.ask("GET", POLLING, &headers, "").await;
                let answer = connection.response().await.unwrap();
                assert_eq!(answer.status, status, "{fields} fields at {address}");
                assert_eq!(status == 431, answer.text().contains("96 fields"), "{answer:?}");
            }
        }
    }
}

mod pipelines {
    use super::*;

    #[tokio::test]
    async fn post_is_served_when_a_poll_waits_before_it() {
        // No ping ends the poll.
        let site = Site::start(|options| options.ping_interval(Duration::from_secs(600)).ping_timeout(Duration::from_secs(600))).await;
        site.server.on("echo", async |args: sociable::RawArgs, ack: sociable::Ack| ack.send(args).unwrap());
        for address in site.addresses() {
            for at_once in [true, false] {
                let polling = Client::connect_polling(address).await.into_polling();
                let target = &polling.target;
                let poll = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
                let post = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n3");
                let mut connection = Connection::open(address).await;
                if at_once {
                    connection.send(format!("{poll}{post}")).await;
                } else {
                    connection.send(&poll).await;
                    // A whole round trip later the poll has most likely come; the outcome is the same if not.
                    assert_eq!(get(address, "/healthz").await.status, 200);
                    connection.send(&post).await;
                }
                assert_eq!(connection.response().await.unwrap().brief(), (200, "6"), "{address}, {at_once}");
                assert_eq!(connection.response().await.unwrap().brief(), (200, "ok"), "{address}, {at_once}");
                // The connection stays open, and a poll without a following request waits.
                connection.send(&poll).await;
                polling.send(&message(event("echo", "x").id(1))).await;
                assert_eq!(connection.response().await.unwrap().brief(), (200, &*message(ack(1, "x"))), "{address}, {at_once}");
            }
        }
    }
}
