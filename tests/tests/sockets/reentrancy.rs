//! Application code in listeners, drops and waits, and clients that do not wait for answers.

use std::sync::Arc;

use serde_json::json;
use sociable::{Ack, Data, Server, Socket};
use sociable_tests::{Client, Node, Polling, WebSocket, ack, connect, connect_error, event, eventually, masked, message};
use tokio::sync::Notify;

fn start() -> (Server, Node) {
    let io = Server::builder().build().unwrap();
    io.on("echo", async |socket: Socket, ack: Ack| ack.send(socket.id().as_str()));
    let node = Node::raw(&io, 1);
    (io, node)
}

#[tokio::test]
async fn socket_in_middleware_stays_when_another_is_refused() {
    let (io, node) = start();
    let let_in = Arc::new(Notify::new());
    let gate = Arc::clone(&let_in);
    let slow = io.of("/slow");
    slow.middleware(move |auth: sociable::Auth<sociable::Value>| {
        let gate = Arc::clone(&gate);
        async move {
            match auth.0.get("wait") {
                Some(_) => Ok(gate.notified().await),
                None => Err("no"),
            }
        }
    });
    let mut waits = Client::session(node.addr).await;
    waits.send(connect().of("/slow").data(json!({ "wait": true }))).await;
    eventually("the middleware runs", || slow.socket_count() == 1).await;
    let mut refused = Client::session(node.addr).await;
    refused.send(connect().of("/slow")).await;
    assert_eq!(refused.packet().await, connect_error("no").of("/slow"));
    let_in.notify_one();
    waits.joined("/slow").await;
    slow.emit("news", 1).unwrap();
    assert_eq!(waits.packet().await, event("news", 1).of("/slow"));
    assert_eq!(slow.fetch_sockets().await.unwrap().len(), 1);
}

#[tokio::test]
async fn outgoing_listener_may_emit() {
    let (io, node) = start();
    io.on_any_outgoing(|context| context.socket.emit("told", &*context.name).unwrap());
    io.on("ask", async |socket: Socket| socket.emit("answer", ()));
    let mut client = Client::connect(node.addr).await;
    client.emit("ask", ()).await;
    assert_eq!(client.packet().await, event("told", "answer"));
    assert_eq!(client.packet().await, event("answer", ()));
    client.ask("echo", ()).await;
}

#[tokio::test]
async fn removed_handler_may_use_its_socket_in_drop() {
    struct Last(Socket);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.on("after", async |ack: Ack| ack.send("dropped"));
        }
    }
    let (io, node) = start();
    io.on_connect(async |socket: Socket| {
        let last = Last(socket.clone());
        socket.on("before", move || {
            let _ = &last;
            std::future::ready(())
        });
    });
    io.on("remove", async |socket: Socket, ack: Ack| {
        socket.off("before");
        ack.send(())
    });
    let mut client = Client::connect(node.addr).await;
    client.ask("remove", ()).await;
    assert_eq!(client.ask("after", ()).await, json!(["dropped"]));
    assert_eq!(io.stats().actors_died, 0);
}

#[tokio::test]
async fn probe_is_answered_when_the_client_does_not_wait() {
    let (_io, node) = start();
    let session = Polling::open(node.addr, "/socket.io/").await;
    let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
    let frames: Vec<u8> = ["2probe", "5", &message(connect())].iter().flat_map(|text| masked(0x81, text)).collect();
    socket.send_raw(frames).await;
    assert_eq!(socket.text().await, "3probe");
    Client::upgraded(socket, &session.sid).joined("/").await;
}

#[tokio::test]
async fn event_before_the_connect_answer_closes_the_session() {
    let (_io, node) = start();
    let session = Polling::open(node.addr, "/socket.io/").await;
    assert_eq!(session.post_packets(&[&message(connect()), &message(event("echo", ()))]).await.brief(), (200, "ok"));
    assert_eq!(session.poll().await.text(), "6\u{1e}1");
}

#[tokio::test]
async fn namespace_names_and_auth_are_bounded() {
    let (io, node) = start();
    io.of_pattern(regex::Regex::new("^/any").unwrap());
    io.of("/auth").on("auth", async |socket: Socket, ack: Ack| ack.send(socket.auth::<sociable::Value>().unwrap()));
    let mut client = Client::session(node.addr).await;
    let long = format!("/any{}", "x".repeat(2000));
    client.send(connect().of(&long)).await;
    assert_eq!(client.packet().await, connect_error("Invalid namespace").of(&long));
    client.send(connect().of("/auth").data(json!({ "name": "Ada" }))).await;
    client.packet().await;
    client.send(event("auth", ()).of("/auth").id(1)).await;
    assert_eq!(client.packet().await, ack(1, json!([{ "name": "Ada" }])).of("/auth"));
}

#[tokio::test]
async fn empty_messages_count_towards_max_outbox() {
    let (io, node) = start();
    io.on("flood", async |socket: Socket, Data(n): Data<u32>| {
        for _ in 0..n {
            if socket.emit("x", ()).is_err() {
                break;
            }
        }
    });
    let mut client = Client::connect(node.addr).await;
    // 20,000 times 9 bytes are far less than the bound of 1 MiB; what they cost is more.
    client.emit("flood", 20000).await;
    eventually("the client is closed as slow", || io.stats().slow_clients == 1).await;
}
