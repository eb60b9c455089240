//! Recovery where it is about to go wrong: rooms that were joined late, and more than fits into an outbox.

use std::time::Duration;

use serde_json::json;
use sociable::adapter::LeftRooms;
use sociable::testing::TestServer;
use sociable::{Ack, Data, Recovery, Server, ServerBuilder, Socket};
use sociable_tests::{Client, Kind, Node, connect, event, eventually};

fn server(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let io = change(Server::builder().recovery(Recovery::default())).build().unwrap();
    for name in ["/", "/other"] {
        io.of(name).on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
            socket.join(room);
            ack.send(())
        });
    }
    io
}

#[tokio::test]
async fn recovery_skips_events_from_before_a_room_was_joined() {
    let io = server(|builder| builder);
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    io.to("secret").emit("n", "before").unwrap();
    client.emit_with_ack("join", "secret").await.unwrap();
    io.to("secret").emit("n", "after").unwrap();
    client.expect("n").await.unwrap();
    let id = client.id().to_owned();
    let lost = client.drop_connection();
    io.to("secret").emit("n", "missed").unwrap();
    let client = server.client().recover(lost).connect().await.unwrap();
    assert_eq!((client.recovered(), client.id()), (true, &*id));
    assert_eq!(client.expect("n").await.unwrap().data::<String>().unwrap(), "missed");
    // Again: the room is known since it was joined, not since the return.
    let lost = client.drop_connection();
    io.to("secret").emit("n", "more").unwrap();
    let client = server.client().recover(lost).connect().await.unwrap();
    assert_eq!(client.expect("n").await.unwrap().data::<String>().unwrap(), "more");
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

#[tokio::test]
async fn events_of_left_rooms_come_after_a_return() {
    let io = server(|builder| builder);
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    client.emit_with_ack("join", "red").await.unwrap();
    io.to("red").emit("n", 1).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.as_lost();
    io.to("red").emit("n", 2).unwrap();
    io.sockets_leave("red").unwrap();
    io.to("red").emit("n", 3).unwrap();
    client.sync().await.unwrap();
    // As if the second had been lost with the connection.
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(client.expect("n").await.unwrap().data::<u64>().unwrap(), 2);
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

/// A client that may lack events of more rooms than are remembered gets a new session.
#[tokio::test]
async fn dropped_left_rooms_end_recovery_only_when_needed() {
    let io = server(|builder| builder);
    let server = TestServer::start(&io).unwrap();
    for has_all in [true, false] {
        let client = server.connect().await.unwrap();
        io.emit("n", 1).unwrap();
        client.expect("n").await.unwrap();
        let lacks = client.as_lost();
        for n in 0..=LeftRooms::MAX {
            client.emit_with_ack("join", format!("room {n}")).await.unwrap();
            io.to(format!("room {n}")).emit("n", 2).unwrap();
            io.sockets_leave(format!("room {n}")).unwrap();
        }
        io.emit("n", 3).unwrap();
        client.sync().await.unwrap();
        match has_all {
            true => assert!(server.client().recover(client.drop_connection()).connect().await.unwrap().recovered()),
            false => assert!(!server.client().recover(lacks).connect().await.unwrap().recovered()),
        }
    }
}

/// The answer of a namespace that lets the client in: `sid` and `pid`. `None` if the connection ends instead.
async fn joined(client: &mut Client, namespace: &str) -> Option<serde_json::Value> {
    loop {
        match client.next_packet().await? {
            packet if packet.kind == Kind::Connect && packet.namespace == namespace => return Some(packet.data),
            _ => {}
        }
    }
}

/// Two namespaces have together missed more than one outbox holds. One that can't be recovered gets a new session, and
/// none a partial one.
#[tokio::test]
async fn namespaces_over_one_outbox_leave_no_partial_session() {
    let io = server(|builder| builder.max_outbox(300_000));
    let node = Node::raw(&io, 1);
    let mut client = Client::session(node.addr).await;
    let mut pids = vec![];
    for namespace in ["/", "/other"] {
        client.send(connect().of(namespace)).await;
        let answer = joined(&mut client, namespace).await.unwrap();
        pids.push(answer["pid"].as_str().unwrap().to_owned());
    }
    client.send(event("join", "red").id(7)).await;
    client.send(event("join", "red").of("/other").id(8)).await;
    for _ in 0..2 {
        client.packet().await;
    }
    client.tear();
    eventually("the loss is noticed", || io.recovery_usage().sessions == 2).await;
    for _ in 0..2 {
        io.to("red").emit("n", "x".repeat(90_000)).unwrap();
        io.of("/other").to("red").emit("n", "x".repeat(90_000)).unwrap();
    }
    let mut client = Client::session(node.addr).await;
    client.send(connect().data(json!({ "pid": pids[0] }))).await;
    client.send(connect().of("/other").data(json!({ "pid": pids[1] }))).await;
    // The namespace that fits is recovered. The other ends the connection, so that the client reconnects. If the first
    // was already written when the second comes, both fit.
    let mut back = 0;
    while let Some(packet) = client.next_packet().await {
        back += usize::from(packet.kind == Kind::Connect);
        if back == 2 {
            return;
        }
    }
    eventually("no socket is left", || io.socket_count() == 0 && io.of("/other").socket_count() == 0).await;
    assert_eq!(io.stats().slow_clients, 0);
    assert!(io.local_rooms().await.is_empty() && io.of("/other").local_rooms().await.is_empty());
    // The recovered namespace, which was lost with the connection, still has its room.
    let server = TestServer::start(&io).unwrap();
    let recovered = server.client().auth(&json!({ "pid": pids[0] })).connect().await.unwrap();
    io.to("red").emit("last", ()).unwrap();
    recovered.expect("last").await.unwrap();
}

#[tokio::test]
async fn child_namespace_is_removed_when_recovery_expires() {
    let io = Server::builder()
        .recovery(Recovery::default().max_disconnection_duration(Duration::from_millis(1)))
        .cleanup_empty_child_namespaces(true)
        .build()
        .unwrap();
    io.of_pattern(regex::Regex::new("^/document-").unwrap());
    let server = TestServer::start(&io).unwrap();
    let client = server.client().namespace("/document-1").connect().await.unwrap();
    assert_eq!(io.namespaces().len(), 2);
    drop(client.drop_connection());
    eventually("the namespace is removed", || io.namespaces().len() == 1).await;
}
