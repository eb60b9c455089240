//! Attacks of many clients on one node's memory: unfinished messages, unread packets, and events with waiting handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use sociable::{Ack, RawArgs, Server, ServerBuilder};
use sociable_tests::{Client, Connection, Node, Polling, WebSocket, event, eventually, masked, within};
use tokio::sync::Semaphore;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server that echoes, with these options.
fn start(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Node) {
    let io = options(Server::builder()).build().unwrap();
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args).unwrap());
    let node = Node::raw(&io, 2);
    (io, node)
}

/// A figure of the metrics.
async fn figure(io: &Server, name: &str) -> usize {
    let metrics = io.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("sociable_{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

mod unfinished {
    use super::*;

    #[tokio::test]
    async fn incomplete_frames_share_one_budget() {
        let (io, node) = start(|options| options.max_session_memory(1 << 20));
        let frame = masked(0x81, "4".repeat(62_000));
        let mut sockets = vec![];
        for _ in 0..40 {
            let Ok(mut socket) = WebSocket::try_open(node.addr, WEBSOCKET, &[]).await else { break };
            socket.send_raw(&frame[..60_000]).await;
            sockets.push(socket);
        }
        eventually("some are closed", || io.stats().packets_over_budget > 0).await;
        assert!(figure(&io, "session_memory_bytes").await <= 1 << 20);
        assert!(io.session_count() > 0, "not all are closed");
        drop(sockets);
        eventually("all sessions have ended", || io.session_count() == 0).await;
        assert_eq!(figure(&io, "session_memory_bytes").await, 0);
    }

    #[tokio::test]
    async fn incomplete_bodies_share_one_budget() {
        let (io, node) = start(|options| options.max_session_memory(1 << 20));
        let mut bodies = vec![];
        for _ in 0..40 {
            let Ok(polling) = Polling::try_open(node.addr, POLLING).await else { break };
            let target = polling.target;
            let mut connection = Connection::open(node.addr).await;
            let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 62000\r\n\r\n4");
            connection.send(head + &"x".repeat(60_000)).await;
            bodies.push(connection);
        }
        eventually("some are refused", || io.stats().packets_over_budget > 0).await;
        assert!(figure(&io, "session_memory_bytes").await <= 1 << 20);
        drop(bodies);
        eventually("all sessions have ended", || io.session_count() == 0).await;
        assert_eq!(figure(&io, "session_memory_bytes").await, 0);
    }
}

mod unread {
    use super::*;

    const BUDGET: usize = 4 << 20;
    /// The interval of pings is so long that a slow client misses none.
    const HOUR: Duration = Duration::from_secs(3600);

    /// A client for which the system holds little.
    async fn narrow_client(node: &Node) -> Client {
        let opened = WebSocket::over(Connection::open_narrow(node.addr).await, WEBSOCKET, &[]).await.unwrap();
        let mut client = Client::session_over(opened).await;
        client.join("/").await;
        client
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn slow_clients_share_one_budget() {
        let (io, node) = start(|options| options.max_unread(BUDGET).ping_interval(HOUR));
        let mut reader = Client::connect(node.addr).await;
        let mut jammed = vec![];
        for _ in 0..16 {
            jammed.push(narrow_client(&node).await);
        }
        let filler = "x".repeat(200_000);
        let mut sent = 0;
        // The kernel's buffers come on top of the budget, and are bounded.
        while io.stats().unread_over_budget == 0 {
            assert!(sent < 500, "100 MB were sent to each");
            for client in &jammed {
                let _ = io.to(client.id().to_owned()).emit("x", &filler);
            }
            sent += 1;
            assert_eq!(reader.ask("echo", 1).await, json!([1]));
        }
        let stats = io.stats();
        assert_eq!(stats.slow_clients, stats.unread_over_budget, "none of them had a whole outbox");
        assert!(figure(&io, "unread_bytes").await <= BUDGET);
        assert_eq!(reader.ask("echo", 1).await, json!([1]));
        drop(jammed);
        eventually("the whole budget is free", || io.session_count() == 1).await;
        assert_eq!(figure(&io, "unread_bytes").await, 0);
    }

    #[tokio::test]
    async fn absent_polling_clients_share_one_budget() {
        let (io, node) = start(|options| options.max_unread(BUDGET));
        let mut ids = vec![];
        let mut sessions = vec![];
        for _ in 0..64 {
            let mut client = Client::polling_session(node.addr).await;
            client.join("/").await;
            ids.push(client.id().to_owned());
            sessions.push(client);
        }
        let filler = "x".repeat(60_000);
        for _ in 0..8 {
            ids.iter().for_each(|id| drop(io.to(id.clone()).emit("x", &filler)));
        }
        eventually("some are closed as slow", || io.stats().unread_over_budget > 0).await;
        assert!(figure(&io, "unread_bytes").await <= BUDGET);
        // Fetched packets free their share of the budget.
        for client in &mut sessions {
            while io.stats().sessions_opened > 0 && client.next().await.is_some() {
                if figure(&io, "unread_bytes").await == 0 {
                    return;
                }
            }
        }
        assert_eq!(figure(&io, "unread_bytes").await, 0);
    }

    #[tokio::test]
    async fn long_answer_counts_until_it_is_written() {
        let (io, node) = start(|options| options.max_outbox(32 << 20));
        let mut client = Client::polling_session(node.addr).await;
        client.join("/").await;
        for _ in 0..16 {
            io.to(client.id().to_owned()).emit("x", "x".repeat(1_000_000)).unwrap();
        }
        let mut connection = Connection::open(node.addr).await;
        connection.ask("GET", &format!("{POLLING}&sid={}", client.sid), &[], "").await;
        // The kernel takes some of it.
        within("the answer waits", async {
            while figure(&io, "outbox_bytes").await > 0 || figure(&io, "unread_bytes").await < 4_000_000 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let answer = connection.response().await.unwrap();
        assert!(answer.body.len() > 16_000_000, "{} bytes", answer.body.len());
        assert_eq!(figure(&io, "unread_bytes").await, 0);
    }
}

mod handlers {
    use super::*;

    struct Held {
        io: Server,
        node: Node,
        begun: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
    }

    /// A server whose handlers of `hold` wait at a gate.
    fn held(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Held {
        let (io, node) = start(options);
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, wait) = (Arc::clone(&begun), Arc::clone(&gate));
        io.on("hold", move |args: RawArgs| {
            count.fetch_add(1, Relaxed);
            let wait = Arc::clone(&wait);
            async move {
                wait.acquire().await.unwrap().forget();
                drop(args);
            }
        });
        Held { io, node, begun, gate }
    }

    #[tokio::test]
    async fn long_events_wait_when_handlers_hold_too_much() {
        let Held { io, node, begun, gate } = held(|options| options.max_client_bytes(100_000));
        let mut client = Client::connect(node.addr).await;
        let long = event("hold", "x".repeat(10_000));
        for _ in 0..50 {
            client.send(&long).await;
        }
        eventually("all events are read", || io.stats().messages_in >= 51).await;
        assert!((5..15).contains(&begun.load(Relaxed)), "{begun:?} handlers run");
        gate.add_permits(1_000);
        eventually("all events are handled", || io.stats().events_handled == 50).await;
        assert_eq!(client.ask("echo", 1).await, json!([1]));
    }

    #[tokio::test]
    async fn events_wait_when_memory_is_used_up() {
        let Held { io, node, begun, gate } = held(|options| options.max_session_memory(2 << 20));
        let mut clients = Client::connect_many(node.addr, 4).await;
        let long = event("hold", "x".repeat(10_000));
        for _ in 0..150 {
            for client in &mut clients {
                client.send(&long).await;
            }
        }
        eventually("the budget is used up", || begun.load(Relaxed) >= 100).await;
        // Each session runs one handler at least, and reads no more than it has to.
        let memory = figure(&io, "session_memory_bytes").await;
        assert!(memory < 3 << 20, "{memory} bytes are kept of 6 MB that were sent");
        assert_eq!(io.session_count(), 4);
        gate.add_permits(1_000);
        eventually("all events are handled", || io.stats().events_handled == 600).await;
        for client in &mut clients {
            assert_eq!(client.ask("echo", 1).await, json!([1]));
        }
    }
}
