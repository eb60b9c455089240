//! Engine middleware, and the middleware of the `App` around the engine: both see every request, those for WebSockets too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_session::storage::CookieSessionStore;
use actix_session::{Session, SessionExt, SessionMiddleware};
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{DefaultHeaders, Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, cookie, web};
use serde_json::json;
use sociable::engine::EngineRequest;
use sociable::{Ack, Cookie, Server, ServerBuilder, Socket};
use sociable_tests::{Client, Node, Polling, WebSocket, connect, message, request, upgrade};

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

struct User(String);

/// Returns servers in an `App` with sessions, security headers and a guard: one raw, one in a plain `HttpServer`.
fn both(set_up: impl Fn(ServerBuilder) -> ServerBuilder) -> [(Server, Node); 2] {
    [true, false].map(|raw| {
        let io = set_up(Server::builder()).build().unwrap();
        let server = io.clone();
        let node = Node::run(async move |tell| {
            let (key, service) = (cookie::Key::generate(), server.service());
            let app = move || {
                let sessions = SessionMiddleware::builder(CookieSessionStore::default(), key.clone()).cookie_secure(false).build();
                App::new()
                    .service(service.clone())
                    .route("/login", web::post().to(async |session: Session, name: String| session.insert("name", name).map(|()| "in")))
                    .wrap(from_fn(guard))
                    .wrap(DefaultHeaders::new().add(("x-frame-options", "DENY")).add(("x-content-type-options", "nosniff")))
                    .wrap(sessions)
            };
            if raw {
                let serve = server.serve(app).workers(2).disable_signals().bind("127.0.0.1:0")?;
                tell.send(serve.addrs()[0]).unwrap();
                serve.run().await
            } else {
                let http = HttpServer::new(app).workers(2).disable_signals().bind("127.0.0.1:0")?;
                tell.send(http.addrs()[0]).unwrap();
                http.run().await
            }
        });
        (io, node)
    })
}

/// A middleware that answers some requests itself.
async fn guard(request: ServiceRequest, next: Next<BoxBody>) -> actix_web::Result<ServiceResponse<BoxBody>> {
    if request.headers().contains_key("x-blocked") {
        return Ok(request.into_response(HttpResponse::ImATeapot().body("not here")));
    }
    next.call(request).await
}

#[tokio::test]
async fn app_middleware_headers_are_on_every_response() {
    for (_, node) in both(|builder| builder) {
        let polled = request(node.addr, "GET", HANDSHAKE, &[], "").await;
        let opened = upgrade(node.addr, WEBSOCKET, &[]).await;
        let refused = upgrade(node.addr, "/socket.io/?EIO=4&transport=none", &[]).await;
        assert_eq!((polled.status, opened.status, refused.brief()), (200, 101, (400, "Transport unknown")));
        for response in [polled, opened, refused] {
            assert_eq!(response.header("x-frame-options"), Some("DENY"));
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        }
    }
}

#[tokio::test]
async fn engine_middleware_adds_cookies_to_the_engines() {
    for (_, node) in both(|builder| {
        builder.cookie(Some(Cookie::named("io"))).engine_middleware(async |request: EngineRequest| {
            request.append_header("set-cookie", "a=1");
            request.append_header("set-cookie", "b=2");
            request.set_header("x-one", "first");
            Ok(request.set_header("x-one", "second"))
        })
    }) {
        // As in JavaScript, that of the engine is on handshakes by polling alone.
        for (response, own) in [(request(node.addr, "GET", HANDSHAKE, &[], "").await, 1), (upgrade(node.addr, WEBSOCKET, &[]).await, 0)] {
            let cookies = response.all("set-cookie");
            assert!(["a=1", "b=2"].iter().all(|cookie| cookies.contains(cookie)), "{cookies:?}");
            assert_eq!(cookies.iter().filter(|cookie| cookie.starts_with("io=")).count(), own, "{cookies:?}");
            assert_eq!(response.header("x-one"), Some("second"));
        }
    }
}

#[tokio::test]
async fn websocket_stays_closed_when_app_middleware_answers() {
    for (io, node) in both(|builder| builder) {
        let answer = upgrade(node.addr, WEBSOCKET, &[("x-blocked", "1")]).await;
        assert_eq!(answer.brief(), (418, "not here"));
        assert_eq!(io.session_count(), 0);
        assert_eq!(upgrade(node.addr, WEBSOCKET, &[]).await.status, 101);
    }
}

#[tokio::test]
async fn engine_middleware_attaches_data_of_the_app_session() {
    for (io, node) in both(|builder| {
        builder.engine_middleware(async |request: EngineRequest| {
            let name = request.http().get_session().get::<String>("name").map_err(|error| error.to_string())?.ok_or("log in first")?;
            request.set_header("x-user", &name);
            Ok(request.attach(User(name)))
        })
    }) {
        io.on("who", async |socket: Socket, ack: Ack| ack.send(socket.handshake().attached::<User>().map(|user| user.0.clone())));
        let stranger = request(node.addr, "GET", HANDSHAKE, &[], "").await;
        assert_eq!(stranger.brief(), (400, r#"{"code":3,"message":"Bad request"}"#));
        assert_eq!(upgrade(node.addr, WEBSOCKET, &[]).await.brief(), (400, "Bad request"));

        let login = request(node.addr, "POST", "/login", &[], "Ada").await;
        let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let known = [("cookie", cookie.as_str())];
        assert_eq!(request(node.addr, "GET", HANDSHAKE, &known, "").await.header("x-user"), Some("Ada"));
        let mut client = Client::session_over(WebSocket::try_open(node.addr, WEBSOCKET, &known).await.unwrap()).await;
        client.join("/").await;
        assert_eq!(client.ask("who", ()).await, json!(["Ada"]));
    }
}

#[tokio::test]
async fn engine_middlewares_run_in_order_until_one_refuses() {
    let (first, second, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for (_, node) in both(|builder| {
        let (first, second, told) = (Arc::clone(&first), Arc::clone(&second), Arc::clone(&told));
        builder
            .engine_middleware(move |request: EngineRequest| {
                first.fetch_add(1, Ordering::Relaxed);
                let refused = request.http().headers().contains_key("x-refuse");
                async move { if refused { Err("asked to".into()) } else { Ok(()) } }
            })
            .engine_middleware(move |_| {
                second.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            })
            .on_connection_error(move |error| {
                assert_eq!(error.context, "MIDDLEWARE_FAILURE: asked to");
                told.fetch_add(1, Ordering::Relaxed);
            })
    }) {
        let counts = || (first.swap(0, Ordering::Relaxed), second.swap(0, Ordering::Relaxed), told.swap(0, Ordering::Relaxed));
        let session = Polling::try_open(node.addr, HANDSHAKE).await.unwrap().target;
        assert_eq!(request(node.addr, "POST", &session, &[], &message(connect())).await.brief(), (200, "ok"));
        assert_eq!(request(node.addr, "GET", &session, &[], "").await.status, 200);
        assert_eq!(upgrade(node.addr, WEBSOCKET, &[]).await.status, 101);
        assert_eq!(counts(), (4, 4, 0));
        assert_eq!(request(node.addr, "POST", &session, &[("x-refuse", "1")], &message(connect())).await.status, 400);
        assert_eq!(counts(), (1, 0, 1));
        // The session stays open.
        assert_eq!(request(node.addr, "POST", &session, &[], "3").await.status, 200);
        counts();
    }
}
