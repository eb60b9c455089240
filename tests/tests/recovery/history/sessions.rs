//! Sessions in the store that nodes share.

use super::*;

#[tokio::test]
async fn oversized_session_is_not_restored_from_an_old_state() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    client.emit_with_ack("name", "Ann").await.unwrap();
    a.io.emit("n", 1).unwrap();
    numbers(&client, 1).await;
    eventually("the session is saved", || a.adapter.stats().sessions_saved > 0).await;
    client.emit_with_ack("name", "x".repeat(900_000)).await.unwrap();
    client.emit_with_ack("join", "x".repeat(900_000)).await.unwrap();
    let lost = lose(&a, client).await;
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered());
}

/// Another node took the session while this one was frozen, and the client has left for good there.
#[tokio::test]
async fn session_is_not_recovered_when_it_ended_elsewhere() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = served(&a).await;
    let lost = client.as_lost();
    eventually("the session is saved", || a.adapter.stats().sessions_saved > 0).await;
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
async fn recovery_is_refused_after_a_refusal_by_middleware() {
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

/// A room that was joined a moment ago, too.
#[tokio::test]
async fn flushed_socket_state_is_persisted() {
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
        eventually("the session is forgotten", || a.io.recovery_usage().sessions == 0 && a.io.socket_count() == 0).await;
        a.io.flushed().await.unwrap();
    }
    drop(b);
}
