//! Nodes that share their history by JetStream: clients come back to other nodes, with all that they missed, once and in order.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use sociable::adapter::Emitter;
use sociable::adapter::conformance::{Peer, check_all};
use sociable::adapter::{Adapter, Limits};
use sociable::testing::{LostClient, TestClient, TestServer};
use sociable::{Ack, Data, Failure, JetStreamOptions, NatsAdapter, NatsAuth, NatsOptions, Recovery, Server, Socket};
use sociable_tests::{Nats, eventually, patience, within};

const LIMITS: Limits =
    Limits { session_age: Duration::from_secs(60), event_age: Duration::from_secs(60), session_bytes: 1 << 20, total_bytes: 1 << 26 };

/// A node of a cluster.
struct Member {
    io: Server,
    server: TestServer,
    adapter: NatsAdapter,
}

fn options(nats: &Nats) -> NatsOptions {
    NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default())
}

async fn start(options: NatsOptions) -> Member {
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let io = Server::builder()
        .adapter(adapter.clone())
        .recovery(Recovery::default())
        .request_timeout(patience())
        .ack_timeout(patience())
        .build()
        .unwrap();
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(())
    });
    io.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room);
        ack.send(())
    });
    io.on("name", async |socket: Socket, Data(name): Data<String>, ack: Ack| {
        socket.set_data(&name).ok();
        ack.send(())
    });
    io.on("tell me", async |socket: Socket, Data(n): Data<u64>, ack: Ack| {
        socket.emit("n", n).ok();
        ack.send(())
    });
    let server = TestServer::start(&io).unwrap();
    Member { io, server, adapter }
}

async fn cluster<const N: usize>(nats: &Nats) -> [Member; N] {
    let mut members = vec![];
    for _ in 0..N {
        members.push(start(options(nats)).await);
    }
    for member in &members {
        eventually("the nodes know each other", || member.adapter.members().len() == N - 1).await;
    }
    members.try_into().ok().unwrap()
}

/// The numbers that a client gets up to one.
async fn numbers(client: &TestClient, last: u64) -> Vec<u64> {
    let mut numbers = vec![];
    while numbers.last() != Some(&last) {
        numbers.push(client.expect("n").await.unwrap().data().unwrap());
    }
    numbers
}

/// A client of a node that has got something, so that it can say what it has.
async fn served(member: &Member) -> TestClient {
    let client = member.server.connect().await.unwrap();
    member.io.emit("n", 1).unwrap();
    numbers(&client, 1).await;
    client
}

/// The only client of a node loses its connection, which the node notices.
async fn lose(member: &Member, client: TestClient) -> LostClient {
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.socket_count() == 0).await;
    lost
}

/// So many numbers.
async fn some(client: &TestClient, count: usize) -> Vec<u64> {
    let mut numbers = vec![];
    while numbers.len() < count {
        numbers.push(client.expect("n").await.unwrap().data().unwrap());
    }
    numbers
}

#[tokio::test]
async fn a_client_comes_back_to_another_node_with_all_that_it_missed() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    client.emit_with_ack("join", "red").await.unwrap();
    client.emit_with_ack("name", "Ann").await.unwrap();
    let near = b.server.connect().await.unwrap();
    a.io.emit("n", 1).unwrap();
    assert_eq!((numbers(&client, 1).await, numbers(&near, 1).await), (vec![1], vec![1]));
    let id = client.id().to_owned();
    let lost = client.drop_connection();
    a.io.to("red").emit("n", 2).unwrap();
    b.io.to("red").emit("n", 3).unwrap();
    b.io.to("blue").emit("n", 4).unwrap();
    a.io.to(&*id).emit("n", 5).unwrap();
    b.io.emit("n", 6).unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert_eq!((client.recovered(), client.id()), (true, &*id));
    let missed = some(&client, 4).await;
    // Of each node in its order.
    assert_eq!(missed.iter().copied().filter(|n| [2, 5].contains(n)).collect::<Vec<_>>(), [2, 5]);
    assert_eq!(missed.iter().copied().filter(|n| [3, 6].contains(n)).collect::<Vec<_>>(), [3, 6]);
    let sockets = a.io.to("red").fetch_sockets().await.unwrap();
    assert_eq!(sockets.len(), 1);
    assert_eq!(serde_json::to_value(sockets[0].data()).unwrap(), json!("Ann"));
    a.io.to("red").emit("n", 7).unwrap();
    a.io.to(&*id).emit("n", 8).unwrap();
    assert_eq!(numbers(&client, 8).await, [7, 8]);
    // And again to the first, where its id leads.
    let lost = client.drop_connection();
    b.io.to("red").emit("n", 9).unwrap();
    let client = a.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    b.io.to(&*id).emit("n", 10).unwrap();
    assert_eq!(some(&client, 2).await, [9, 10]);
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

#[tokio::test]
async fn the_adapter_does_what_every_adapter_has_to_also_by_the_stream() {
    let nats = Nats::keeping();
    let connect = async || {
        let adapter = NatsAdapter::connect(options(&nats)).await.unwrap();
        drop(adapter.history(LIMITS));
        Peer::start(adapter)
    };
    within("the checks", check_all(connect)).await;
}

/// What a node says to its own socket alone is kept for its return, too, and not doubled.
#[tokio::test]
async fn what_was_said_to_one_client_alone_is_not_lost_with_its_node() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    for n in 1..=20 {
        client.emit_with_ack("tell me", n).await.unwrap();
    }
    assert_eq!(numbers(&client, 20).await, (1..=20).collect::<Vec<_>>());
    let (id, lost) = (client.id().to_owned(), client.as_lost());
    client.emit_with_ack("tell me", 21).await.unwrap();
    a.io.emit("n", 22).unwrap();
    client.emit_with_ack("tell me", 23).await.unwrap();
    // As if all behind the twentieth had been lost with the connection; the first node has not noticed.
    let back = b.server.client().recover(lost).connect().await.unwrap();
    assert_eq!((back.recovered(), back.id()), (true, &*id));
    assert_eq!(numbers(&back, 23).await, [21, 22, 23]);
    eventually("the first node has let it go", || a.io.socket_count() == 0).await;
    a.io.emit("n", 24).unwrap();
    assert_eq!(numbers(&back, 24).await, [24]);
    back.sync().await.unwrap();
    assert!(back.pending().is_empty());
}

/// A room's event was for the socket that left the room afterwards, also if its client had not received it.
#[tokio::test]
async fn events_of_left_rooms_come_after_a_return() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = served(&a).await;
    client.emit_with_ack("join", "red").await.unwrap();
    let lost = client.as_lost();
    a.io.to("red").emit("n", 2).unwrap();
    assert_eq!(numbers(&client, 2).await, [2]);
    client.emit_with_ack("leave", "red").await.unwrap();
    a.io.to("red").emit("n", 3).unwrap();
    a.io.emit("n", 4).unwrap();
    assert_eq!(numbers(&client, 4).await, [4]);
    // As if all behind the first had been lost with the connection.
    let client = b.server.client().recover(lost.clone()).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 4).await, [2, 4]);
    // It is lost again in the midst of it, and comes to the first node.
    let client = a.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 4).await, [2, 4]);
    assert!(a.io.to("red").fetch_sockets().await.unwrap().is_empty());
}

/// A node that lives, but can't keep what it sent, is not taken for dead: what it said to one client alone is not lost.
#[tokio::test]
async fn a_node_that_still_tries_to_keep_events_is_waited_for() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = served(&a).await;
    a.io.flushed().await.unwrap();
    let server = async_nats::connect(nats.url()).await.unwrap();
    let mut answers = server.subscribe("_INBOX.>").await.unwrap();
    server.flush().await.unwrap();
    let jetstream = async_nats::jetstream::new(server);
    let stream = jetstream.get_stream("sociable-sociable").await.unwrap();
    let whole = stream.cached_info().config.clone();
    let all = "sociable.sociable.kept.all".to_owned();
    jetstream.update_stream(async_nats::jetstream::stream::Config { subjects: vec![all], ..whole.clone() }).await.unwrap();
    let (id, lost) = (client.id().to_owned(), client.as_lost());
    client.emit("tell me", 2).unwrap();
    assert_eq!(numbers(&client, 2).await, [2]);
    let back = b.server.client().recover(lost).patience(patience());
    let back = tokio::spawn(async move { back.connect().await });
    while answers.next().await.unwrap().payload != "still" {}
    jetstream.update_stream(whole).await.unwrap();
    let back = back.await.unwrap().unwrap();
    assert_eq!((back.recovered(), back.id()), (true, &*id));
    assert_eq!(numbers(&back, 2).await, [2]);
}

/// What a node has confirmed survives it.
#[tokio::test]
async fn what_is_flushed_is_kept() {
    let mut nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let far = b.server.connect().await.unwrap();
    a.io.emit("n", 1).unwrap();
    a.io.flushed().await.unwrap();
    assert!(a.adapter.stats().kept > 0);
    assert_eq!(numbers(&far, 1).await, [1]);
    nats.kill();
    a.io.emit("n", 2).unwrap();
    let mut flushed = Box::pin(a.io.flushed());
    assert!(futures_util::poll!(&mut flushed).is_pending());
    nats.restart();
    flushed.await.unwrap();
    assert_eq!(numbers(&far, 2).await, [2]);
}

#[tokio::test]
async fn of_two_who_show_the_same_one_comes_back() {
    let nats = Nats::keeping();
    let [a, b, c] = cluster(&nats).await;
    for _ in 0..10 {
        let client = served(&a).await;
        let lost = lose(&a, client).await;
        let claim = async |member: &Member| member.server.client().recover(lost.clone()).connect().await.unwrap();
        let (first, second) = tokio::join!(claim(&b), claim(&c));
        // One may have it after the other, if it comes when the other is there: then that one's connection is ended.
        assert!(first.recovered() || second.recovered());
        let both = first.recovered() && second.recovered();
        eventually("nobody is there twice", || b.io.socket_count() + c.io.socket_count() == if both { 1 } else { 2 }).await;
        first.disconnect();
        second.disconnect();
        eventually("all are gone", || b.io.socket_count() + c.io.socket_count() == 0).await;
    }
}

/// While nothing can be kept, events wait; they come when it can, once and in order.
#[tokio::test]
async fn what_is_sent_while_the_server_is_away_comes_later_once_and_in_order() {
    let mut nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let (near, far) = (a.server.connect().await.unwrap(), b.server.connect().await.unwrap());
    for n in 1..=300 {
        match n {
            100 => nats.kill(),
            200 => nats.restart(),
            _ => {}
        }
        a.io.emit("n", n).unwrap();
        if n % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let all: Vec<_> = (1..=300).collect();
    assert_eq!(numbers(&near, 300).await, all);
    assert_eq!(numbers(&far, 300).await, all);
    assert_eq!(a.adapter.stats().not_kept, 0);
}

/// The stream was deleted: who could come back can't any more, and is told so.
#[tokio::test]
async fn without_its_history_nobody_is_recovered_and_nobody_misses_something_unknowingly() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    let other = b.server.connect().await.unwrap();
    a.io.emit("n", 1).unwrap();
    numbers(&client, 1).await;
    let lost = lose(&a, client).await;
    let server = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(server).delete_stream("sociable-sociable").await.unwrap();
    // Who is connected begins anew.
    other.disconnected().await.unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered());
    eventually("all is well again", || a.io.is_connected()).await;
    a.io.emit("n", 2).unwrap();
    assert_eq!(numbers(&client, 2).await, [2]);
}

#[tokio::test]
async fn what_an_emitter_sends_is_kept_for_those_who_are_away() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    client.emit_with_ack("join", "red").await.unwrap();
    let emitter = Emitter::connect(options(&nats)).await.unwrap();
    emitter.to("red").emit("n", &1).unwrap();
    assert_eq!(numbers(&client, 1).await, [1]);
    let lost = lose(&a, client).await;
    emitter.to("red").emit("n", &2).unwrap();
    emitter.emit("n", &3).unwrap();
    emitter.close().await;
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 3).await, [2, 3]);
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

#[tokio::test]
async fn of_two_who_show_the_same_to_one_node_one_comes_back() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    for _ in 0..10 {
        let client = served(&a).await;
        let lost = lose(&a, client).await;
        let claim = async |member: &Member| member.server.client().recover(lost.clone()).connect().await.unwrap();
        let (first, second) = tokio::join!(claim(&b), claim(&b));
        assert!(first.recovered() || second.recovered());
        if first.recovered() && second.recovered() {
            // One after the other.
            eventually("one is left", || b.io.socket_count() == 1).await;
        }
        first.disconnect();
        second.disconnect();
        eventually("all are gone", || b.io.socket_count() == 0).await;
    }
}

/// What could not be kept in time is lost for the other nodes: those who were there are told so, and those who were away.
#[tokio::test]
async fn what_could_not_be_kept_is_a_hole_that_everybody_is_told_of() {
    let mut nats = Nats::keeping();
    let options = || options(&nats).jetstream(JetStreamOptions::default().deadline(Duration::from_millis(500)));
    let (a, b) = (start(options()).await, start(options()).await);
    eventually("the nodes know each other", || [&a, &b].iter().all(|member| member.adapter.members().len() == 1)).await;
    let (near, far, away) = (a.server.connect().await.unwrap(), b.server.connect().await.unwrap(), b.server.connect().await.unwrap());
    a.io.emit("n", 1).unwrap();
    for client in [&near, &far, &away] {
        numbers(client, 1).await;
    }
    let near_lost = near.as_lost();
    let lost = away.drop_connection();
    eventually("the loss is noticed", || b.io.socket_count() == 1).await;
    b.io.flushed().await.unwrap();
    nats.kill();
    eventually("the link is down", || !a.io.is_connected() && !b.io.is_connected()).await;
    near.emit("tell me", 2).unwrap();
    assert_eq!(numbers(&near, 2).await, [2]);
    a.io.emit("n", 3).unwrap();
    near.disconnected().await.unwrap();
    assert!(a.adapter.stats().not_kept > 0);
    nats.restart();
    eventually("the link is up", || a.io.is_connected() && b.io.is_connected()).await;
    a.io.emit("n", 4).unwrap();
    far.disconnected().await.unwrap();
    let away = b.server.client().recover(lost).connect().await.unwrap();
    assert!(!away.recovered(), "it would miss something");
    let near = b.server.client().recover(near_lost).connect().await.unwrap();
    assert!(!near.recovered(), "what was said to it alone is not kept");
}

/// The places of the stream begin anew; what was known of the one before must not hide what comes.
#[tokio::test]
async fn in_a_stream_that_was_made_anew_all_is_kept_as_before() {
    let nats = Nats::keeping();
    let [a, b, c] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    for n in 1..=50 {
        c.io.emit("n", n).unwrap();
        numbers(&client, n).await;
    }
    let server = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(server).delete_stream("sociable-sociable").await.unwrap();
    client.disconnected().await.unwrap();
    let others = [b.server.connect().await.unwrap(), c.server.connect().await.unwrap()];
    eventually("it is gone", || a.io.socket_count() == 0).await;
    let client = a.server.connect().await.unwrap();
    // Each node has found out when what it sends reaches the others.
    for (member, n) in [(&a, 51), (&b, 52), (&c, 53)] {
        eventually("it is a member of the new stream", || member.io.emit("n", n).is_ok()).await;
    }
    numbers(&client, 53).await;
    let lost = lose(&a, client).await;
    c.io.emit("n", 101).unwrap();
    c.io.emit("n", 102).unwrap();
    c.io.flushed().await.unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    if client.recovered() {
        assert!(numbers(&client, 102).await.ends_with(&[101, 102]));
    }
    drop(others);
}

#[tokio::test]
async fn a_burst_of_an_emitter_comes_whole() {
    let mut nats = Nats::keeping();
    let [a] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    let emitter = Emitter::connect(options(&nats)).await.unwrap();
    nats.kill();
    for n in 1..=6000 {
        emitter.emit("n", &n).unwrap();
    }
    nats.restart();
    assert_eq!(numbers(&client, 6000).await, (1..=6000).collect::<Vec<_>>());
    assert_eq!(a.adapter.stats().malformed, 0);
}

#[tokio::test]
async fn what_a_node_says_to_its_own_is_not_told_to_those_who_were_elsewhere() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let (mover, client) = (a.server.connect().await.unwrap(), b.server.connect().await.unwrap());
    b.io.emit("n", 1).unwrap();
    assert_eq!((numbers(&client, 1).await, numbers(&mover, 1).await), (vec![1], vec![1]));
    let lost = lose(&b, client).await;
    let before = mover.as_lost();
    a.io.local().emit("n", 2).unwrap();
    assert_eq!(numbers(&mover, 2).await, [2]);
    // As if that had been lost.
    let mover = b.server.client().recover(before).connect().await.unwrap();
    assert_eq!(numbers(&mover, 2).await, [2]);
    b.io.emit("n", 3).unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 3).await, [3]);
}

#[tokio::test]
async fn a_session_that_became_too_large_is_not_restored_as_it_was_before() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    client.emit_with_ack("name", "Ann").await.unwrap();
    a.io.emit("n", 1).unwrap();
    numbers(&client, 1).await;
    eventually("it is saved", || a.adapter.stats().sessions_saved > 0).await;
    client.emit_with_ack("name", "x".repeat(900_000)).await.unwrap();
    client.emit_with_ack("join", "x".repeat(900_000)).await.unwrap();
    let lost = lose(&a, client).await;
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered());
}

/// Another node took the session while this one was frozen, and the client has left for good there.
#[tokio::test]
async fn a_session_that_ended_elsewhere_is_not_brought_back_to_life() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = served(&a).await;
    let lost = client.as_lost();
    eventually("it is saved", || a.adapter.stats().sessions_saved > 0).await;
    let server = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let bucket = server.get_key_value("sociable-sociable-sessions").await.unwrap();
    let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
    bucket.delete(&keys[0]).await.unwrap();
    client.emit("join", "red").unwrap();
    client.disconnected().await.unwrap();
    assert_eq!(bucket.get(&keys[0]).await.unwrap(), None);
    let back = b.server.client().recover(lost).connect().await.unwrap();
    assert!(!back.recovered());
}

#[tokio::test]
async fn who_was_refused_has_nothing_to_come_back_to() {
    let nats = Nats::keeping();
    let a = start(options(&nats)).await;
    let refuses = Arc::new(AtomicBool::new(true));
    let adapter = NatsAdapter::connect(options(&nats)).await.unwrap();
    let io = Server::builder().adapter(adapter).recovery(Recovery::default().skip_middlewares(false)).build().unwrap();
    let asked = Arc::clone(&refuses);
    io.middleware(move |_: Socket| {
        let refuses = asked.load(Ordering::SeqCst);
        async move { if refuses { Err(Failure::new("no")) } else { Ok(()) } }
    });
    let b = TestServer::start(&io).unwrap();
    let client = served(&a).await;
    let lost = lose(&a, client).await;
    assert!(b.client().recover(lost.clone()).connect().await.is_err());
    refuses.store(false, Ordering::SeqCst);
    let back = b.client().recover(lost).connect().await.unwrap();
    assert!(!back.recovered());
}

/// What the client's session is kept on is away for a while when it comes back.
#[tokio::test]
async fn who_comes_back_while_nobody_can_be_asked_waits() {
    let mut nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = served(&a).await;
    let lost = lose(&a, client).await;
    let saved = a.adapter.stats().sessions_saved;
    eventually("it is saved as lost", || a.adapter.stats().sessions_saved >= saved.max(1)).await;
    a.io.flushed().await.unwrap();
    nats.kill();
    eventually("the link is down", || !b.io.is_connected()).await;
    let back = b.server.client().recover(lost).patience(patience());
    let back = tokio::spawn(async move { back.connect().await });
    tokio::task::yield_now().await;
    nats.restart();
    assert!(back.await.unwrap().unwrap().recovered());
}

/// Only the server says where messages stand; but whoever may publish could try.
#[tokio::test]
async fn a_message_that_was_never_kept_deafens_nobody() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = b.server.connect().await.unwrap();
    a.io.emit("n", 1).unwrap();
    numbers(&client, 1).await;
    let server = async_nats::connect(nats.url()).await.unwrap();
    for (sequence, before) in [("99999999999", "0"), ("5", "99999999999"), ("x", "y")] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Sequence", sequence);
        headers.insert("Nats-Last-Sequence", before);
        server.publish_with_headers("sociable.sociable.live", headers, "x".into()).await.unwrap();
    }
    server.publish("sociable.sociable.live", "without anything".into()).await.unwrap();
    server.flush().await.unwrap();
    for n in 2..10 {
        a.io.emit("n", n).unwrap();
    }
    assert_eq!(numbers(&client, 9).await, (2..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_bucket_that_was_deleted_is_made_anew() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let server = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(server).delete_stream("KV_sociable-sociable-sessions").await.unwrap();
    let client = served(&a).await;
    eventually("it is saved", || a.adapter.stats().sessions_saved > 0).await;
    let lost = client.drop_connection();
    let back = b.server.client().recover(lost).connect().await.unwrap();
    assert!(back.recovered());
}

/// Events go on while a node that comes reads what was before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_misses_nothing_of_what_goes_on() {
    let nats = Nats::keeping();
    let [a] = cluster(&nats).await;
    for _ in 0..300 {
        while a.io.to("nobody").emit("fill", "x".repeat(200_000)).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let sent = Arc::new(AtomicU64::new(0));
    let (io, at) = (a.io.clone(), Arc::clone(&sent));
    let sending = tokio::spawn(async move {
        loop {
            io.emit("n", at.fetch_add(1, Ordering::SeqCst) + 1).ok();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let b = start(options(&nats)).await;
    let client = b.server.connect().await.unwrap();
    let heard = some(&client, 100).await;
    sending.abort();
    assert!(heard.windows(2).all(|pair| pair[1] == pair[0] + 1), "in a row: {heard:?}");
}

#[tokio::test]
async fn nodes_start_where_there_is_room_for_one_history() {
    let nats = Nats::with(r#"jetstream { store_dir: "STORE", max_file_store: 1700MB }"#);
    let (a, b) = (start(options(&nats)).await, start(options(&nats)).await);
    eventually("the nodes know each other", || [&a, &b].iter().all(|member| member.adapter.members().len() == 1)).await;
    assert_eq!([&a, &b].map(|member| member.adapter.stats().disagreeing), [0, 0], "nobody was judged before it had a history");
}

#[tokio::test]
async fn a_node_needs_no_more_than_the_guide_says() {
    let nats = Nats::with(
        r#"jetstream { store_dir: "STORE", max_file_store: 64GB }
        authorization { users: [ { user: node, password: p, permissions: {
            publish: ["sociable.sociable.>", "_INBOX.>", "$JS.API.>", "$JS.ACK.>", "$KV.sociable-sociable-sessions.>"]
            subscribe: ["sociable.sociable.>", "_INBOX.>"]
        } } ] }"#,
    );
    let options = || options(&nats).auth(NatsAuth::User("node".into(), "p".into()));
    let (a, b) = (start(options()).await, start(options()).await);
    eventually("the nodes know each other", || [&a, &b].iter().all(|member| member.adapter.members().len() == 1)).await;
    let client = served(&a).await;
    let lost = client.as_lost();
    client.emit_with_ack("tell me", 2).await.unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 2).await, [2]);
    assert_eq!((a.adapter.stats().server_errors, b.adapter.stats().server_errors), (0, 0));
}

/// A room that was joined a moment ago, too.
#[tokio::test]
async fn what_is_flushed_of_a_socket_is_kept() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    a.io.on("sit down", async |socket: Socket, ack: Ack| {
        socket.join("red");
        socket.set_data("Ann").ok();
        let io = socket.namespace().server().ok_or("the server is gone")?;
        io.flushed().await?;
        Ok::<_, Box<dyn std::error::Error>>(ack.send(())?)
    });
    let server = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let bucket = server.get_key_value("sociable-sociable-sessions").await.unwrap();
    for _ in 0..10 {
        let client = served(&a).await;
        client.emit_with_ack("sit down", ()).await.unwrap();
        // As a node would find it that takes the client over when this one is dead.
        let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
        let kept = bucket.get(&keys[0]).await.unwrap().unwrap();
        assert!(kept.windows(3).any(|bytes| bytes == b"red") && kept.windows(3).any(|bytes| bytes == b"Ann"));
        client.disconnect();
        eventually("it is forgotten", || a.io.recovery_usage().sessions == 0 && a.io.socket_count() == 0).await;
        a.io.flushed().await.unwrap();
    }
    drop(b);
}

#[tokio::test]
async fn nodes_that_do_not_agree_on_the_history_are_told() {
    let nats = Nats::keeping();
    let [a] = cluster(&nats).await;
    let b = start(NatsOptions::new(nats.url())).await;
    eventually("both are told", || [&a, &b].iter().all(|member| member.adapter.stats().disagreeing == 1)).await;
    let emitter = Emitter::connect(NatsOptions::new(nats.url())).await.unwrap();
    emitter.emit("n", &1).unwrap();
    eventually("it is counted", || a.adapter.stats().not_for_history == 1).await;
}
