//! A server that stands still for longer than its clients' timeouts: suspended, or blocked by a handler. No client is
//! closed for that.
//!
//! The test is a program of its own: its clients have short timeouts, and need the processor afterwards.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sociable::{Ack, RawArgs, Server, ServerBuilder};
use sociable_tests::{Client, Frame, Node, Polling, WebSocket, ack, attachment, connect, event, eventually, message, within};

const PING_INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Longer than all that clients are given.
const STANDSTILL: Duration = Duration::from_millis(3500);

/// A server of one thread, which one of its clients can have stand still.
struct Still {
    io: Server,
    node: Node,
    staller: Client,
    stands: Arc<AtomicBool>,
}

impl Still {
    async fn start(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let io = change(Server::builder().ping_interval(PING_INTERVAL).ping_timeout(TIMEOUT)).build().unwrap();
        let stands = Arc::new(AtomicBool::new(false));
        io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args).unwrap());
        let told = Arc::clone(&stands);
        io.on("stall", move || {
            told.store(true, Ordering::Release);
            std::thread::sleep(STANDSTILL);
            told.store(false, Ordering::Release);
            async {}
        });
        let node = Node::raw(&io, 1);
        let staller = Client::connect(node.addr).await;
        Self { io, node, staller, stands }
    }

    async fn begin(&mut self) {
        self.staller.emit("stall", ()).await;
        eventually("the server stands still", || self.stands.load(Ordering::Acquire)).await;
    }

    async fn end(&self) {
        eventually("the server goes on", || !self.stands.load(Ordering::Acquire)).await;
    }
}

/// The next text frame of a session that is not in a namespace.
async fn text(socket: &mut WebSocket) -> String {
    match within("a frame", socket.frame()).await {
        Some(Frame::Text(text)) => text,
        other => panic!("no text, but {other:?}"),
    }
}

/// The next packet that is no ping. Pings are answered.
async fn packet(socket: &mut WebSocket) -> String {
    loop {
        match &*text(socket).await {
            "2" => socket.send("3").await,
            packet => return packet.to_owned(),
        }
    }
}

#[tokio::test]
async fn websocket_is_pinged_after_a_standstill_and_stays() {
    let mut still = Still::start(|options| options).await;
    let mut socket = WebSocket::open(still.node.addr, "/socket.io/?EIO=4&transport=websocket").await;
    assert!(text(&mut socket).await.starts_with('0'));
    socket.send(&message(connect())).await;
    assert!(text(&mut socket).await.starts_with(&message(connect())));
    still.begin().await;
    assert_eq!(text(&mut socket).await, "2");
    socket.send("3").await;
    socket.send(&message(event("echo", 1).id(0))).await;
    assert_eq!(packet(&mut socket).await, message(ack(0, 1)));
    assert_eq!(text(&mut socket).await, "2");
    assert_eq!(still.io.stats().ping_timeouts, 0);
}

#[tokio::test]
async fn polling_client_is_pinged_after_a_standstill_and_stays() {
    let mut still = Still::start(|options| options).await;
    let polling = Client::connect_polling(still.node.addr).await.into_polling();
    let poll = tokio::spawn({
        let polling = polling.clone();
        async move { polling.receive().await }
    });
    still.begin().await;
    assert_eq!(poll.await.unwrap(), "2");
    polling.send(&format!("3\x1e{}", message(event("echo", 1).id(0)))).await;
    assert!(polling.receive().await.contains(&message(ack(0, 1))));
}

#[tokio::test]
async fn pong_that_came_during_a_standstill_is_in_time() {
    let mut still = Still::start(|options| options).await;
    let polling = Client::connect_polling(still.node.addr).await.into_polling();
    assert_eq!(polling.receive().await, "2");
    still.begin().await;
    polling.send(&format!("3\x1e{}", message(event("echo", 1).id(0)))).await;
    assert!(polling.receive().await.contains(&message(ack(0, 1))));
    assert_eq!(still.io.stats().ping_timeouts, 0);
}

#[tokio::test]
async fn old_client_that_pinged_during_a_standstill_stays() {
    let mut still = Still::start(|options| options.allow_eio3(true)).await;
    let mut client = Client::connect_polling_v3(still.node.addr).await;
    still.begin().await;
    client.send_engine("2").await;
    assert_eq!(client.ask("echo", 1).await, json!([1]));
    assert_eq!(still.io.stats().ping_timeouts, 0);
}

#[tokio::test]
async fn client_has_time_to_connect_after_a_standstill() {
    let mut still = Still::start(|options| options.connect_timeout(TIMEOUT)).await;
    let mut client = Client::session(still.node.addr).await;
    still.begin().await;
    still.end().await;
    client.join("/").await;
    assert_eq!(client.ask("echo", 1).await, json!([1]));
}

#[tokio::test]
async fn client_has_time_to_upgrade_after_a_standstill() {
    let mut still = Still::start(|options| options.upgrade_timeout(TIMEOUT)).await;
    let polling = Client::connect_polling(still.node.addr).await.into_polling();
    let mut socket = WebSocket::open(still.node.addr, &polling.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(text(&mut socket).await, "3probe");
    still.begin().await;
    still.end().await;
    socket.send("5").await;
    assert_eq!(Client::upgraded(socket, &polling.sid).ask("echo", 1).await, json!([1]));
}

#[tokio::test]
async fn client_has_time_for_attachments_after_a_standstill() {
    let mut still = Still::start(|options| options.packet_timeout(TIMEOUT)).await;
    let mut client = Client::connect(still.node.addr).await;
    let packet = event("echo", attachment(0)).id(0).attach([1, 2, 3]);
    client.send_text(&packet.to_string()).await;
    still.begin().await;
    still.end().await;
    client.send_binary(&[1, 2, 3]).await;
    assert_eq!(client.packet().await, ack(0, attachment(0)).attach([1, 2, 3]));
}

#[tokio::test]
async fn silent_clients_end_in_time_after_a_standstill_too() {
    let mut still = Still::start(|options| options).await;
    let _socket = WebSocket::open(still.node.addr, "/socket.io/?EIO=4&transport=websocket").await;
    let _polling = Polling::open(still.node.addr, "/socket.io/").await;
    still.begin().await;
    eventually("all sessions have ended", || still.io.session_count() == 0).await;
}

#[tokio::test]
async fn workers_run_waits_for_the_end_of_a_standstill() {
    let mut still = Still::start(|options| options).await;
    within("the thread runs", still.io.workers_run()).await;
    still.begin().await;
    still.io.workers_run().await;
    assert!(!still.stands.load(Ordering::Acquire), "the thread has stood still until now");
}

/// A thread that is late again and again puts a deadline off once in all, not for ever.
#[tokio::test]
async fn dead_client_is_closed_despite_frequent_standstills() {
    let io = Server::builder().ping_interval(PING_INTERVAL).ping_timeout(PING_INTERVAL).build().unwrap();
    let gone = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&gone);
    io.on("often", move || {
        let told = Arc::clone(&told);
        async move {
            while !told.load(Ordering::Acquire) {
                std::thread::sleep(PING_INTERVAL);
                tokio::task::yield_now().await;
            }
        }
    });
    let node = Node::raw(&io, 1);
    let mut dead = Client::connect(node.addr).await;
    dead.emit("often", ()).await;
    // The client never answers a ping.
    eventually("the client is closed", || io.socket_count() == 0).await;
    gone.store(true, Ordering::Release);
}
