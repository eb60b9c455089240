//! Faults of the store, and what is persisted all the same.

use super::*;

/// A living node that can't persist its events is not taken for dead. The node's private events are not lost.
#[tokio::test]
async fn takeover_waits_while_the_owner_persists_events() {
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

/// Confirmed events survive their node.
#[tokio::test]
async fn flushed_events_are_persisted() {
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

/// While nothing can be kept, events wait; they come when it can, once and in order.
#[tokio::test]
async fn events_of_a_nats_outage_arrive_once_in_order() {
    let mut nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let (near, far) = (a.server.connect().await.unwrap(), b.server.connect().await.unwrap());
    let mut heard = vec![];
    for n in 1..=300 {
        match n {
            100 => nats.kill(),
            200 => nats.restart(),
            _ => {}
        }
        a.io.emit("n", n).unwrap();
        // Up to here all is as ever, some of it on its way when the server goes.
        if n == 90 {
            heard = numbers(&far, n).await;
        }
    }
    let all: Vec<_> = (1..=300).collect();
    assert_eq!(numbers(&near, 300).await, all);
    heard.extend(numbers(&far, 300).await);
    assert_eq!(heard, all);
    assert_eq!(a.adapter.stats().not_kept, 0);
}

/// After the stream was deleted, disconnected clients get new sessions.
#[tokio::test]
async fn recovery_is_refused_without_history() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    let other = b.server.connect().await.unwrap();
    a.io.emit("n", 1).unwrap();
    numbers(&client, 1).await;
    let lost = lose(&a, client).await;
    let server = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(server).delete_stream("sociable-sociable").await.unwrap();
    // Connected clients get new sessions.
    other.disconnected().await.unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered());
    eventually("the node is connected again", || a.io.is_connected()).await;
    a.io.emit("n", 2).unwrap();
    assert_eq!(numbers(&client, 2).await, [2]);
}

/// Events that are not persisted in time are lost for the other nodes. Their connected clients are closed, and
/// disconnected ones are not recovered.
#[tokio::test]
async fn sessions_are_closed_when_an_event_is_not_persisted() {
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
    assert!(!away.recovered(), "the client would miss an event");
    let near = b.server.client().recover(near_lost).connect().await.unwrap();
    assert!(!near.recovered(), "the client's own event was not persisted");
}

/// A new stream starts its places again. Positions of the former stream must not hide new events.
#[tokio::test]
async fn recovery_works_after_the_stream_was_recreated() {
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
    eventually("the socket has left", || a.io.socket_count() == 0).await;
    let client = a.server.connect().await.unwrap();
    // Each node has found out when what it sends reaches the others.
    for (member, n) in [(&a, 51), (&b, 52), (&c, 53)] {
        eventually("the node uses the new stream", || member.io.emit("n", n).is_ok()).await;
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

/// A stream that was restored from a copy has events that were delivered before.
#[tokio::test]
async fn events_of_a_restored_stream_are_not_delivered_again() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    for n in 1..=20 {
        b.io.emit("n", n).unwrap();
        numbers(&client, n).await;
    }
    let server = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let mut stream = server.get_stream("sociable-sociable").await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut copy = vec![];
    for sequence in 1..=last {
        copy.push(stream.get_raw_message(sequence).await.unwrap());
    }
    server.delete_stream("sociable-sociable").await.unwrap();
    client.disconnected().await.unwrap();
    eventually("the socket has left", || a.io.socket_count() == 0).await;
    let client = a.server.connect().await.unwrap();
    sociable_tests::eventually_async("the stream is there again", async || server.get_stream("sociable-sociable").await.is_ok()).await;
    for message in copy {
        server.publish(message.subject, message.payload).await.unwrap().await.unwrap();
    }
    eventually("the node uses the new stream", || b.io.is_connected() && b.io.emit("n", 21).is_ok()).await;
    assert_eq!(numbers(&client, 21).await, [21]);
}

#[tokio::test]
async fn burst_of_an_emitter_arrives_whole() {
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

/// The store of the client's session is unreachable for a while at its return.
#[tokio::test]
async fn recovery_waits_while_the_store_is_unreachable() {
    let mut nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = served(&a).await;
    let lost = lose(&a, client).await;
    let saved = a.adapter.stats().sessions_saved;
    eventually("the session is saved as lost", || a.adapter.stats().sessions_saved >= saved.max(1)).await;
    a.io.flushed().await.unwrap();
    nats.kill();
    eventually("the link is down", || !b.io.is_connected()).await;
    let back = b.server.client().recover(lost).patience(patience());
    let back = tokio::spawn(async move { back.connect().await });
    tokio::task::yield_now().await;
    nats.restart();
    assert!(back.await.unwrap().unwrap().recovered());
}

/// The server alone assigns places, but any client of NATS can forge them.
#[tokio::test]
async fn forged_persisted_message_blocks_no_events() {
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
async fn deleted_bucket_is_recreated() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let server = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(server).delete_stream("KV_sociable-sociable-sessions").await.unwrap();
    let client = served(&a).await;
    eventually("the session is saved", || a.adapter.stats().sessions_saved > 0).await;
    let lost = client.drop_connection();
    let back = b.server.client().recover(lost).connect().await.unwrap();
    assert!(back.recovered());
}
