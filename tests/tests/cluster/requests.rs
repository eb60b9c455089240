//! Requests of one node to all others: sockets, acknowledgements, answers of servers.

use super::*;

#[tokio::test]
async fn sockets_of_all_nodes_are_fetched_and_changed() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &["red"]).await;
    let mut far = client(&b, &["red"]).await;
    b.io.on("data", async |socket: Socket, ack: Ack| {
        socket.set_data(&json!({ "name": "Ada" })).unwrap();
        ack.send(())
    });
    let mut late = client(&b, &["blue"]).await;
    late.ask("data", 0).await;
    let sockets = a.io.fetch_sockets().await.unwrap();
    let ids: BTreeSet<_> = sockets.iter().map(|socket| socket.id().to_string()).collect();
    assert_eq!(ids, BTreeSet::from([near.id(), far.id(), late.id()].map(str::to_owned)));
    let told = sockets.iter().find(|socket| socket.id().as_str() == late.id()).unwrap();
    assert_eq!(told.data_as::<serde_json::Value>().unwrap(), json!({ "name": "Ada" }));
    // A socket's id addresses one node alone.
    let one = a.io.to(late.id()).fetch_sockets().await.unwrap();
    assert_eq!(one.iter().map(|socket| socket.id().to_string()).collect::<Vec<_>>(), [late.id()]);

    one[0].join("red").unwrap();
    a.io.to("red").emit("n", 1).unwrap();
    a.io.to("blue").sockets_leave("red").unwrap();
    a.io.to("red").emit("n", 2).unwrap();
    assert_eq!(heard(&a.io, &mut late).await, [event("n", 1)]);
    assert_eq!(heard(&a.io, &mut far).await, [event("n", 1), event("n", 2)]);
    a.io.to("red").disconnect_sockets(true).unwrap();
    assert!(far.rest().await.len() <= 1);
    assert!(near.rest().await.len() <= 3);
}

#[tokio::test]
async fn acknowledgements_are_gathered_from_all_nodes() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &["red"]).await;
    let mut far = client(&b, &["red"]).await;
    let asked = a.io.to("red").emit_with_ack("q", 1);
    let answer = async |client: &mut Client| {
        let asked = client.packet().await.id.unwrap();
        client.send(ack(asked, client.id())).await;
    };
    answer(&mut near).await;
    answer(&mut far).await;
    let replies = within("all clients answer", asked).await.unwrap();
    let ids: BTreeSet<_> = replies.iter().map(|reply| (reply.id.to_string(), reply.args.decode::<String>(0).unwrap())).collect();
    assert_eq!(ids, BTreeSet::from([near.id(), far.id()].map(|id| (id.to_owned(), id.to_owned()))));

    // The error names a leaving client, which does not delay the others.
    let asked = a.io.to("red").timeout(AGES).emit_with_ack("q", 2);
    answer(&mut near).await;
    far.packet().await;
    far.tear();
    let error = within("the one that left is not waited for", asked).await.unwrap_err();
    assert_eq!((error.replies.len(), error.missing.len()), (1, 1));
}

#[tokio::test]
async fn server_acks_end_when_a_node_leaves() {
    let nats = Nats::start();
    let [a, b, c] = start([&nats, &nats, &nats]).await;
    for (member, name) in [(&b, "b"), (&c, "c")] {
        member.io.on_server_event("who", move |ack: Ack| std::future::ready(ack.send(name)));
    }
    let answers = a.io.server_side_emit_with_ack("who", ()).await.unwrap();
    let names: BTreeSet<_> = answers.iter().map(|args| args.decode::<String>(0).unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["b", "c"].map(str::to_owned)));
    assert_eq!(a.io.server_count().await, 3);
    let others: BTreeSet<_> = a.io.other_nodes().into_iter().map(|node| (node.name.to_string(), node.tag)).collect();
    assert_eq!(others, BTreeSet::from([("node-1".to_owned(), b.io.tag()), ("node-2".to_owned(), c.io.tag())]));

    // Node `c` gets the question and never answers, and no timeout ends it.
    let (asked, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(parking_lot::Mutex::new(vec![])));
    let count = Arc::clone(&asked);
    c.io.on_server_event("hold", move |ack: Ack| {
        held.lock().push(ack);
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(())
    });
    b.io.on_server_event("hold", |ack: Ack| std::future::ready(ack.send("b")));
    let waiting = tokio::spawn(a.io.server_side_emit_with_ack("hold", ()));
    eventually("the node is asked", || asked.load(Ordering::Relaxed) == 1).await;
    c.io.close(Duration::ZERO).await;
    let answers = within("the wait ends", waiting).await.unwrap().unwrap();
    assert_eq!(answers.len(), 1);
    eventually("the node has left", || a.adapter.members().len() == 1).await;
}

#[tokio::test]
async fn node_gets_its_answers_after_it_was_taken_for_dead() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let held = Arc::new(parking_lot::Mutex::new(None));
    let hold = Arc::clone(&held);
    b.io.on_server_event("hold", move |ack: Ack| {
        *hold.lock() = Some(ack);
        std::future::ready(())
    });
    let waiting = tokio::spawn(a.io.server_side_emit_with_ack("hold", ()));
    eventually("the node is asked", || held.lock().is_some()).await;
    // Another process announces the tag, so the former one must be dead. The former one objects.
    let tag = Id::try_from(client(&a, &[]).await.id()).unwrap().tag();
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let alive = json!({ "occasion": "alive", "tag": tag, "epoch": 1 });
    stranger.publish("sociable.sociable.members", alive.to_string().into()).await.unwrap();
    stranger.flush().await.unwrap();
    eventually("the node is taken for dead", || b.adapter.stats().lost_nodes > 0).await;
    held.lock().take().unwrap().send("late").unwrap();
    let answers = within("the question is answered", waiting).await.unwrap().unwrap();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn fetch_sockets_asks_both_when_a_room_is_named_like_a_socket() {
    let nats = Nats::start();
    let [a, b, c] = start([&nats, &nats, &nats]).await;
    let owner = client(&a, &[]).await;
    let shadow = client(&b, &[owner.id()]).await;
    for asking in [&c, &a] {
        eventually_async("both are found", async || {
            let sockets = asking.io.to(owner.id()).fetch_sockets().await.unwrap();
            let ids: BTreeSet<_> = sockets.iter().map(|socket| socket.id().to_string()).collect();
            ids == BTreeSet::from([owner.id(), shadow.id()].map(str::to_owned))
        })
        .await;
    }
}

#[tokio::test]
async fn ack_request_is_cancelled_when_all_nodes_have_answered() {
    let nats = Nats::start();
    let [a, _b, _c] = start([&nats, &nats, &nats]).await;
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let mut heard = stranger.subscribe("sociable.sociable.all").await.unwrap();
    // A flush does not wait for the server; what is asked behind it does.
    stranger.request("nobody", "".into()).await.unwrap_err();
    assert_eq!(within("no client is there", a.io.emit_with_ack("q", 1)).await, Ok(vec![]));
    let mut kinds = vec![];
    while kinds.last() != Some(&19) {
        let message = within("the question is cancelled", heard.next()).await.unwrap();
        let mut records = &message.payload[29..];
        while let Some((length, rest)) = records.split_first_chunk() {
            let (record, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            kinds.push(record[0]);
            records = rest;
        }
    }
    assert_eq!(kinds, [16, 19]);
}
