//! Attacks of clients on one node: on its memory, on its connections, by unfinished messages, and from foreign pages.

use actix_web::App;
use serde_json::json;
use sociable::{Server, ServerBuilder, Socket};
use sociable_tests::{
    Client, Connection, Kind, Node, Polling, Revision, WebSocket, ack, attachment, connect, connect_error, disconnect, event, eventually,
    get, message, note, request, within,
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server that echoes, with these options.
fn start(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Node) {
    let io = server(options);
    let node = Node::raw(&io, 2);
    (io, node)
}

fn server(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let io = options(Server::builder()).build().unwrap();
    io.on("echo", async |args: sociable::RawArgs, ack: sociable::Ack| ack.send(args).unwrap());
    io.of_pattern(regex::Regex::new("^/dyn-").unwrap());
    io
}

mod handshakes {
    use super::*;

    #[tokio::test]
    async fn handshake_keeps_few_bytes_of_huge_headers() {
        let (seen, see) = note();
        let (asked, ask) = note();
        let (io, node) = start(|options| {
            options.allow_request(move |request: sociable::Handshake| {
                ask((request.header("x-huge").map(str::len), request.truncated()));
                async { Ok(()) }
            })
        });
        io.on_connect(move |socket: Socket| {
            let handshake = socket.handshake();
            let bytes: usize = handshake.headers().map(|(name, value)| name.len() + value.len()).sum();
            see((handshake.truncated(), bytes <= 4096, handshake.header("x-forwarded-for").map(str::to_owned)));
            std::future::ready(())
        });
        let huge = "x".repeat(60_000);
        let headers = [("X-Huge", &*huge), ("X-Huge", &*huge), ("X-Forwarded-For", "192.0.2.7")];
        let mut client = Client::session_over(WebSocket::try_open(node.addr, WEBSOCKET, &headers).await.unwrap()).await;
        client.join("/").await;
        client.ask("echo", 1).await;
        assert_eq!(*seen.lock().unwrap(), [(true, true, Some("192.0.2.7".to_owned()))]);
        // Both lines, and what joins them.
        assert_eq!(*asked.lock().unwrap(), [(Some(120_002), false)], "the application is asked about the whole request");
        assert_eq!(io.stats().handshakes_truncated, 1);
    }

    #[tokio::test]
    async fn sessions_are_refused_when_their_memory_is_used_up() {
        let (io, node) = start(|options| options.max_session_memory(64 * 1024));
        let huge = "x".repeat(3000);
        let mut sessions = vec![];
        let refused = loop {
            let answer = request(node.addr, "GET", POLLING, &[("X-Huge", &huge)], "").await;
            if answer.status != 200 {
                break answer;
            }
            sessions.push(Polling::opened(node.addr, POLLING, Revision::V4, &answer));
            assert!(sessions.len() < 64, "sessions of 5 kB each do not end in 64 KiB");
        };
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        assert_eq!(WebSocket::try_open(node.addr, WEBSOCKET, &[]).await.unwrap_err().status, 503);
        assert!(!io.health().takes_sessions(), "load balancers are told");
        assert_eq!(io.stats().sessions_refused, 2);
        // The remaining sessions continue, and make room.
        sessions[0].send("1").await;
        eventually("there is room", || io.health().takes_sessions()).await;
        assert_eq!(get(node.addr, POLLING).await.status, 200);
    }

    #[tokio::test]
    async fn oldest_session_is_closed_when_too_many_never_join() {
        let (io, node) = start(|options| options.max_pending_sessions(10));
        let mut joined = Client::connect(node.addr).await;
        for _ in 0..50 {
            assert_eq!(get(node.addr, POLLING).await.status, 200);
        }
        let mut late = Client::connect_polling(node.addr).await;
        assert!(io.session_count() <= 12, "{} sessions", io.session_count());
        assert!(io.stats().pending_evicted >= 40);
        assert_eq!(joined.ask("echo", 1).await, json!([1]));
        assert_eq!(late.ask("echo", 1).await, json!([1]));
    }
}

mod unfinished {
    use std::time::Duration;

    use super::*;

    const NINE_OF_TEN: &str = r#"510-["echo",{"_placeholder":true,"num":0}]"#;

    #[tokio::test]
    async fn session_is_closed_when_attachments_do_not_come() {
        let (io, node) = start(|options| options.packet_timeout(Duration::from_millis(300)).ping_interval(Duration::from_millis(50)));
        let mut client = Client::connect(node.addr).await;
        client.send_text(NINE_OF_TEN).await;
        for _ in 0..9 {
            client.send_binary(&[0; 100]).await;
        }
        // The client answers pings meanwhile.
        assert_eq!(client.rest().await, []);
        assert_eq!((io.stats().packets_overdue, io.stats().ping_timeouts), (1, 0));
        // A packet that is complete leaves no deadline behind.
        let mut client = Client::connect(node.addr).await;
        client.send(event("echo", attachment(0)).id(0).attach([7])).await;
        assert_eq!(client.packet().await, ack(0, attachment(0)).attach([7]));
    }

    #[tokio::test]
    async fn session_is_closed_when_attachments_take_too_much() {
        let (io, node) = start(|options| options.max_http_buffer_size(10_000));
        let mut client = Client::connect(node.addr).await;
        client.send_text(NINE_OF_TEN).await;
        for _ in 0..5 {
            client.send_binary(&[0; 9_000]).await;
        }
        assert_eq!(client.rest().await, []);
        assert_eq!(io.stats().packets_over_budget, 1);
    }

    #[tokio::test]
    async fn session_is_closed_when_a_frame_takes_too_much() {
        let (io, node) = start(|options| options.max_client_bytes(200_000));
        let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
        socket.text().await;
        let frame = sociable_tests::masked(0x81, "4".repeat(900_000));
        socket.send_raw(&frame[..500_000]).await;
        eventually("the session is closed", || io.session_count() == 0).await;
        assert_eq!(io.stats().packets_over_budget, 1);
    }

    #[tokio::test]
    async fn body_is_refused_when_memory_is_used_up() {
        let (io, node) = start(|options| options.max_session_memory(100_000));
        let session = sociable_tests::Polling::open(node.addr, "/socket.io/").await;
        assert_eq!(session.post(&format!("4{}", "x".repeat(500_000))).await.status, 503);
        assert_eq!(io.stats().packets_over_budget, 1);
    }

    #[tokio::test]
    async fn auth_is_refused_when_it_is_too_long() {
        let (io, node) = start(|options| options);
        let mut client = Client::session(node.addr).await;
        client.send(connect().data(json!({ "token": "x".repeat(17_000) }))).await;
        assert_eq!(client.packet().await, connect_error("Too much data"));
        client.send(connect().data(json!({ "token": "x".repeat(16_000) }))).await;
        client.joined("/").await;
        assert_eq!((io.stats().auth_too_large, io.stats().connections_refused), (1, 1));
    }

    #[tokio::test]
    async fn namespaces_are_refused_when_their_auth_takes_too_much() {
        let (io, node) = start(|options| options.max_client_bytes(100_000));
        let mut client = Client::session(node.addr).await;
        let auth = "x".repeat(15_000);
        let ask = |n: usize| connect().of(&format!("/dyn-{n}")).data(json!({ "token": auth }));
        for n in 0..20 {
            client.send(ask(n)).await;
        }
        let mut answers = vec![];
        for _ in 0..20 {
            answers.push(client.packet().await);
        }
        let (joined, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.kind == Kind::Connect);
        assert_eq!((joined.len(), refused.len()), (6, 14), "{answers:?}");
        assert_eq!(io.stats().auth_too_large, 14);
        // A left namespace makes room.
        client.send(disconnect().of("/dyn-0")).await;
        client.send(ask(50)).await;
        client.joined("/dyn-50").await;
    }
}

mod connections {
    use super::*;

    #[tokio::test]
    async fn connection_is_refused_when_all_are_taken() {
        let io = server(|options| options);
        let served = io.clone();
        let node = Node::run(async move |tell| {
            let service = served.service();
            let app = move || App::new().service(service.clone());
            let serve = served.serve(app).workers(2).max_connections(4).disable_signals().bind("127.0.0.1:0")?;
            tell.send(serve.addrs()[0]).unwrap();
            serve.run().await
        });
        let mut client = Client::connect(node.addr).await;
        let mut idle = vec![];
        for _ in 0..3 {
            let mut connection = Connection::open(node.addr).await;
            connection.ask("GET", "/nothing", &[], "").await;
            assert_eq!(connection.response().await.unwrap().status, 404);
            idle.push(connection);
        }
        for _ in 0..10 {
            let refused = Connection::open(node.addr).await.response().await.unwrap();
            assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        }
        assert_eq!(client.ask("echo", 1).await, json!([1]));
        assert_eq!(io.stats().connections_shed, 10);
        // A connection that ends makes room, be it a WebSocket.
        client.tear();
        within("a place is free", async {
            loop {
                let mut connection = Connection::open(node.addr).await;
                connection.ask("GET", "/nothing", &[], "").await;
                if connection.response().await.is_some_and(|answer| answer.status == 404) {
                    break;
                }
            }
        })
        .await;
        drop(idle);
    }
}

mod origins {
    use sociable::{Handshake, Refusal};

    use super::*;

    const SHOP: (&str, &str) = ("Origin", "https://shop.example.com");
    const EVIL: (&str, &str) = ("Origin", "https://evil.example");
    const CROSS_SITE: (&str, &str) = ("Sec-Fetch-Site", "cross-site");
    const SCRIPT: &str = "/socket.io/?EIO=4&transport=polling&j=0";
    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

    /// The id of a session that a script opened.
    fn sid_in(script: &str) -> String {
        let (_, rest) = script.split_once(r#"\"sid\":\""#).unwrap_or_else(|| panic!("not a session: {script}"));
        rest.split('\\').next().unwrap().to_owned()
    }

    /// Tries requests of a foreign page's scripts and forms. Returns true if one succeeded.
    async fn page_speaks(node: &Node) -> bool {
        // Browsers send no origin with scripts. Modern ones mark the request as cross-site.
        for headers in [&[CROSS_SITE][..], &[("Sec-Fetch-Site", "same-site")], &[]] {
            let opened = request(node.addr, "GET", SCRIPT, headers, "").await;
            if opened.status == 200 {
                let target = format!("{SCRIPT}&sid={}", sid_in(opened.text()));
                return request(node.addr, "POST", &target, &[FORM, EVIL], "d=40").await.status == 200;
            }
        }
        false
    }

    #[tokio::test]
    async fn jsonp_is_refused_by_default() {
        let (io, node) = start(|options| options);
        assert_eq!(get(node.addr, SCRIPT).await.brief(), (400, r#"{"code":3,"message":"Bad request"}"#));
        assert!(!page_speaks(&node).await);
        // The form of a page that guessed a session is no packet either.
        let session = sociable_tests::Polling::open(node.addr, "/socket.io/").await;
        let form = request(node.addr, "POST", &format!("{}&j=0", session.target), &[FORM, EVIL], "d=40").await;
        assert_eq!((form.status, io.stats().sockets_opened), (400, 0));
        session.send(&message(connect())).await;
    }

    #[tokio::test]
    async fn jsonp_serves_every_page_when_it_is_on() {
        let (_, node) = start(|options| options.jsonp(true));
        assert!(page_speaks(&node).await, "the attack of these tests works where nothing is guarded");
    }

    #[tokio::test]
    async fn foreign_page_is_refused_over_every_transport() {
        let (io, node) = start(|options| options.jsonp(true).allow_origins(["https://shop.example.com"]));
        assert_eq!(request(node.addr, "GET", POLLING, &[EVIL], "").await.brief(), (403, r#"{"code":4,"message":"Forbidden"}"#));
        assert_eq!(request(node.addr, "GET", POLLING, &[("Origin", "null")], "").await.status, 403);
        assert_eq!(request(node.addr, "GET", POLLING, &[CROSS_SITE], "").await.status, 403);
        assert_eq!(WebSocket::try_open(node.addr, WEBSOCKET, &[EVIL]).await.unwrap_err().brief(), (400, "Forbidden"));
        assert!(!page_speaks(&node).await);
        assert_eq!((io.session_count(), io.stats().origins_refused), (0, 7));
        // The page can neither send for a session with a known id, nor take it over.
        let session = sociable_tests::Polling::open(node.addr, "/socket.io/").await;
        let form = request(node.addr, "POST", &format!("{}&j=0", session.target), &[FORM, EVIL], "d=40").await;
        assert_eq!((form.status, io.stats().sockets_opened), (403, 0));
        assert_eq!(WebSocket::try_open(node.addr, &session.upgrade_target(), &[EVIL]).await.unwrap_err().status, 400);
        session.send(&message(connect())).await;
        eventually("the client joins", || io.stats().sockets_opened == 1).await;
    }

    #[tokio::test]
    async fn listed_page_is_served_over_every_transport() {
        let (_, node) = start(|options| options.jsonp(true).allow_origins(["https://shop.example.com"]));
        assert_eq!(request(node.addr, "GET", POLLING, &[SHOP], "").await.status, 200);
        assert!(WebSocket::try_open(node.addr, WEBSOCKET, &[SHOP]).await.is_ok());
        let opened = request(node.addr, "GET", SCRIPT, &[CROSS_SITE, ("Referer", "https://shop.example.com/")], "").await;
        let target = format!("{SCRIPT}&sid={}", sid_in(opened.text()));
        assert_eq!(request(node.addr, "POST", &target, &[FORM, SHOP], "d=40").await.status, 200);
        // No browser.
        Client::connect(node.addr).await;
        Client::connect_polling(node.addr).await;
    }

    #[tokio::test]
    async fn allow_request_of_the_guide_refuses_foreign_pages() {
        let (io, node) = start(|options| {
            options.jsonp(true).allow_request(async |request: Handshake| match request.header("origin") {
                Some("https://shop.example.com") => Ok(()),
                None if !request.is_cross_origin() => Ok(()),
                _ => Err(Refusal::forbidden()),
            })
        });
        assert!(!page_speaks(&node).await);
        assert_eq!(request(node.addr, "GET", POLLING, &[EVIL], "").await.status, 403);
        assert_eq!(WebSocket::try_open(node.addr, WEBSOCKET, &[EVIL]).await.unwrap_err().status, 400);
        assert_eq!(io.session_count(), 0);
        Client::connect(node.addr).await;
        assert!(WebSocket::try_open(node.addr, WEBSOCKET, &[SHOP]).await.is_ok());
    }
}
