//! Sociable beside what else an `App` has: its routes, its own WebSockets, TLS, and the end of it all.
//!
//! A program of its own: it sends a signal to its process.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::json;
use sociable::{Ack, Handshake, RawArgs, Server, Socket};
use sociable_tests::{
    Client, Connection, Frame, Io, Node, WebSocket, connect, disconnect, event, eventually, masked, message, note, patience, request,
    upgrade_request, within,
};
use tokio_rustls::TlsConnector;

fn server() -> Server {
    let io = Server::builder().build().unwrap();
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    io
}

/// A WebSocket of the application's own, by actix-ws.
async fn own_websocket(request: HttpRequest, body: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if let actix_ws::Message::Text(text) = message
                && session.text(format!("own {text}")).await.is_err()
            {
                return;
            }
        }
    });
    Ok(response)
}

/// Adds the application's own routes and data.
fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(web::Data::new("state of the application".to_owned()))
        .route("/", web::get().to(async |state: web::Data<String>| state.get_ref().clone()))
        .route("/ws", web::get().to(own_websocket))
        .route("/upload", web::post().to(async |body: web::Bytes| format!("{} bytes", body.len())))
        .route("/secure", web::get().to(async |request: HttpRequest| request.app_config().secure().to_string()))
        .default_service(web::to(async |request: HttpRequest| HttpResponse::NotFound().body(format!("no {} here", request.path()))));
}

/// The application with Sociable in it, the raw way and in a plain `HttpServer`.
fn both() -> [(Server, Node); 2] {
    [true, false].map(|raw| {
        let io = server();
        let server = io.clone();
        let node = Node::run(async move |tell| {
            let service = server.service();
            let app = move || App::new().service(service.clone()).configure(routes);
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

async fn assert_serves(addr: SocketAddr) {
    for mut client in [Client::connect(addr).await, Client::connect_polling(addr).await] {
        assert_eq!(client.ask("echo", 1).await, json!([1]));
    }
}

#[tokio::test]
async fn application_routes_work_beside_the_server() {
    for (_, node) in both() {
        assert_serves(node.addr).await;
        assert_eq!(request(node.addr, "GET", "/", &[], "").await.brief(), (200, "state of the application"));
        assert_eq!(request(node.addr, "POST", "/upload", &[], "12345").await.brief(), (200, "5 bytes"));
        assert_eq!(request(node.addr, "GET", "/nothing", &[], "").await.brief(), (404, "no /nothing here"));
        assert_eq!(request(node.addr, "GET", "/secure", &[], "").await.text(), "false");
        // Several requests on one connection, of both sides.
        let mut connection = Connection::open(node.addr).await;
        for _ in 0..3 {
            connection.ask("GET", "/", &[], "").await;
            assert_eq!(connection.response().await.unwrap().status, 200);
            connection.ask("GET", "/socket.io/?EIO=4&transport=polling", &[], "").await;
            assert_eq!(connection.response().await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn application_websocket_works_beside_the_server() {
    for (_, node) in both() {
        for early in [false, true] {
            let mut connection = Connection::open(node.addr).await;
            let mut bytes = upgrade_request("/ws", &[]).into_bytes();
            if early {
                // Bytes that come with the request are kept.
                bytes.extend([masked(0x81, "first"), masked(0x81, "second")].concat());
            }
            connection.send(bytes).await;
            let mut socket = WebSocket::opened(connection).await.unwrap();
            if !early {
                socket.send("first").await;
                socket.send("second").await;
            }
            assert_eq!(socket.text().await, "own first");
            assert_eq!(socket.text().await, "own second");
            socket.send(&"x".repeat(30_000)).await;
            assert_eq!(socket.text().await.len(), 30_004);
        }
        assert_serves(node.addr).await;
    }
}

/// Returns the server's answers to some requests on one connection, until it closes.
async fn answers(addr: SocketAddr, requests: &[String]) -> Vec<Option<(u16, Option<String>, String)>> {
    let mut connection = Connection::open(addr).await;
    let mut answers = vec![];
    for request in requests {
        connection.send(request).await;
        let answer = connection.response().await;
        answers.push(answer.map(|answer| (answer.status, answer.header("connection").map(str::to_owned), answer.text().to_owned())));
    }
    answers
}

#[tokio::test]
async fn foreign_upgrade_gets_the_answer_of_actix_web() {
    let stock = Node::run(async |tell| {
        let http = HttpServer::new(|| App::new().configure(routes)).workers(1).disable_signals().bind("127.0.0.1:0")?;
        tell.send(http.addrs()[0]).unwrap();
        http.run().await
    });
    let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned();
    let post =
        |upgrade: &str, rest: &str| format!("POST /upload HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n{rest}");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let requests = [
        upgrade_request("/nothing", &[]),
        upgrade_request("/nothing", &[]).replace("websocket", "h2c"),
        upgrade_request("/", &[]),
        post("h2c", "Content-Length: 5\r\n\r\n12345"),
        post("h2c", chunked),
        post("websocket", chunked),
        "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\n\r\n".to_owned(),
    ];
    for (_, node) in both() {
        for request in &requests {
            let exchange = [get.clone(), request.clone(), get.clone()];
            assert_eq!(answers(node.addr, &exchange).await, answers(stock.addr, &exchange).await, "{request}");
        }
        assert_serves(node.addr).await;
    }
}

#[tokio::test]
async fn connection_polls_and_then_becomes_a_websocket() {
    for (_, node) in both() {
        for (target, ours) in [("/ws", false), ("/socket.io/?EIO=4&transport=websocket", true)] {
            let mut connection = Connection::open(node.addr).await;
            for _ in 0..2 {
                connection.ask("GET", "/socket.io/?EIO=4&transport=polling", &[], "").await;
                assert_eq!(connection.response().await.unwrap().status, 200);
            }
            let mut socket = WebSocket::over(connection, target, &[]).await.unwrap();
            if ours {
                assert!(socket.text().await.starts_with('0'));
            } else {
                socket.send("x").await;
                assert_eq!(socket.text().await, "own x");
            }
        }
    }
}

#[tokio::test]
async fn upgrade_succeeds_when_it_comes_in_pieces() {
    for (_, node) in both() {
        let mut connection = Connection::open(node.addr).await;
        let request = upgrade_request("/socket.io/?EIO=4&transport=websocket", &[]);
        for piece in request.as_bytes().chunks(40) {
            connection.send(piece).await;
        }
        let mut client = Client::session_over(WebSocket::opened(connection).await.unwrap()).await;
        client.join("/").await;
        assert_eq!(client.ask("echo", 1).await, json!([1]));
    }
}

#[tokio::test]
async fn application_runs_two_servers() {
    let (one, two) = (server(), Server::builder().path("/two").build().unwrap());
    two.on("echo", async |ack: Ack| ack.send("two"));
    let servers = (one.clone(), two.clone());
    let node = Node::run(async move |tell| {
        let http = HttpServer::new(move || App::new().service(servers.0.service()).service(servers.1.service()).configure(routes));
        let http = http.workers(2).disable_signals().bind("127.0.0.1:0")?;
        tell.send(http.addrs()[0]).unwrap();
        http.run().await
    });
    assert_serves(node.addr).await;
    let socket = WebSocket::open(node.addr, "/two/?EIO=4&transport=websocket").await;
    let mut client = Client::session_over(socket).await;
    client.join("/").await;
    assert_eq!(client.ask("echo", ()).await, json!(["two"]));
    assert_eq!((one.stats().sockets_opened, two.stats().sockets_opened), (2, 1));
}

mod tls {
    use super::*;

    struct Keys {
        server: rustls::ServerConfig,
        client: TlsConnector,
    }

    fn keys() -> Keys {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Keys { server, client: TlsConnector::from(Arc::new(client)) }
    }

    async fn open(client: &TlsConnector, addr: SocketAddr) -> Connection {
        let (stream, _) = Connection::open(addr).await.into_parts();
        let name = ServerName::try_from("localhost").unwrap();
        let stream: Box<dyn Io> = Box::new(within("the handshake", client.connect(name, stream)).await.unwrap());
        Connection::over(stream)
    }

    async fn get(client: &TlsConnector, addr: SocketAddr, method: &str, target: &str, body: &str) -> String {
        let mut connection = open(client, addr).await;
        connection.ask(method, target, &[], body).await;
        let response = connection.response().await.unwrap();
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }

    #[tokio::test]
    async fn tls_serves_both_transports_on_all_threads() {
        for raw in [true, false] {
            let Keys { server: config, client } = keys();
            let io = server();
            let (seen, see) = note();
            io.on_connect(move |handshake: Handshake| std::future::ready(see(handshake.secure())));
            io.on("big", async |socket: Socket| socket.emit("big", "x".repeat(300_000)));
            let server = io.clone();
            let node = Node::run(async move |tell| {
                let service = server.service();
                let app = move || App::new().service(service.clone()).configure(routes);
                if raw {
                    let serve = server.serve(app).workers(4).disable_signals().bind_rustls("127.0.0.1:0", config)?;
                    tell.send(serve.addrs()[0]).unwrap();
                    serve.run().await
                } else {
                    let http = HttpServer::new(app).on_connect(sociable::on_connect).workers(4).disable_signals();
                    let http = http.bind_rustls_0_23("127.0.0.1:0", config)?;
                    tell.send(http.addrs()[0]).unwrap();
                    http.run().await
                }
            });
            assert_eq!(get(&client, node.addr, "GET", "/secure", "").await, "true");
            let mut own = WebSocket::over(open(&client, node.addr).await, "/ws", &[]).await.unwrap();
            own.send("x").await;
            assert_eq!(own.text().await, "own x");

            let mut kept = vec![];
            for _ in 0..8 {
                // Each poll uses its own connection, and so the next worker. The upgrade then moves to the session's
                // worker.
                let base = "/socket.io/?EIO=4&transport=polling";
                let sid = get(&client, node.addr, "GET", base, "").await[9..29].to_owned();
                let target = format!("{base}&sid={sid}");
                assert_eq!(get(&client, node.addr, "POST", &target, &message(connect())).await, "ok");
                assert!(get(&client, node.addr, "GET", &target, "").await.starts_with(&message(connect())));
                let mut connection = open(&client, node.addr).await;
                let mut bytes = upgrade_request(&target.replace("polling", "websocket"), &[]).into_bytes();
                bytes.extend(masked(0x81, "2probe"));
                connection.send(bytes).await;
                let mut socket = WebSocket::opened(connection).await.unwrap();
                assert_eq!(socket.text().await, "3probe");
                socket.send("5").await;
                let mut moved = Client::upgraded(socket, &sid);
                assert_eq!(moved.ask("echo", "moved").await, json!(["moved"]));
                moved.emit("big", ()).await;
                assert_eq!(moved.packet().await, event("big", "x".repeat(300_000)));
                kept.push(moved);
            }
            let socket = WebSocket::over(open(&client, node.addr).await, "/socket.io/?EIO=4&transport=websocket", &[]).await.unwrap();
            let mut direct = Client::session_over(socket).await;
            direct.join("/").await;
            io.emit("news", ()).unwrap();
            for moved in &mut kept {
                assert_eq!(moved.packet().await, event("news", ()));
            }
            assert_eq!(direct.packet().await, event("news", ()));
            assert_eq!(*seen.lock().unwrap(), [true; 9]);
            kept.pop().unwrap().close().await;
            drop(kept);
            direct.send(disconnect()).await;
            eventually("all sockets have left", || io.socket_count() == 0).await;
        }
    }

    #[tokio::test]
    async fn unfinished_tls_handshake_blocks_no_other_client() {
        let Keys { server: config, client } = keys();
        let io = server();
        let server = io.clone();
        let node = Node::run(async move |tell| {
            let service = server.service();
            let serve = server.serve(move || App::new().service(service.clone())).workers(1).disable_signals();
            let serve = serve.bind_rustls("127.0.0.1:0", config)?;
            tell.send(serve.addrs()[0]).unwrap();
            serve.run().await
        });
        let mut silent = vec![];
        for _ in 0..20 {
            silent.push(Connection::open(node.addr).await);
        }
        let mut plain = Connection::open(node.addr).await;
        plain.send(upgrade_request("/socket.io/?EIO=4&transport=websocket", &[])).await;
        plain.rest().await;
        let socket = WebSocket::over(open(&client, node.addr).await, "/socket.io/?EIO=4&transport=websocket", &[]).await.unwrap();
        let mut client = Client::session_over(socket).await;
        client.join("/").await;
        assert_eq!(client.ask("echo", 1).await, json!([1]));
    }
}

mod stopping {
    use super::*;

    /// Sends this process a stop signal, as an operator does.
    fn terminate() {
        assert!(Command::new("sh").args(["-c", &format!("kill -TERM {}", std::process::id())]).status().unwrap().success());
    }

    #[tokio::test]
    async fn signal_closes_all_clients_within_the_timeout() {
        // The signal must not end the tests.
        let _caught = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let io = server();
        let (ends, end) = note();
        io.on_disconnect(move |reason: sociable::DisconnectReason| std::future::ready(end(reason.to_string())));
        let (stopped, stop) = note();
        let server = io.clone();
        let node = Node::run(async move |tell| {
            let service = server.service();
            let serve = server.serve(move || App::new().service(service.clone()).configure(routes)).workers(2);
            let serve = serve.shutdown_timeout(Duration::from_secs(2)).bind("127.0.0.1:0")?;
            tell.send(serve.addrs()[0]).unwrap();
            let ended = serve.run().await;
            stop(());
            ended
        });
        let mut polite = Client::connect(node.addr).await;
        let mut polling = Client::connect_polling(node.addr).await;
        let mut socket = WebSocket::open(node.addr, "/socket.io/?EIO=4&transport=websocket").await;
        socket.text().await;
        // Neither of these ever answers.
        let _rude = Client::connect(node.addr).await;
        let _own = WebSocket::open(node.addr, "/ws").await;
        terminate();
        assert_eq!(socket.rest().await, [Frame::Close(None)]);
        assert_eq!(polite.rest().await, []);
        assert_eq!(polling.rest().await, []);
        eventually("the server has ended", || !stopped.lock().unwrap().is_empty()).await;
        assert_eq!(*ends.lock().unwrap(), ["server shutting down"; 3]);
        eventually("no one is served any more", || std::net::TcpStream::connect(node.addr).is_err()).await;
    }

    #[tokio::test]
    async fn dropped_server_accepts_no_connections() {
        let io = server();
        let node = Node::start(&io);
        let addr = node.addr;
        let mut client = Client::connect(addr).await;
        drop(node);
        assert_eq!(client.rest().await, []);
        eventually("no one is served any more", || std::net::TcpStream::connect(addr).is_err()).await;
    }

    #[tokio::test]
    async fn application_closes_a_plain_http_server() {
        let io = server();
        let node = Node::plain(&io, 2);
        let mut client = Client::connect(node.addr).await;
        let server = io.clone();
        let closing = tokio::spawn(async move { server.close(patience()).await });
        assert_eq!(client.rest().await, []);
        drop(client);
        within("the end of the close", closing).await.unwrap();
        assert_eq!(io.session_count(), 0);
    }
}
