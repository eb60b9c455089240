//! Requests of sessions that pass by the `App`: the same answers as the `App`'s, on a connection that both share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::dev::Service;
use actix_web::{App, HttpResponse, web};
use sociable::engine::EngineBuilder;

use super::*;

/// A server with direct polls, which counts the requests that its `App` sees.
struct Direct {
    engines: Engines,
    node: Node,
    seen: Arc<AtomicUsize>,
}

impl Direct {
    fn start(workers: usize, options: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let engines = Engines::new(options);
        let seen = Arc::<AtomicUsize>::default();
        let (engine, count) = (engines.engine.clone(), Arc::clone(&seen));
        let node = Node::run(async move |tell| {
            let service = engine.service();
            let app = move || {
                let count = Arc::clone(&count);
                App::new()
                    .service(service.clone())
                    .route("/own", web::to(|body: String| async move { HttpResponse::Ok().body(format!("own {body}")) }))
                    .wrap_fn(move |request, app| {
                        count.fetch_add(1, Ordering::Relaxed);
                        app.call(request)
                    })
            };
            let serve = engine.serve(app).direct_polls(true).workers(workers).disable_signals().bind("127.0.0.1:0")?;
            tell.send(serve.addrs()[0]).unwrap();
            serve.run().await
        });
        Self { engines, node, seen }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    /// Opens a session, and returns its connection.
    async fn open(&self, headers: &[(&str, &str)]) -> (Connection, Polling) {
        let mut connection = Connection::open(self.node.addr).await;
        connection.ask("GET", POLLING, headers, "").await;
        let opened = connection.response().await.unwrap();
        let session = Polling::opened(self.node.addr, POLLING, sociable_tests::Revision::V4, &opened);
        (connection, session)
    }
}

async fn ask(connection: &mut Connection, method: &str, target: &str, body: &str) -> Response {
    connection.ask(method, target, &[], body).await;
    connection.response().await.unwrap()
}

#[tokio::test]
async fn app_sees_the_handshake_alone() {
    for workers in [1, 3] {
        let server = Direct::start(workers, |options| options);
        let (mut connection, session) = server.open(&[]).await;
        assert_eq!(server.seen(), 1);
        for round in 0..8 {
            let posted = ask(&mut connection, "POST", &session.target, &format!("4one {round}\u{1e}bAQID")).await;
            assert_eq!(posted.brief(), (200, "ok"));
            let polled = ask(&mut connection, "GET", &session.target, "").await;
            assert_eq!(polled.brief(), (200, &*format!("4one {round}\u{1e}bAQID")));
        }
        assert_eq!(server.seen(), 1);
    }
}

#[tokio::test]
async fn direct_answers_have_the_headers_of_the_app() {
    let options = |options: EngineBuilder| options.cors(Cors::list(["https://a.example"]).credentials(true)).http_compression(Some(64));
    let (_, plain) = start(options);
    let server = Direct::start(1, options);
    let long = "x".repeat(200);
    let fields = [("Origin", "https://a.example"), ("Accept-Encoding", "br, gzip"), ("User-Agent", "a")];
    for coded in [false, true] {
        let headers = &fields[..if coded { 3 } else { 1 }];
        let session = Polling::open(plain.addr, "/engine.io/").await;
        let (mut connection, direct) = server.open(&[]).await;
        for (method, body) in [("POST", &*format!("4{long}")), ("GET", "")] {
            let expected = request(plain.addr, method, &session.target, headers, body).await;
            let seen = server.seen();
            connection.ask(method, &direct.target, headers, body).await;
            let response = connection.response().await.unwrap();
            assert_eq!(server.seen(), seen, "{method} passes by");
            let sorted = |response: &Response| {
                let mut names: Vec<_> = response.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
                names.sort();
                names
            };
            assert_eq!((response.status, &response.body), (expected.status, &expected.body));
            assert_eq!(sorted(&response), sorted(&expected), "{method}");
            assert_eq!(response.header("content-encoding"), (coded && method == "GET").then_some("gzip"));
            assert!(response.header("date").is_some());
        }
    }
}

#[tokio::test]
async fn waiting_poll_gets_a_message_from_another_connection() {
    let server = Direct::start(2, |options| options);
    let (mut connection, session) = server.open(&[]).await;
    for _ in 0..3 {
        connection.ask("GET", &session.target, &[], "").await;
        session.send("4late").await;
        assert_eq!(connection.response().await.unwrap().brief(), (200, "4late"));
    }
}

#[tokio::test]
async fn poll_given_up_ends_the_session() {
    let server = Direct::start(2, |options| options);
    let (mut connection, session) = server.open(&[]).await;
    connection.ask("GET", &session.target, &[], "").await;
    drop(connection);
    server.engines.ends(&session.sid, CloseReason::TransportError).await;
}

#[tokio::test]
async fn request_behind_a_waiting_poll_ends_the_poll() {
    let server = Direct::start(2, |options| options);
    let (mut connection, session) = server.open(&[]).await;
    connection.ask("GET", &session.target, &[], "").await;
    connection.ask("POST", &session.target, &[], "4hello").await;
    assert_eq!(connection.response().await.unwrap().brief(), (200, "6"));
    assert_eq!(connection.response().await.unwrap().brief(), (200, "ok"));
    assert_eq!(ask(&mut connection, "GET", &session.target, "").await.brief(), (200, "4hello"));
}

#[tokio::test]
async fn second_poll_ends_the_session() {
    let server = Direct::start(2, |options| options);
    let (mut connection, session) = server.open(&[]).await;
    connection.ask("GET", &session.target, &[], "").await;
    let (mut second, _) = server.open(&[]).await;
    assert_eq!(ask(&mut second, "GET", &session.target, "").await.status, 400);
    assert_eq!(connection.response().await.unwrap().brief(), (200, "1"));
    server.engines.ends(&session.sid, CloseReason::TransportError).await;
}

#[tokio::test]
async fn app_answers_what_is_not_of_an_open_session() {
    let server = Direct::start(2, |options| options.max_http_buffer_size(100));
    let (mut connection, session) = server.open(&[]).await;
    let (mut refused, _) = server.open(&[]).await;
    let mut seen = server.seen();
    let mut by_app = |brief: (u16, &str), response: &Response| {
        assert_eq!(response.brief(), brief);
        assert_eq!(server.seen(), seen + 1, "{brief:?}");
        seen += 1;
    };
    let unknown = format!("{POLLING}&sid=aaaaaaaaaaaaaaaaaaaa");
    by_app((400, &error(1, "Session ID unknown")), &ask(&mut connection, "GET", &unknown, "").await);
    by_app((400, &error(1, "Session ID unknown")), &ask(&mut refused, "POST", &unknown, "4a").await);
    by_app((400, &error(2, "Bad handshake method")), &ask(&mut connection, "PUT", &session.target, "").await);
    by_app((200, "own x"), &ask(&mut connection, "POST", "/own", "x").await);
    assert_eq!(ask(&mut connection, "POST", &session.target, "4direct").await.brief(), (200, "ok"));
    assert_eq!(ask(&mut connection, "GET", &session.target, "").await.brief(), (200, "4direct"));
    by_app((413, ""), &ask(&mut connection, "POST", &session.target, &"x".repeat(101)).await);
    server.engines.ends(&session.sid, CloseReason::TransportError).await;
}

#[tokio::test]
async fn request_in_pieces_is_answered_and_the_next_passes_by() {
    let server = Direct::start(2, |options| options);
    let (mut connection, session) = server.open(&[]).await;
    let request = format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n4hello", session.target);
    for at in [1, 30, request.len() - 3] {
        let seen = server.seen();
        connection.send(&request[..at]).await;
        // The server reads the first piece alone, most likely.
        tokio::task::yield_now().await;
        connection.send(&request[at..]).await;
        assert_eq!(connection.response().await.unwrap().brief(), (200, "ok"));
        let passed_by = server.seen();
        assert!(passed_by - seen <= 1);
        assert_eq!(ask(&mut connection, "GET", &session.target, "").await.brief(), (200, "4hello"));
        assert_eq!(server.seen(), passed_by);
    }
}

#[tokio::test]
async fn request_hidden_in_another_is_the_apps() {
    let server = Direct::start(1, |options| options);
    let (mut connection, session) = server.open(&[]).await;
    let hidden = format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n4a", session.target);
    let carrier = format!("POST /own HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", hidden.len());
    connection.send(&carrier).await;
    connection.send(format!("{hidden}\r\n0\r\n\r\n")).await;
    assert_eq!(connection.response().await.unwrap().brief(), (200, &*format!("own {hidden}")));
    let seen = server.seen();
    // The position is unknown from here on, so the `App` answers the rest.
    assert_eq!(ask(&mut connection, "POST", &session.target, "4b").await.brief(), (200, "ok"));
    assert_eq!(ask(&mut connection, "GET", &session.target, "").await.brief(), (200, "4b"));
    assert_eq!(server.seen(), seen + 2);
}

#[tokio::test]
async fn session_upgrades_on_a_direct_connection() {
    let server = Direct::start(2, |options| options);
    let (mut connection, session) = server.open(&[]).await;
    assert_eq!(ask(&mut connection, "POST", &session.target, "4a").await.brief(), (200, "ok"));
    assert_eq!(ask(&mut connection, "GET", &session.target, "").await.brief(), (200, "4a"));
    connection.ask("GET", &session.target, &[], "").await;
    let mut socket = WebSocket::open(server.node.addr, &session.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    assert_eq!(connection.response().await.unwrap().brief(), (200, "6"));
    socket.send("5").await;
    socket.send("4up").await;
    assert_eq!(socket.text().await, "4up");
}

#[tokio::test]
async fn engine_middleware_sees_every_request() {
    let (requests, saw) = note();
    let server = Direct::start(1, |options| {
        options.engine_middleware(move |request: sociable::engine::EngineRequest| {
            saw(request.http().method().as_str().to_owned());
            std::future::ready(Ok(()))
        })
    });
    let (mut connection, session) = server.open(&[]).await;
    assert_eq!(ask(&mut connection, "POST", &session.target, "4a").await.brief(), (200, "ok"));
    assert_eq!(*requests.lock().unwrap(), ["GET", "POST"]);
}
