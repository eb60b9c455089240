//! Clients that send an unread body. Each gets its answer, from a node and through a balancer, and its connection ends
//! within bounds.

use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::{App, HttpResponse, dev::Service as _, web};
use sociable::Server;
use sociable_balancer_core::Options;
use sociable_tests::{Connection, Node, Polling, eventually, within};

use crate::front::Front;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A node with a middleware of the `App` that refuses some requests, and a balancer in front.
struct Site {
    server: Server,
    node: Node,
    front: Front,
}

impl Site {
    async fn start(linger: (Duration, usize)) -> Self {
        let server = Server::builder().build().unwrap();
        let serving = server.clone();
        let node = Node::run(async move |tell| {
            let app = serving.clone();
            let app = move || {
                let health = app.clone();
                App::new()
                    .wrap_fn(|request, service| {
                        let refused = request.headers().contains_key("x-refused");
                        let answer = (!refused).then(|| service.call(request));
                        async move {
                            match answer {
                                Some(answer) => answer.await,
                                None => Err(actix_web::error::ErrorForbidden("not you")),
                            }
                        }
                    })
                    .service(app.service())
                    .route("/early", web::post().to(|| ready(HttpResponse::NoContent())))
                    .route("/healthz", web::get().to(move || ready(web::Json(health.health()))))
            };
            let serve = serving.serve(app).workers(1).disable_signals().linger(linger.0, linger.1).bind("127.0.0.1:0")?;
            tell.send(serve.addrs()[0]).unwrap();
            serve.run().await
        });
        let options = Options { linger: linger.0, linger_bytes: linger.1 as u64, ..Options::default() };
        let front = Front::start(std::slice::from_ref(&node), options).await;
        Self { server, node, front }
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [self.node.addr, self.front.addr()]
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Length,
    Chunked,
    Expect,
    HalfSent,
}

/// Sends all of a request before it reads anything, as a proxy may. Returns the answer.
async fn send(address: SocketAddr, head: &str, length: usize, way: Way) -> String {
    let mut connection = Connection::open(address).await;
    let body = vec![b'x'; length];
    let mut request = format!("{head}\r\nHost: test\r\n").into_bytes();
    match way {
        Way::Chunked => {
            request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(50_000) {
                request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                request.extend_from_slice(chunk);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        }
        _ => {
            let expect = if matches!(way, Way::Expect) { "Expect: 100-continue\r\n" } else { "" };
            request.extend_from_slice(format!("Content-Length: {length}\r\n{expect}\r\n").as_bytes());
            request.extend_from_slice(if matches!(way, Way::HalfSent) { &body[..length / 2] } else { &body });
        }
    }
    let answer = within("an answer", async {
        // A reset shows in either.
        connection.try_send(&request).await?;
        match connection.try_read_until(b"\r\n\r\n").await? {
            head if head == b"HTTP/1.1 100 Continue\r\n\r\n" => connection.try_read_until(b"\r\n\r\n").await,
            head => Ok(head),
        }
    });
    match answer.await {
        Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn early_answer_is_read_when_a_body_is_under_way() {
    let site = Site::start((Duration::from_secs(10), 16 << 20)).await;
    let missing = format!("{POLLING}&sid={}0000000000000000", site.server.health().tag);
    let fields: String = (0..97).map(|n| format!("\r\nX-{n}: 1")).collect();
    for address in site.addresses() {
        for length in [1_000, 300_000, 900_000, 5_000_000] {
            for way in [Way::Length, Way::Chunked, Way::Expect, Way::HalfSent] {
                let sid = Polling::open(address, "/socket.io/").await.sid;
                let session = format!("{POLLING}&sid={sid}");
                let octets = Polling::open(address, "/socket.io/").await.sid;
                let mut cases = vec![
                    (format!("POST {missing} HTTP/1.1"), 400),
                    (format!("POST {POLLING}&sid=junk HTTP/1.1"), 400),
                    (format!("POST {POLLING} HTTP/1.1"), 400),
                    ("POST /socket.io/?EIO=4&transport=pigeon HTTP/1.1".into(), 400),
                    ("POST /socket.io/?EIO=3&transport=polling HTTP/1.1".into(), 400),
                    (format!("POST {POLLING}&sid=a&sid=b HTTP/1.1"), 400),
                    (format!("PUT {session} HTTP/1.1"), 400),
                    (format!("POST {POLLING}&sid={octets} HTTP/1.1\r\nContent-Type: application/octet-stream"), 400),
                    (format!("POST {session} HTTP/1.1\r\nX-Refused: 1"), 403),
                    ("POST /early HTTP/1.1".into(), 204),
                    ("POST /nothing HTTP/1.1".into(), 404),
                    (format!("POST {POLLING}&user={{\"a\":<1>}} HTTP/1.1"), 400),
                    (format!("POST {POLLING} HTTP/1.1{fields}"), 431),
                ];
                if length > 1_000_000 && !matches!(way, Way::HalfSent) {
                    cases.push((format!("POST {session} HTTP/1.1"), 413));
                }
                for (head, status) in cases {
                    let answer = send(address, &head, length, way).await;
                    // The balancer refuses a body that is too long for a session.
                    let longer = address != site.node.addr && length > 1_000_000;
                    let told = |status: u16| answer.starts_with(&format!("HTTP/1.1 {status} "));
                    assert!(told(status) || longer && told(413), "{head:.90} with {length} bytes, {way:?}, at {address}: {answer}");
                }
            }
        }
    }
    assert_eq!(site.server.stats().lingers_cut, 0);
}

#[tokio::test]
async fn connection_is_cut_when_a_client_never_stops_sending() {
    let site = Site::start((Duration::from_secs(600), 1 << 20)).await;
    let missing = format!("{POLLING}&sid={}0000000000000000", site.server.health().tag);
    for address in site.addresses() {
        for framing in ["Content-Length: 1000000000000", "Transfer-Encoding: chunked"] {
            let mut connection = Connection::open(address).await;
            let head = format!("POST {missing} HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n");
            connection.send(head).await;
            let piece = [b"8000\r\n".as_slice(), &[b'x'; 0x8000], b"\r\n"].concat();
            within("the reset", async { while connection.try_send(&piece).await.is_ok() {} }).await;
        }
    }
    // Through the balancer the node's connection is closed at once.
    assert_eq!(site.server.stats().lingers_cut, 2);
}

#[tokio::test]
async fn connection_is_cut_when_a_client_is_silent_for_too_long() {
    let site = Site::start((Duration::from_secs(1), 16 << 20)).await;
    let missing = format!("{POLLING}&sid={}0000000000000000", site.server.health().tag);
    for address in site.addresses() {
        for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            let mut connection = Connection::open(address).await;
            let head = format!("POST {missing} HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n1\r\nx\r\n");
            connection.send(head).await;
            let answer = connection.response().await.unwrap();
            assert_eq!(answer.status, 400);
            within("the end of the answer", connection.try_read_until(b"nothing more")).await.unwrap();
            // The client's side stays open, and the server still closes.
            within("the reset", async {
                while connection.try_send(b"1\r\nx\r\n").await.is_ok() {
                    tokio::task::yield_now().await
                }
            })
            .await;
        }
    }
    eventually("all are counted", || site.server.stats().lingers_cut >= 2).await;
}
