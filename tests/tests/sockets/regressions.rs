//! Faults of another server of this protocol that `tests/js` can't observe: leaks, and one namespace that blocks the
//! others. The numbers are those of socketioxide's issues.

use std::time::Duration;

use serde_json::json;
use sociable::{Ack, Data, RawArgs, Server, Socket, Stats};
use sociable_tests::{
    Client, Connection, Frame, Node, WebSocket, ack, connect, disconnect, event, eventually, note, upgrade_request, within,
};

/// The server, raw and plain.
fn both() -> [(Server, Node); 2] {
    Node::both(|| {
        let io = Server::builder().build().unwrap();
        io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
            socket.join(room);
            ack.send(())
        });
        io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
        io
    })
}

/// Waits until nothing is left of any client, and gives the counters.
async fn nothing_is_left(io: &Server) -> Stats {
    eventually("no session is left", || io.session_count() == 0).await;
    eventually("no socket is left", || io.namespaces().iter().all(|namespace| namespace.socket_count() == 0)).await;
    assert!(io.local_rooms().await.is_empty(), "no room is left");
    assert!(io.fetch_sockets().await.unwrap().is_empty());
    let stats = io.stats();
    assert_eq!((stats.sessions, stats.sockets_opened), (0, stats.sockets_closed));
    stats
}

#[tokio::test]
async fn issue_399_closed_connections_leave_nothing() {
    for (io, node) in both() {
        for n in 0..500 {
            let mut client = Client::connect_by(node.addr, n % 5 == 0).await;
            if n % 3 == 0 {
                client.ask("join", format!("room-{}", n % 7)).await;
            }
            match n % 5 {
                // A polling client.
                0 => client.send_engine("1").await,
                1 => client.send(disconnect()).await,
                2 => client.send_engine("1").await,
                3 => client.send_text("nonsense").await,
                _ => {}
            }
            client.tear();
        }
        let stats = nothing_is_left(&io).await;
        assert_eq!((stats.sessions_opened, stats.sockets_opened), (500, 500));
    }
}

#[tokio::test]
async fn issues_731_732_aborted_upgrades_leave_nothing() {
    for (io, node) in both() {
        let mut sessions = vec![];
        for n in 0..60 {
            let session = Client::connect_polling(node.addr).await.into_polling();
            let mut connection = Connection::open(node.addr).await;
            connection.send(upgrade_request(&session.upgrade_target(), &[])).await;
            if n % 4 == 0 {
                // The client does not wait for the 101.
                drop(connection);
            } else {
                let mut socket = WebSocket::opened(connection).await.unwrap();
                if n % 4 > 1 {
                    socket.send("2probe").await;
                    assert_eq!(socket.text().await, "3probe");
                }
                if n % 4 > 2 {
                    socket.send("5").await;
                }
                drop(socket);
            }
            sessions.push(session);
        }
        // Upgraded sessions ended with their WebSocket, and the others continue polling.
        eventually("the others poll on", || io.session_count() == 45).await;
        // An aborted request may not have been started.
        eventually("each is counted", || io.stats().upgrades_failed >= 30).await;
        assert_eq!(io.stats().upgraded, 15);
        for session in sessions.iter().step_by(4) {
            // Whenever it broke off, another may try.
            within("another upgrade", async {
                loop {
                    let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
                    socket.send("2probe").await;
                    if socket.frame().await == Some(Frame::Text("3probe".into())) {
                        break;
                    }
                }
            })
            .await;
        }
        for (n, session) in sessions.iter().enumerate() {
            let posted = session.post("1").await;
            assert_eq!(posted.status, if n % 4 == 3 { 400 } else { 200 }, "{n}");
            session.poll().await;
        }
        nothing_is_left(&io).await;
    }
}

#[tokio::test]
async fn issues_802_820_822_missing_acks_leave_nothing() {
    let [(io, node), _] = both();
    let (ended, end) = note();
    io.on("ask", move |socket: Socket| {
        let pending = socket.timeout(Duration::from_millis(1)).emit_with_ack("q", ());
        // This ack is not awaited.
        drop(socket.emit_with_ack("dropped", ()));
        let end = end.clone();
        async move { end(pending.await.is_err()) }
    });
    let mut client = Client::connect(node.addr).await;
    for _ in 0..100 {
        client.emit("ask", ()).await;
    }
    eventually("all acks have timed out", || ended.lock().unwrap().len() == 100).await;
    let broadcasts = 20;
    for _ in 0..broadcasts {
        assert!(io.timeout(Duration::from_millis(1)).emit_with_ack("all", ()).await.is_err());
    }
    // The table of pending acks is empty, so an answer with any id is ignored.
    io.local_rooms().await;
    for id in 0..220 {
        client.send(ack(id, ())).await;
    }
    client.send(event("echo", ()).id(999)).await;
    client.packets_until(ack(999, ())).await;
    assert_eq!(io.stats().acks_unexpected, 220);
}

#[tokio::test]
async fn issue_799_stuck_namespace_blocks_no_other() {
    for (io, node) in both() {
        io.of("/stuck").on("wait", async || std::future::pending::<()>().await);
        io.of("/stuck").event_middleware(async || std::future::pending::<()>().await);
        io.of("/waits").middleware(async || std::future::pending::<()>().await);
        let mut client = Client::connect(node.addr).await;
        client.join("/stuck").await;
        client.send(connect().of("/waits")).await;
        for _ in 0..100 {
            client.send(event("wait", ()).of("/stuck")).await;
        }
        assert_eq!(client.ask("echo", 1).await, json!([1]));
        io.emit("news", ()).unwrap();
        assert_eq!(client.packet().await, event("news", ()));
        io.of("/stuck").emit("news", ()).unwrap();
        assert_eq!(client.packet().await, event("news", ()).of("/stuck"));
        let mut other = Client::connect(node.addr).await;
        assert_eq!(other.ask("echo", 1).await, json!([1]));
        client.tear();
        other.tear();
        eventually("all sockets have left", || io.session_count() == 0 && io.of("/stuck").socket_count() == 0).await;
    }
}
