//! The store that nodes share when there is little room in it, or none.

use async_nats::jetstream;
use sociable::adapter::Emitter;
use sociable::testing::{TestClient, TestServer};
use sociable::{Ack, Data, JetStreamOptions, NatsAdapter, NatsOptions, Recovery, Server, Socket};
use sociable_tests::{Nats, eventually, eventually_async, patience};

/// A store of 2 MB. Events have a share of 512 KiB, and sessions another.
const STORE: &str = "jetstream { store_dir: \"STORE\", max_file_store: 2MB }";
const SHARE: i64 = 512 << 10;

struct Member {
    io: Server,
    server: TestServer,
    adapter: NatsAdapter,
}

fn options(nats: &Nats) -> NatsOptions {
    NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default().max_bytes(SHARE).sessions_bytes(SHARE))
}

async fn start(nats: &Nats) -> Member {
    let adapter = NatsAdapter::connect(options(nats)).await.unwrap();
    let io = Server::builder().adapter(adapter.clone()).recovery(Recovery::default()).request_timeout(patience()).build().unwrap();
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(())
    });
    io.on("name", async |socket: Socket, Data(name): Data<String>, ack: Ack| {
        socket.set_data(&name).ok();
        ack.send(())
    });
    let server = TestServer::start(&io).unwrap();
    Member { io, server, adapter }
}

async fn pair(nats: &Nats) -> [Member; 2] {
    let members = [start(nats).await, start(nats).await];
    for member in &members {
        eventually("the nodes know each other", || member.adapter.members().len() == 1).await;
    }
    members
}

/// The numbers that a client gets up to one.
async fn numbers(client: &TestClient, last: u64) -> Vec<u64> {
    let mut numbers = vec![];
    while numbers.last() != Some(&last) {
        numbers.push(client.expect("n").await.unwrap().data().unwrap());
    }
    numbers
}

/// Disconnects a new client from one node, and reconnects it to the other. Returns true if it has all events of the
/// meantime.
async fn recovers(from: &Member, to: &Member, n: u64) -> bool {
    let client = from.server.connect().await.unwrap();
    from.io.to(client.id()).emit("n", n).unwrap();
    numbers(&client, n).await;
    let before = from.io.socket_count();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || from.io.socket_count() < before).await;
    to.io.emit("n", n + 1).unwrap();
    let client = to.server.client().recover(lost).connect().await.unwrap();
    let recovered = client.recovered() && numbers(&client, n + 1).await == [n + 1];
    client.disconnect();
    recovered
}

async fn context(nats: &Nats) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

/// Clients whose sessions are as large as may be: together many times what the store holds.
#[tokio::test]
async fn store_has_room_when_clients_fill_their_share() {
    let nats = Nats::with(STORE);
    let [a, b] = pair(&nats).await;
    let watcher = b.server.connect().await.unwrap();
    let mut clients = vec![];
    for n in 0..50 {
        let client = a.server.connect().await.unwrap();
        client.emit_with_ack("name", "x".repeat(60_000)).await.unwrap();
        if n % 2 == 0 {
            clients.push(client);
        } else {
            drop(client.drop_connection());
        }
    }
    a.io.flushed().await.unwrap();
    eventually("all sessions are written", || a.adapter.stats().sessions_saved >= 50).await;
    a.io.emit("n", 1).unwrap();
    assert_eq!(numbers(&watcher, 1).await, [1]);
    let stats = a.adapter.stats();
    assert_eq!((stats.sessions_unsaved, stats.unkept, stats.not_kept), (0, 0, 0));
    assert!(a.io.is_keeping() && !a.io.health().store_refuses);
    let mut sessions = context(&nats).await.get_stream("KV_sociable-sociable-sessions").await.unwrap();
    assert!(sessions.info().await.unwrap().state.bytes <= SHARE as u64);
    assert!(recovers(&a, &b, 10).await);
    // A session beyond its limit is not persisted.
    let greedy = a.server.connect().await.unwrap();
    greedy.emit_with_ack("name", "x".repeat(70_000)).await.unwrap();
    eventually("the large session is counted", || a.io.stats().sessions_too_large > 0).await;
}

/// Another tenant of the NATS server takes all the room that there is.
#[tokio::test]
async fn events_are_delivered_while_the_store_is_full() {
    let nats = Nats::with(STORE);
    let [a, b] = pair(&nats).await;
    let (near, far) = (a.server.connect().await.unwrap(), b.server.connect().await.unwrap());
    let (away, stays) = (b.server.connect().await.unwrap(), a.server.connect().await.unwrap());
    a.io.emit("n", 1).unwrap();
    b.io.emit("n", 1).unwrap();
    for client in [&near, &far, &away, &stays] {
        numbers(client, 1).await;
        numbers(client, 1).await;
    }
    let lost = away.drop_connection();
    eventually("the loss is noticed", || b.io.socket_count() == 1).await;
    b.io.flushed().await.unwrap();

    let emitter = Emitter::connect(options(&nats)).await.unwrap();
    let context = context(&nats).await;
    let other = jetstream::stream::Config { name: "other".into(), subjects: vec!["other".into()], ..Default::default() };
    context.create_stream(other).await.unwrap();
    for length in [100_000, 1_000, 100] {
        while context.publish("other", vec![0; length].into()).await.unwrap().await.is_ok() {}
    }
    for n in 2..=50 {
        let member = if n % 2 == 0 { &a } else { &b };
        member.io.emit("n", n).unwrap();
        assert_eq!((numbers(&near, n).await, numbers(&far, n).await), (vec![n], vec![n]));
    }
    a.io.to(far.id()).sockets_join("red").unwrap();
    a.io.to("red").emit("n", 51).unwrap();
    assert_eq!(numbers(&far, 51).await, [51]);
    // A process without sockets says what is lost, too.
    emitter.emit("n", &52).unwrap();
    assert_eq!(numbers(&far, 52).await, [52]);
    eventually("both nodes say so", || [&a, &b].iter().all(|member| !member.io.is_keeping() && member.io.health().store_refuses)).await;
    assert!(a.io.health().takes_sessions());
    assert!(a.adapter.stats().unkept > 0);
    assert!(a.io.flushed().await.is_ok(), "nothing waits");
    for (member, client) in [(&a, near.as_lost()), (&b, lost)] {
        let back = member.server.client().recover(client).connect().await.unwrap();
        assert!(!back.recovered(), "the client would miss an event");
        back.disconnect();
    }
    far.sync().await.unwrap();

    context.delete_stream("other").await.unwrap();
    eventually("both nodes keep again", || [&a, &b].iter().all(|member| member.io.is_keeping())).await;
    let mut n = 100;
    eventually_async("a client is recovered", async || {
        n += 10;
        recovers(&a, &b, n).await
    })
    .await;
    assert!(recovers(&b, &a, n + 100).await);
    assert_eq!((a.io.stats().sessions_voided, b.io.stats().sessions_voided), (0, 0), "no client was disconnected");
    for client in [&far, &stays] {
        client.sync().await.unwrap();
    }
    assert_eq!((a.adapter.stats().gaps, b.adapter.stats().gaps), (0, 0));
}
