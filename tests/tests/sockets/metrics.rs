//! The metrics for Prometheus: counters have the right names, and gauges the current values.

use sociable::{Ack, Data, Server, Socket};
use sociable_tests::{Client, Node, Polling, WebSocket, ack, event, eventually, eventually_async, sample_value};

fn server() -> Server {
    let io = Server::builder().build().unwrap();
    io.middleware(async |_: Socket| Ok::<_, &str>(()));
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(())
    });
    io.on("fail", async || Err::<(), _>("it failed"));
    io.on("panic", async || -> () { panic!("as it should") });
    io.on("number", async |Data(_): Data<u64>| {});
    io.on("ask back", async |socket: Socket, ack: Ack| {
        let answer = socket.emit_with_ack("question", ()).await?;
        ack.send(answer.len()).map_err(sociable::Failure::from)
    });
    io.of("/side");
    io
}

#[tokio::test]
async fn metrics_count_events_by_outcome() {
    let io = server();
    let node = Node::start(&io);
    let mut client = Client::connect(node.addr).await;
    for name in ["fail", "panic", "nobody listens", "number"] {
        client.emit(name, "x").await;
    }
    client.ask("join", "red").await;
    for (outcome, count) in
        [("handled", 1.0), ("failed", 1.0), ("panicked", 1.0), ("unheard", 1.0), ("bad_arguments", 1.0), ("refused", 0.0)]
    {
        let sample = format!(r#"sociable_events_total{{outcome="{outcome}"}}"#);
        assert_eq!(sample_value(&io, &sample).await, count, "{sample}");
    }
}

#[tokio::test]
async fn metrics_count_sessions_sockets_and_rooms() {
    let io = server();
    let node = Node::start(&io);
    let (mut a, mut b) = (Client::connect(node.addr).await, Client::connect_polling(node.addr).await);
    a.join("/side").await;
    a.ask("join", "red").await;
    b.ask("join", "red").await;
    b.ask("join", "blue").await;
    for (sample, expected) in [
        ("sociable_sessions", 2.0),
        (r#"sociable_sessions{transport="websocket"}"#, 1.0),
        (r#"sociable_sessions{transport="polling"}"#, 1.0),
        (r#"sociable_sockets{nsp="/"}"#, 2.0),
        (r#"sociable_sockets{nsp="/side"}"#, 1.0),
        (r#"sociable_rooms{nsp="/"}"#, 2.0),
        (r#"sociable_rooms{nsp="/side"}"#, 0.0),
        ("sociable_cluster_connected", 1.0),
        ("sociable_nodes", 1.0),
        ("sociable_draining", 0.0),
        ("sociable_node_info", 1.0),
        ("sociable_build_info", 1.0),
    ] {
        assert_eq!(sample_value(&io, sample).await, expected, "{sample}");
    }
    a.tear();
    eventually("the session has ended", || io.session_count() == 1).await;
    assert_eq!(sample_value(&io, r#"sociable_sessions_closed_total{reason="transport_close"}"#).await, 1.0);
    assert_eq!(sample_value(&io, r#"sociable_sockets_closed_total{reason="session_closed"}"#).await, 2.0);
    assert_eq!(sample_value(&io, r#"sociable_sessions{transport="websocket"}"#).await, 0.0);
    assert_eq!(sample_value(&io, r#"sociable_sessions{transport="polling"}"#).await, 1.0);
}

#[tokio::test]
async fn session_changes_its_transport_when_it_upgrades() {
    let io = server();
    let node = Node::start(&io);
    let session = Polling::open(node.addr, "/socket.io/").await;
    let transports = async || {
        let of = async |transport| sample_value(&io, &format!(r#"sociable_sessions{{transport="{transport}"}}"#)).await;
        (of("polling").await, of("websocket").await)
    };
    assert_eq!(transports().await, (1.0, 0.0));
    let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket.send("5").await;
    eventually_async("it is upgraded", async || transports().await == (0.0, 1.0)).await;
    assert_eq!(sample_value(&io, r#"sociable_upgrades_total{outcome="completed"}"#).await, 1.0);
    socket.close().await;
    eventually_async("the session has ended", async || transports().await == (0.0, 0.0)).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn metrics_have_the_figures_of_the_process() {
    let io = server();
    for name in
        ["cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "threads", "open_fds", "max_fds", "start_time_seconds"]
    {
        assert!(sample_value(&io, &format!("process_{name}")).await >= 0.0, "{name}");
    }
}

#[tokio::test]
async fn metrics_time_acks_and_worker_lag() {
    let io = server();
    let node = Node::start(&io);
    let mut client = Client::connect(node.addr).await;
    client.send(event("ask back", ()).id(1)).await;
    let question = client.packet().await;
    client.send(ack(question.id.unwrap(), 1)).await;
    client.packets_until(ack(1, 1)).await;
    assert_eq!(sample_value(&io, "sociable_ack_latency_seconds_count").await, 1.0);
    // Each thread looks four times a second.
    let looked = async || sample_value(&io, "sociable_worker_lag_seconds_count").await > 0.0;
    eventually_async("a thread has looked", looked).await;
}

#[tokio::test]
async fn metrics_show_outbox_bytes() {
    let io = server();
    let node = Node::start(&io);
    let mut client = Client::connect_polling(node.addr).await;
    client.ask("join", "red").await;
    // From here on, the client does not poll.
    io.emit("long", "x".repeat(10_000)).unwrap();
    let mut waits = 0.0;
    eventually_async("the event waits", async || {
        waits = sample_value(&io, "sociable_outbox_bytes").await;
        waits >= 10_000.0
    })
    .await;
    assert_eq!(sample_value(&io, "sociable_largest_outbox_bytes").await, waits);
}

#[tokio::test]
async fn metrics_skip_a_blocked_thread() {
    let io = server();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    io.on("block", move || {
        let _ = told.lock().unwrap().recv();
        std::future::ready(())
    });
    let node = Node::raw(&io, 2);
    let mut clients = Client::connect_many(node.addr, 8).await;
    clients[0].emit("block", ()).await;
    let answers =
        async |io: &Server| io.metrics().await.lines().filter(|line| line.starts_with("sociable_worker_inbox_wait_seconds{")).count();
    eventually_async("one thread is blocked", async || answers(&io).await == 1).await;
    drop(tell);
    eventually_async("both threads answer", async || answers(&io).await == 2).await;
}

#[tokio::test]
async fn names_chosen_by_clients_are_bounded_in_metrics() {
    let io = server();
    io.of_dynamic(async |_name, _auth| true);
    let node = Node::start(&io);
    // No session makes more than 100.
    let mut clients = [Client::connect(node.addr).await, Client::session(node.addr).await];
    for n in 0..120 {
        clients[n % 2].join(&format!("/made-up-{n}")).await;
    }
    let text = io.metrics().await;
    assert_eq!(text.lines().filter(|line| line.starts_with("sociable_sockets{")).count(), 101);
    assert!(sample_value(&io, r#"sociable_sockets{nsp="(others)"}"#).await >= 20.0);
    assert_eq!(sample_value(&io, "sociable_sockets").await, 121.0);
}
