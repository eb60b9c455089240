//! Broadcasts over several nodes: each socket gets each event once and in order.

use super::*;

#[tokio::test]
async fn nats_adapter_passes_the_conformance_checks() {
    let nats = Nats::start();
    let connect = async || Peer::start(NatsAdapter::connect(NatsOptions::new(nats.url())).await.unwrap());
    within("the checks", check_all(connect)).await;
}

#[tokio::test]
async fn broadcast_reaches_each_socket_of_its_rooms_once() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &["red", "blue"]).await;
    let mut far = client(&b, &["red", "blue"]).await;
    let mut other = client(&b, &["green"]).await;
    a.io.to(["red", "blue"]).emit("n", 1).unwrap();
    a.io.to("red").except("blue").emit("n", 2).unwrap();
    a.io.local().emit("n", 3).unwrap();
    a.io.emit("n", 4).unwrap();
    assert_eq!(heard(&b.io, &mut near).await, [event("n", 1), event("n", 3), event("n", 4)]);
    assert_eq!(heard(&a.io, &mut far).await, [event("n", 1), event("n", 4)]);
    assert_eq!(heard(&a.io, &mut other).await, [event("n", 4)]);
}

#[tokio::test]
async fn events_of_one_node_keep_their_order_across_targets() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut client = client(&b, &["red"]).await;
    let (id, total) = (client.id().to_owned(), 3000);
    for n in 0..total {
        match n % 3 {
            0 => a.io.emit("n", n),
            1 => a.io.to("red").emit("n", n),
            _ => a.io.to(&id).emit("n", n),
        }
        .unwrap();
    }
    let expected: Vec<_> = (0..total).map(|n| event("n", n)).collect();
    assert_eq!(heard(&a.io, &mut client).await, expected);
    assert_eq!(b.adapter.stats().gaps, 0);
    assert!(b.adapter.stats().received < total, "waiting records share envelopes");
}

#[tokio::test]
async fn broadcast_after_an_acknowledged_join_is_received() {
    let servers = Nats::cluster();
    let [a, b] = start([&servers[0], &servers[1]]).await;
    let mut client = client(&b, &[]).await;
    for n in 0..200 {
        let room = format!("room-{n}");
        client.ask("join", json!([[room]])).await;
        a.io.to(room).emit("n", n).unwrap();
        assert_eq!(client.packet().await, event("n", n));
    }
}

#[tokio::test]
async fn room_named_like_a_remote_socket_reaches_both() {
    let nats = Nats::start();
    let [a, b, c] = start([&nats, &nats, &nats]).await;
    let mut owner = client(&a, &[]).await;
    let mut shadow = client(&b, &[owner.id()]).await;
    // The answer of the shadow's node shows that the server has its subscription.
    c.io.to(shadow.id()).fetch_sockets().await.unwrap();
    eventually("the subscription works", || {
        c.io.to(owner.id()).emit("n", 1).unwrap();
        b.adapter.stats().received > 1
    })
    .await;
    assert!(events(&heard(&c.io, &mut owner).await, "n") > 0);
    assert!(events(&heard(&c.io, &mut shadow).await, "n") > 0);
}

#[tokio::test]
async fn remote_socket_is_not_reached_by_an_id_it_has_left() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    b.io.on("away", async |socket: Socket, ack: Ack| {
        socket.leave(socket.id().as_str());
        ack.send(())
    });
    let mut client = client(&b, &["red"]).await;
    let id = client.id().to_owned();
    client.ask("away", ()).await;
    a.io.to(&id).emit("n", 1).unwrap();
    a.io.within(&id).sockets_join("blue").unwrap();
    a.io.within(&id).disconnect_sockets(true).unwrap();
    a.io.to("blue").emit("n", 2).unwrap();
    assert!(a.io.to(&id).emit_with_ack("question", ()).await.unwrap().is_empty());
    assert!(a.io.within(&id).fetch_sockets().await.unwrap().is_empty());
    let all = a.io.fetch_sockets().await.unwrap();
    let rooms: Vec<_> = all.iter().flat_map(|socket| socket.rooms()).collect();
    assert_eq!(rooms, ["red"], "fetched without the room of its id");
    // Nothing came but this, by which the operator takes it back.
    a.io.within("red").sockets_join(&*id).unwrap();
    a.io.to(&id).emit("n", 3).unwrap();
    assert_eq!(client.packet().await, event("n", 3));
}

#[tokio::test]
async fn malformed_bus_messages_are_counted_and_ignored() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut client = client(&b, &[]).await;
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let mut subjects = vec!["sociable.sociable.all".to_owned(), "sociable.sociable.members".to_owned()];
    subjects.push(format!("sociable.sociable.one.{}.node", Id::try_from(client.id()).unwrap().tag()));
    let head = [&[1][..], b"abcd", &[0; 24]].concat();
    let records: [&[u8]; 5] = [b"", b"\0\0\0\x01\xff", b"\0\0\0\x09\x20\xff\xff", b"\xff\xff\xff\xff\x01", &[0, 0, 0, 3, 1, 0, 0]];
    let mut sent = 0;
    for subject in subjects {
        for record in records {
            for payload in [record.to_vec(), [&head[..], record].concat(), [&[9][..], record].concat()] {
                stranger.publish(subject.clone(), payload.into()).await.unwrap();
                sent += 1;
            }
        }
    }
    stranger.flush().await.unwrap();
    eventually("all messages have come", || b.adapter.stats().malformed > sent / 2).await;
    a.io.emit("n", 1).unwrap();
    assert_eq!(heard(&a.io, &mut client).await, [event("n", 1)]);
    assert_eq!(b.adapter.stats().restarted, 0);
}

#[tokio::test]
async fn emitter_emits_joins_leaves_and_disconnects() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let (mut near, mut far) = (client(&a, &["red"]).await, client(&b, &["red"]).await);
    let told = Arc::new(AtomicUsize::new(0));
    for member in [&a, &b] {
        let told = Arc::clone(&told);
        member.io.on_server_event("note", move |Data(n): Data<usize>| {
            told.fetch_add(n, Ordering::Relaxed);
            std::future::ready(())
        });
    }
    let emitter = Emitter::connect(NatsOptions::new(nats.url())).await.unwrap();
    emitter.to("red").emit("n", &1).unwrap();
    emitter.to(near.id()).sockets_join(["blue"]).unwrap();
    emitter.to("red").except("blue").emit("n", &2).unwrap();
    emitter.to("blue").emit("n", &json!({ "x": "é" })).unwrap();
    emitter.to("blue").sockets_leave(["red", "blue"]).unwrap();
    emitter.to("red").emit("n", &3).unwrap();
    emitter.to(far.id()).emit("last", &json!(null)).unwrap();
    emitter.to(near.id()).emit("last", &json!(null)).unwrap();
    let last = event("last", json!([null]));
    assert_eq!(near.packets_until(&last).await, [event("n", 1), event("n", json!([{ "x": "é" }]))]);
    assert_eq!(far.packets_until(last).await, [event("n", 1), event("n", 2), event("n", 3)]);
    emitter.server_side_emit("note", &21).unwrap();
    emitter.disconnect_sockets(true).unwrap();
    emitter.close().await;
    assert!(near.rest().await.len() <= 1);
    eventually("both servers were told", || told.load(Ordering::Relaxed) == 42).await;
    assert_eq!(a.io.server_count().await, 2, "an emitter is no member");
}

#[tokio::test]
async fn clusters_share_nothing_when_their_names_differ() {
    let nats = Nats::start();
    let a = start_with(options(&nats, "a"), |builder| builder).await;
    let other = start_with(options(&nats, "b").cluster("other"), |builder| builder).await;
    let mut client = client(&other, &[]).await;
    a.io.emit("n", 1).unwrap();
    assert_eq!(heard(&other.io, &mut client).await, []);
    assert_eq!((a.io.server_count().await, other.io.server_count().await), (1, 1));
}
