//! Joins, leaves and disconnects of sessions whose clients are disconnected.

use sociable::testing::{LostClient, TestClient, TestServer};
use sociable::{Ack, Data, JetStreamOptions, NatsAdapter, NatsOptions, Recovery, Server, Socket};
use sociable_tests::{Nats, eventually};

/// A node, alone or of a cluster.
struct Member {
    io: Server,
    server: TestServer,
    adapter: Option<NatsAdapter>,
}

/// The kind of history of a cluster.
#[derive(Clone, Copy, PartialEq)]
enum History {
    Apart,
    Shared,
}

fn member(adapter: Option<NatsAdapter>) -> Member {
    let builder = Server::builder().recovery(Recovery::default());
    let io = match &adapter {
        Some(adapter) => builder.adapter(adapter.clone()),
        None => builder,
    };
    let io = io.build().unwrap();
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(())
    });
    io.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room);
        ack.send(())
    });
    let server = TestServer::start(&io).unwrap();
    Member { io, server, adapter }
}

async fn cluster<const N: usize>(nats: &Nats, history: History) -> [Member; N] {
    let mut members = vec![];
    for _ in 0..N {
        let options = NatsOptions::new(nats.url());
        let options = if history == History::Shared { options.jetstream(JetStreamOptions::default()) } else { options };
        members.push(member(Some(NatsAdapter::connect(options).await.unwrap())));
    }
    for member in &members {
        let known = || member.adapter.as_ref().is_some_and(|adapter| adapter.members().len() == N - 1);
        eventually("the nodes know each other", known).await;
    }
    members.try_into().ok().unwrap()
}

/// A client in `red` that has heard 1 and is lost.
async fn lost(member: &Member) -> (String, LostClient) {
    let client = member.server.connect().await.unwrap();
    client.emit_with_ack("join", "red").await.unwrap();
    member.io.local().emit("n", 1).unwrap();
    assert_eq!(numbers(&client, 1).await, [1]);
    let id = client.id().to_owned();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.socket_count() == 0).await;
    (id, lost)
}

/// The numbers that a client gets up to one.
async fn numbers(client: &TestClient, last: u64) -> Vec<u64> {
    let mut numbers = vec![];
    while numbers.last() != Some(&last) {
        numbers.push(client.expect("n").await.unwrap().data().unwrap());
    }
    numbers
}

async fn back(member: &Member, lost: &LostClient) -> TestClient {
    member.server.client().recover(lost.clone()).connect().await.unwrap()
}

/// Checks that orders at node `at` apply to a client that was lost at `from` and returns to `to`.
async fn orders_reach(from: &Member, at: &Member, to: &Member) {
    // The target is the socket's id, its room, or all.
    for put_out in [0, 1, 2] {
        let (id, lost) = lost(from).await;
        at.io.to("red").emit("n", 2).unwrap();
        let meant = match put_out {
            0 => at.io.to(&*id),
            1 => at.io.to("red").except("blue"),
            _ => at.io.except("blue"),
        };
        meant.disconnect_sockets(false).unwrap();
        at.io.to("red").emit("n", 3).unwrap();
        settled(at, to).await;
        let client = back(to, &lost).await;
        assert!(!client.recovered(), "the session was disconnected: {put_out}");
        client.sync().await.unwrap();
        assert!(client.pending().is_empty(), "the client gets no missed event: {put_out}");
        client.disconnect();
        eventually("the socket has left", || to.io.socket_count() == 0).await;
    }
    let (id, lost) = lost(from).await;
    at.io.to("red").emit("n", 2).unwrap();
    at.io.to(&*id).sockets_leave("red").unwrap();
    at.io.to("red").emit("n", 3).unwrap();
    at.io.to("red").disconnect_sockets(false).unwrap();
    at.io.to("blue").emit("n", 4).unwrap();
    at.io.to(&*id).sockets_join("blue").unwrap();
    at.io.to("blue").emit("n", 5).unwrap();
    at.io.to("blue").sockets_join(["green", "red"]).unwrap();
    at.io.to("red").except("green").disconnect_sockets(false).unwrap();
    at.io.to("green").emit("n", 6).unwrap();
    at.io.to("red").emit("n", 7).unwrap();
    settled(at, to).await;
    let client = back(to, &lost).await;
    assert_eq!((client.recovered(), client.id()), (true, &*id));
    assert_eq!(numbers(&client, 7).await, [2, 5, 6, 7]);
    at.io.to("red").emit("n", 8).unwrap();
    assert_eq!(numbers(&client, 8).await, [8]);
    // Once more: what was obeyed is not obeyed again.
    let lost = client.drop_connection();
    eventually("the loss is noticed", || to.io.socket_count() == 0).await;
    at.io.to(&*id).sockets_leave("blue").unwrap();
    at.io.to("blue").emit("n", 9).unwrap();
    at.io.to("green").emit("n", 10).unwrap();
    settled(at, to).await;
    let client = back(to, &lost).await;
    assert!(client.recovered());
    assert_eq!(numbers(&client, 10).await, [10]);
    client.disconnect();
    eventually("the socket has left", || to.io.socket_count() == 0).await;
}

/// Checks that a client that has left the room of its own id is not reached by it, before its loss, meanwhile and later.
async fn own_room_stays_left(from: &Member, at: &Member, to: &Member) {
    let client = from.server.connect().await.unwrap();
    let id = client.id().to_owned();
    client.emit_with_ack("join", "red").await.unwrap();
    from.io.to("red").emit("n", 1).unwrap();
    assert_eq!(numbers(&client, 1).await, [1]);
    // This one is lost with the connection.
    let lost = client.as_lost();
    from.io.to(&*id).emit("n", 2).unwrap();
    client.emit_with_ack("leave", &id).await.unwrap();
    from.io.to(&*id).emit("n", 3).unwrap();
    client.drop_connection();
    eventually("the loss is noticed", || from.io.socket_count() == 0).await;
    at.io.to(&*id).emit("n", 4).unwrap();
    at.io.to(&*id).sockets_join("blue").unwrap();
    at.io.to(&*id).disconnect_sockets(true).unwrap();
    at.io.to("blue").emit("n", 5).unwrap();
    at.io.to("red").except(&*id).emit("n", 6).unwrap();
    settled(at, to).await;
    let client = back(to, &lost).await;
    assert_eq!((client.recovered(), client.id()), (true, &*id));
    assert_eq!(numbers(&client, 6).await, [2, 6]);
    at.io.to(&*id).emit("n", 7).unwrap();
    at.io.to("red").emit("n", 8).unwrap();
    assert_eq!(numbers(&client, 8).await, [8], "it is still not in that room");
    // An operator takes it back while it is away.
    let lost = client.drop_connection();
    eventually("the loss is noticed", || to.io.socket_count() == 0).await;
    at.io.to(&*id).emit("n", 9).unwrap();
    at.io.to("red").sockets_join(&*id).unwrap();
    at.io.to(&*id).emit("n", 10).unwrap();
    settled(at, to).await;
    let client = back(to, &lost).await;
    assert_eq!(numbers(&client, 10).await, [10]);
    at.io.to(&*id).emit("n", 11).unwrap();
    assert_eq!(numbers(&client, 11).await, [11]);
    // And once more: it was not in the room all the time.
    let lost = client.drop_connection();
    eventually("the loss is noticed", || to.io.socket_count() == 0).await;
    at.io.to(&*id).emit("n", 12).unwrap();
    settled(at, to).await;
    let client = back(to, &lost).await;
    assert_eq!(numbers(&client, 12).await, [12]);
    client.disconnect();
    eventually("the socket has left", || to.io.socket_count() == 0).await;
}

#[tokio::test]
async fn own_room_stays_left_in_recovery() {
    let alone = member(None);
    own_room_stays_left(&alone, &alone, &alone).await;
    let nats = Nats::start();
    let [a, b] = cluster(&nats, History::Apart).await;
    own_room_stays_left(&a, &b, &a).await;
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats, History::Shared).await;
    own_room_stays_left(&a, &a, &b).await;
    own_room_stays_left(&a, &b, &b).await;
}

/// Waits until `to` has the orders of `at`.
async fn settled(at: &Member, to: &Member) {
    at.io.flushed().await.unwrap();
    loop {
        let probe = to.server.connect().await.unwrap();
        at.io.to(probe.id()).emit("probe", ()).unwrap();
        // An order for all that comes late is for the probe too.
        if probe.expect("probe").await.is_ok() {
            probe.disconnect();
            break;
        }
    }
    eventually("the probe is gone", || to.io.socket_count() == 0).await;
}

#[tokio::test]
async fn orders_reach_disconnected_sockets() {
    let alone = member(None);
    orders_reach(&alone, &alone, &alone).await;
}

#[tokio::test]
async fn orders_of_other_nodes_reach_disconnected_sockets() {
    let nats = Nats::start();
    let [a, b] = cluster(&nats, History::Apart).await;
    orders_reach(&a, &b, &a).await;
}

#[tokio::test]
async fn orders_apply_when_a_socket_returns_elsewhere() {
    let nats = Nats::keeping();
    let [a, b, c] = cluster(&nats, History::Shared).await;
    orders_reach(&a, &a, &b).await;
    orders_reach(&a, &b, &a).await;
    orders_reach(&a, &b, &b).await;
    orders_reach(&a, &b, &c).await;
}

/// A node that starts later reads the orders from the stream.
#[tokio::test]
async fn orders_apply_when_a_socket_returns_to_a_later_node() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats, History::Shared).await;
    let ((_, out), (id, moved)) = (lost(&a).await, lost(&a).await);
    b.io.to("red").except(&*id).disconnect_sockets(true).unwrap();
    b.io.to("red").sockets_join("blue").unwrap();
    b.io.to("blue").sockets_leave("red").unwrap();
    b.io.to("red").emit("n", 2).unwrap();
    b.io.to("blue").emit("n", 3).unwrap();
    b.io.flushed().await.unwrap();
    let options = NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default());
    let c = member(Some(NatsAdapter::connect(options).await.unwrap()));
    let client = back(&c, &moved).await;
    assert!(client.recovered());
    assert_eq!(numbers(&client, 3).await, [3]);
    assert!(!back(&c, &out).await.recovered());
}

/// The handle of a socket whose client is away.
#[tokio::test]
async fn handle_disconnects_a_lost_socket() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats, History::Shared).await;
    let alone = member(None);
    for (from, to) in [(&alone, &alone), (&a, &b), (&a, &a)] {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        from.io.on_connect(move |socket: Socket| {
            let tell = tell.clone();
            async move { drop(tell.send(socket)) }
        });
        for leaves in [true, false] {
            let (_, lost) = lost(from).await;
            let handle = told.recv().await.unwrap();
            if leaves {
                handle.leave("red");
                handle.join("blue");
            } else {
                handle.disconnect();
            }
            // The thread has handled the earlier calls.
            assert!(handle.ready().await.is_err());
            from.io.to("red").emit("n", 2).unwrap();
            from.io.to("blue").emit("n", 3).unwrap();
            eventually("the order takes effect", || leaves || handle.emit("n", 4).is_err()).await;
            settled(from, to).await;
            let client = back(to, &lost).await;
            assert_eq!(client.recovered(), leaves);
            if leaves {
                assert_eq!(numbers(&client, 3).await, [3]);
            }
            client.disconnect();
            eventually("the sockets have left", || from.io.socket_count() + to.io.socket_count() == 0).await;
            while told.try_recv().is_ok() {}
        }
    }
}

/// A handler of the loss decides that the client must not be recovered.
#[tokio::test]
async fn disconnect_handler_can_end_recovery() {
    for late in [false, true] {
        let alone = member(None);
        if late {
            alone.io.on_disconnect(async |socket: Socket| socket.disconnect());
        } else {
            alone.io.on_disconnecting(async |socket: Socket| socket.disconnect());
        }
        let (_, lost) = lost(&alone).await;
        assert!(!back(&alone, &lost).await.recovered());
    }
}
