//! Several nodes over real NATS servers: what one does reaches the sockets of all, once and in order.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::json;
use sociable::adapter::conformance::{Peer, check_all};
use sociable::adapter::{Adapter, AdapterError, Answer, Ask, Emitter, Message, Request, Target};
use sociable::protocol::Id;
use sociable::testing::TestServer;
use sociable::{Ack, AckError, Data, EmitError, NatsAdapter, NatsAuth, NatsOptions, RawArgs, Recovery, Server, ServerBuilder, Socket};
use sociable_tests::{Client, Nats, Node, eventually, get, patience, within};

const LAST: &str = r#"2["last"]"#;
/// Far longer than a test may take: what ends sooner was not ended by the clock.
const AGES: Duration = Duration::from_secs(3600);

/// A node of a cluster.
struct Member {
    io: Server,
    node: Node,
    adapter: NatsAdapter,
}

fn options(nats: &Nats, name: &str) -> NatsOptions {
    NatsOptions::new(nats.url()).node_name(name)
}

async fn start_with(options: NatsOptions, change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Member {
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let builder = Server::builder().adapter(adapter.clone()).request_timeout(patience()).ack_timeout(patience()).max_private_rooms(10);
    let io = change(builder).build().unwrap();
    io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
        socket.join(rooms);
        ack.send(())
    });
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    let node = Node::raw(&io, 2);
    // It answers: its threads are there for what others ask.
    get(node.addr, "/socket.io/?EIO=4&transport=none").await;
    Member { io, node, adapter }
}

/// Waits until each knows of all others.
async fn acquainted(members: &[&Member]) {
    for member in members {
        eventually("the nodes know each other", || member.adapter.members().len() == members.len() - 1).await;
    }
}

async fn start<const N: usize>(nats: [&Nats; N]) -> [Member; N] {
    let mut members = vec![];
    for (at, nats) in nats.into_iter().enumerate() {
        members.push(start_with(options(nats, &format!("node-{at}")), |builder| builder).await);
    }
    acquainted(&members.iter().collect::<Vec<_>>()).await;
    members.try_into().ok().unwrap()
}

async fn client(member: &Member, rooms: &[&str]) -> Client {
    let mut client = Client::connect(member.node.addr).await;
    client.ask("join", &json!(rooms).to_string()).await;
    client
}

/// What a client gets before the last event of this server.
async fn heard(io: &Server, client: &mut Client) -> Vec<String> {
    io.to(client.id()).emit("last", ()).unwrap();
    client.packets_until(LAST).await
}

fn events(packets: &[String], name: &str) -> usize {
    packets.iter().filter(|packet| packet.starts_with(&format!("2[\"{name}\""))).count()
}

#[tokio::test]
async fn the_adapter_does_what_every_adapter_has_to() {
    let nats = Nats::start();
    let connect = async || Peer::start(NatsAdapter::connect(NatsOptions::new(nats.url())).await.unwrap());
    within("the checks", check_all(connect)).await;
}

#[tokio::test]
async fn a_broadcast_reaches_each_socket_of_its_rooms_once() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &["red", "blue"]).await;
    let mut far = client(&b, &["red", "blue"]).await;
    let mut other = client(&b, &["green"]).await;
    a.io.to(["red", "blue"]).emit("n", 1).unwrap();
    a.io.to("red").except("blue").emit("n", 2).unwrap();
    a.io.local().emit("n", 3).unwrap();
    a.io.emit("n", 4).unwrap();
    assert_eq!(heard(&b.io, &mut near).await, [r#"2["n",1]"#, r#"2["n",3]"#, r#"2["n",4]"#]);
    assert_eq!(heard(&a.io, &mut far).await, [r#"2["n",1]"#, r#"2["n",4]"#]);
    assert_eq!(heard(&a.io, &mut other).await, [r#"2["n",4]"#]);
}

#[tokio::test]
async fn what_one_node_publishes_keeps_its_order_also_between_all_rooms_and_one_socket() {
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
    let expected: Vec<_> = (0..total).map(|n| format!(r#"2["n",{n}]"#)).collect();
    assert_eq!(heard(&a.io, &mut client).await, expected);
    assert_eq!(b.adapter.stats().gaps, 0);
    assert!(b.adapter.stats().received < total, "what waits together travels together");
}

#[tokio::test]
async fn a_broadcast_behind_an_acknowledged_join_reaches_the_one_who_joined() {
    let servers = Nats::cluster();
    let [a, b] = start([&servers[0], &servers[1]]).await;
    let mut client = client(&b, &[]).await;
    for n in 0..200 {
        let room = format!("room-{n}");
        client.ask("join", &json!([room]).to_string()).await;
        a.io.to(room).emit("n", n).unwrap();
        assert_eq!(client.packet().await, format!(r#"2["n",{n}]"#));
    }
}

#[tokio::test]
async fn sockets_of_all_nodes_are_told_of_and_changed() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &["red"]).await;
    let mut far = client(&b, &["red"]).await;
    b.io.on("data", async |socket: Socket, ack: Ack| {
        socket.set_data(&json!({ "name": "Ada" })).unwrap();
        ack.send(())
    });
    let mut late = client(&b, &["blue"]).await;
    late.ask("data", "0").await;
    let sockets = a.io.fetch_sockets().await.unwrap();
    let ids: BTreeSet<_> = sockets.iter().map(|socket| socket.id().to_string()).collect();
    assert_eq!(ids, BTreeSet::from([near.id(), far.id(), late.id()].map(str::to_owned)));
    let told = sockets.iter().find(|socket| socket.id().as_str() == late.id()).unwrap();
    assert_eq!(told.data_as::<serde_json::Value>().unwrap(), json!({ "name": "Ada" }));
    // One socket alone, by its id: one node is asked.
    let one = a.io.to(late.id()).fetch_sockets().await.unwrap();
    assert_eq!(one.iter().map(|socket| socket.id().to_string()).collect::<Vec<_>>(), [late.id()]);

    one[0].join("red").unwrap();
    a.io.to("red").emit("n", 1).unwrap();
    a.io.to("blue").sockets_leave("red").unwrap();
    a.io.to("red").emit("n", 2).unwrap();
    assert_eq!(heard(&a.io, &mut late).await, [r#"2["n",1]"#]);
    assert_eq!(heard(&a.io, &mut far).await, [r#"2["n",1]"#, r#"2["n",2]"#]);
    a.io.to("red").disconnect_sockets(true).unwrap();
    assert!(far.rest().await.len() <= 1);
    assert!(near.rest().await.len() <= 3);
}

#[tokio::test]
async fn a_room_of_the_name_of_a_socket_elsewhere_is_heard_by_both() {
    let nats = Nats::start();
    let [a, b, c] = start([&nats, &nats, &nats]).await;
    let mut owner = client(&a, &[]).await;
    let mut shadow = client(&b, &[owner.id()]).await;
    // The subscription of the shadow's node is known to the server when it is asked for the sockets of that node.
    c.io.to(shadow.id()).fetch_sockets().await.unwrap();
    eventually("it is listened for", || {
        c.io.to(owner.id()).emit("n", 1).unwrap();
        b.adapter.stats().received > 1
    })
    .await;
    assert!(events(&heard(&c.io, &mut owner).await, "n") > 0);
    assert!(events(&heard(&c.io, &mut shadow).await, "n") > 0);
}

#[tokio::test]
async fn acknowledgements_are_gathered_from_all_nodes() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &["red"]).await;
    let mut far = client(&b, &["red"]).await;
    let asked = a.io.to("red").emit_with_ack("q", 1);
    let answer = async |client: &mut Client| {
        let packet = client.packet().await;
        let id: String = packet[1..].chars().take_while(char::is_ascii_digit).collect();
        client.send(&format!("3{id}[\"{}\"]", client.id())).await;
    };
    answer(&mut near).await;
    answer(&mut far).await;
    let replies = within("all answer", asked).await.unwrap();
    let ids: BTreeSet<_> = replies.iter().map(|reply| (reply.id.to_string(), reply.args.decode::<String>(0).unwrap())).collect();
    assert_eq!(ids, BTreeSet::from([near.id(), far.id()].map(|id| (id.to_owned(), id.to_owned()))));

    // One that leaves is told, and does not hold up the others.
    let asked = a.io.to("red").timeout(AGES).emit_with_ack("q", 2);
    answer(&mut near).await;
    far.packet().await;
    far.tear();
    let error = within("the one that left is not waited for", asked).await.unwrap_err();
    assert_eq!((error.replies.len(), error.missing.len()), (1, 1));
}

#[tokio::test]
async fn servers_answer_each_other_and_one_that_leaves_ends_the_wait() {
    let nats = Nats::start();
    let [a, b, c] = start([&nats, &nats, &nats]).await;
    for (member, name) in [(&b, "b"), (&c, "c")] {
        member.io.on_server_event("who", move |ack: Ack| std::future::ready(ack.send(name)));
    }
    let answers = a.io.server_side_emit_with_ack("who", ()).await.unwrap();
    let names: BTreeSet<_> = answers.iter().map(|args| args.decode::<String>(0).unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["b", "c"].map(str::to_owned)));
    assert_eq!(a.io.server_count().await, 3);

    // It is asked, and never answers: neither does the clock.
    let (asked, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(parking_lot::Mutex::new(vec![])));
    let count = Arc::clone(&asked);
    c.io.on_server_event("hold", move |ack: Ack| {
        held.lock().push(ack);
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(())
    });
    b.io.on_server_event("hold", |ack: Ack| std::future::ready(ack.send("b")));
    let waiting = tokio::spawn(a.io.server_side_emit_with_ack("hold", ()));
    eventually("it is asked", || asked.load(Ordering::Relaxed) == 1).await;
    c.io.close(Duration::ZERO).await;
    let answers = within("the wait ends", waiting).await.unwrap().unwrap();
    assert_eq!(answers.len(), 1);
    eventually("it is no member any more", || a.adapter.members().len() == 1).await;
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_gets_its_answers() {
    let nats = Nats::start();
    let [a, b] = start([&nats, &nats]).await;
    let held = Arc::new(parking_lot::Mutex::new(None));
    let hold = Arc::clone(&held);
    b.io.on_server_event("hold", move |ack: Ack| {
        *hold.lock() = Some(ack);
        std::future::ready(())
    });
    let waiting = tokio::spawn(a.io.server_side_emit_with_ack("hold", ()));
    eventually("it is asked", || held.lock().is_some()).await;
    // Another that bears the tag: the one before must be dead. But it is not, and says so.
    let tag = Id::try_from(client(&a, &[]).await.id()).unwrap().tag();
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let alive = json!({ "occasion": "alive", "tag": tag, "epoch": 1 });
    stranger.publish("sociable.sociable.members", alive.to_string().into()).await.unwrap();
    stranger.flush().await.unwrap();
    eventually("it is taken for dead", || b.adapter.stats().lost_nodes > 0).await;
    held.lock().take().unwrap().send("late").unwrap();
    let answers = within("it is answered", waiting).await.unwrap().unwrap();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn what_is_too_long_for_the_bus_is_an_error_and_nothing_else() {
    let nats = Nats::with("max_payload: 4096");
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &[]).await;
    let mut far = client(&b, &[]).await;
    let error = a.io.emit("n", "x".repeat(5000)).unwrap_err();
    assert!(matches!(error, EmitError::Adapter(AdapterError::TooLarge { limit, .. }) if limit < 4096), "{error}");
    a.io.emit("n", 2).unwrap();
    assert_eq!(heard(&a.io, &mut far).await, [r#"2["n",2]"#]);
    assert_eq!(heard(&a.io, &mut near).await.len(), 2, "this node's own clients got both");
    let too_large = |error: &EmitError| matches!(error, EmitError::Adapter(AdapterError::TooLarge { limit, .. }) if *limit < 4096);
    let error = within("nobody is waited for", a.io.to("nobody").emit_with_ack("q", "x".repeat(5000))).await.unwrap_err();
    assert!(matches!(&error.reason, AckError::Emit(error) if too_large(error)), "{error}");
    let error = within("nobody is waited for", a.io.server_side_emit_with_ack("q", "x".repeat(5000))).await.unwrap_err();
    assert!(error.error.as_ref().is_some_and(too_large), "{error}");
    assert_eq!(error.missing, ["node-1"]);
    let error = within("nobody is waited for", a.io.to("x".repeat(5000)).fetch_sockets()).await.unwrap_err();
    assert!(error.error.as_ref().is_some_and(too_large), "{error}");
    assert_eq!((a.adapter.stats().too_large, a.adapter.stats().disconnected), (4, 0));

    // Many sockets are told of in several messages.
    let many = Client::connect_many(b.node.addr, 60).await;
    assert_eq!(a.io.fetch_sockets().await.unwrap().len(), 62);
    drop(many);
}

#[tokio::test]
async fn nonsense_on_the_bus_is_counted_and_hurts_nobody() {
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
    eventually("all of it has come", || b.adapter.stats().malformed > sent / 2).await;
    a.io.emit("n", 1).unwrap();
    assert_eq!(heard(&a.io, &mut client).await, [r#"2["n",1]"#]);
    assert_eq!(b.adapter.stats().restarted, 0);
}

#[tokio::test]
async fn a_node_that_is_cut_off_serves_its_own_and_says_so_and_comes_back() {
    let mut nats = Nats::start();
    let quick = |name| options(&nats, name).queue_bytes(200_000).publish_deadline(Duration::from_millis(200));
    let (a, b) = (start_with(quick("a"), |builder| builder).await, start_with(quick("b"), |builder| builder).await);
    acquainted(&[&a, &b]).await;
    let mut near = client(&a, &[]).await;
    let mut far = client(&b, &[]).await;
    nats.kill();
    eventually("it is noticed", || !a.io.is_connected() && !b.io.is_connected()).await;
    a.io.emit("n", 1).unwrap();
    assert_eq!(near.packet().await, r#"2["n",1]"#);
    // The links are found to be down one after the other.
    eventually("it does not wait for the link", || {
        a.io.volatile().emit("n", 0).unwrap();
        a.adapter.stats().volatile_dropped > 0
    })
    .await;
    assert_eq!(near.packet().await, r#"2["n",0]"#, "this node's own clients get it");
    let error = (0..1000).find_map(|_| a.io.emit("x", "x".repeat(1000)).err()).unwrap();
    assert!(matches!(error, EmitError::Adapter(AdapterError::Full { limit: 200_000 })), "{error}");
    eventually("what waits too long is dropped", || a.adapter.stats().late > 0).await;
    nats.restart();
    eventually("the links are up again", || a.io.is_connected() && b.io.is_connected()).await;
    let mut n = 1;
    eventually("they hear each other again", || {
        n += 1;
        a.io.emit("n", n).is_ok() && b.adapter.stats().received > 0
    })
    .await;
    let packets = heard(&a.io, &mut far).await;
    assert!(events(&packets, "x") < 1000, "what waited too long did not come late");
    assert!(events(&packets, "n") > 0);
    eventually("that something was lost is seen", || {
        a.io.emit("more", ()).unwrap();
        b.adapter.stats().gaps > 0
    })
    .await;
}

#[tokio::test]
async fn a_flood_from_a_node_that_never_stops_is_bounded_in_its_queue() {
    let nats = Nats::start();
    let one = start_with(options(&nats, "a").queue_bytes(100_000), |builder| builder).await;
    let refused = (0..100_000).filter(|_| one.io.emit("n", "x".repeat(100)).is_err()).count();
    assert_eq!(one.adapter.stats().refused, refused as u64);
    eventually("the queue drains", || one.io.emit("n", 1).is_ok()).await;
}

/// A node that is held up at the first message, and answers nothing.
struct HeldUp {
    heard: AtomicUsize,
    go_on: parking_lot::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl HeldUp {
    fn start(adapter: &NatsAdapter) -> (Arc<Self>, std::sync::mpsc::Sender<()>) {
        let (go_on, wait) = std::sync::mpsc::channel();
        let node = Arc::new(Self { heard: AtomicUsize::new(0), go_on: parking_lot::Mutex::new(wait) });
        let started: Arc<dyn sociable::adapter::Node> = Arc::<Self>::clone(&node);
        adapter.start(started);
        (node, go_on)
    }
}

impl sociable::adapter::Node for HeldUp {
    fn deliver(&self, _: Message) {
        if self.heard.fetch_add(1, Ordering::Relaxed) == 0 {
            self.go_on.lock().recv().unwrap();
        }
    }

    fn answer(&self, _: Request) -> BoxStream<'static, Answer> {
        futures_util::stream::pending().boxed()
    }

    fn session_count(&self) -> usize {
        0
    }

    fn is_full(&self) -> bool {
        false
    }

    fn is_draining(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_burst_that_comes_while_a_node_is_busy_is_not_lost() {
    let nats = Nats::start();
    let adapter = NatsAdapter::connect(options(&nats, "a")).await.unwrap();
    let (node, go_on) = HeldUp::start(&adapter);
    let mut n = 0_u64;
    // Far shorter than an event: nothing in fewer bytes is more messages.
    let mut envelope = || {
        n += 1;
        let head = [&[1][..], b"abcd", &[0; 8], &n.to_be_bytes(), &n.to_be_bytes()].concat();
        bytes::Bytes::from([&head[..], &[0, 0, 0, 15, 4, 0, 0, 0, 1, b'/'], &[0; 9]].concat())
    };
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let begun = std::time::Instant::now();
    while node.heard.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < patience(), "it listens");
        stranger.publish("sociable.sociable.all", envelope()).await.unwrap();
        stranger.flush().await.unwrap();
    }
    let burst = 20_000;
    for _ in 0..burst {
        stranger.publish("sociable.sociable.all", envelope()).await.unwrap();
    }
    stranger.flush().await.unwrap();
    go_on.send(()).unwrap();
    eventually("all of it comes", || node.heard.load(Ordering::Relaxed) > burst).await;
    assert_eq!((adapter.stats().slow_consumer, adapter.stats().gaps), (0, 0));
}

#[tokio::test]
async fn a_node_that_has_too_much_to_answer_says_so() {
    let nats = Nats::start();
    let (a, b) = (NatsAdapter::connect(options(&nats, "a")).await.unwrap(), NatsAdapter::connect(options(&nats, "b")).await.unwrap());
    let _kept = (HeldUp::start(&a), HeldUp::start(&b));
    eventually("the nodes know each other", || a.members().len() == 1 && b.members().len() == 1).await;
    let ask = || a.request(Request { namespace: "/".into(), ask: Ask::Sockets { target: Target::default() } });
    let waiting: Vec<_> = (0..10_000).map(|_| ask()).collect();
    let answers = within("it is refused", ask().collect::<Vec<_>>()).await;
    assert_eq!(answers, [Answer::Asked(vec!["b".into()]), Answer::Lost("b".into())]);
    assert_eq!(b.stats().unanswered, 1);
    drop(waiting);
}

#[tokio::test]
async fn what_clients_were_asked_is_called_off_when_all_have_answered() {
    let nats = Nats::start();
    let [a, _b, _c] = start([&nats, &nats, &nats]).await;
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let mut heard = stranger.subscribe("sociable.sociable.all").await.unwrap();
    // A flush does not wait for the server; what is asked behind it does.
    stranger.request("nobody", "".into()).await.unwrap_err();
    assert_eq!(within("nobody is there", a.io.emit_with_ack("q", 1)).await, Ok(vec![]));
    let mut kinds = vec![];
    while kinds.last() != Some(&19) {
        let message = within("it is called off", heard.next()).await.unwrap();
        let mut records = &message.payload[29..];
        while let Some((length, rest)) = records.split_first_chunk() {
            let (record, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            kinds.push(record[0]);
            records = rest;
        }
    }
    assert_eq!(kinds, [16, 19]);
}

#[tokio::test]
async fn another_process_emits_joins_leaves_and_disconnects() {
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
    let last = r#"2["last",null]"#;
    assert_eq!(near.packets_until(last).await, [r#"2["n",1]"#, r#"2["n",{"x":"é"}]"#]);
    assert_eq!(far.packets_until(last).await, [r#"2["n",1]"#, r#"2["n",2]"#, r#"2["n",3]"#]);
    emitter.server_side_emit("note", &21).unwrap();
    emitter.disconnect_sockets(true).unwrap();
    emitter.close().await;
    assert!(near.rest().await.len() <= 1);
    eventually("both servers were told", || told.load(Ordering::Relaxed) == 42).await;
    assert_eq!(a.io.server_count().await, 2, "an emitter is no member");
}

#[tokio::test]
async fn a_client_that_comes_back_to_its_node_has_missed_nothing_of_another() {
    let nats = Nats::start();
    let recovering = |builder: ServerBuilder| builder.recovery(Recovery::default());
    let a = start_with(options(&nats, "a"), recovering).await;
    let b = start_with(options(&nats, "b"), recovering).await;
    acquainted(&[&a, &b]).await;
    let server = TestServer::start(&b.io).unwrap();
    let client = server.connect().await.unwrap();
    client.emit_with_ack("join", &["red"]).await.unwrap();
    a.io.to("red").emit("n", 0).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || b.io.recovery_usage().sessions == 1).await;
    for n in 1..20 {
        // Those of one node keep their order; those of two are told apart.
        a.io.to("red").emit("n", n).unwrap();
        a.io.to("blue").emit("n", 99).unwrap();
        a.io.to("red").volatile().emit("n", 99).unwrap();
    }
    eventually("all has come", || b.io.recovery_usage().events > 2 * 19).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    for n in 1..20 {
        assert_eq!(client.expect("n").await.unwrap().data::<u32>().unwrap(), n);
    }
    a.io.to("red").emit("n", 20).unwrap();
    assert_eq!(client.expect("n").await.unwrap().data::<u32>().unwrap(), 20);
    assert!(client.pending().is_empty());
}

#[tokio::test]
async fn a_namespace_stays_for_the_client_that_it_lost() {
    let nats = Nats::start();
    let recovering = |builder: ServerBuilder| builder.recovery(Recovery::default()).cleanup_empty_child_namespaces(true);
    let a = start_with(options(&nats, "a"), recovering).await;
    let b = start_with(options(&nats, "b"), recovering).await;
    acquainted(&[&a, &b]).await;
    b.io.of_pattern(regex::Regex::new("^/document-").unwrap());
    let server = TestServer::start(&b.io).unwrap();
    let client = server.client().namespace("/document-1").connect().await.unwrap();
    a.io.of("/document-1").emit("n", 0).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || b.io.recovery_usage().sessions == 1).await;
    a.io.of("/document-1").emit("n", 1).unwrap();
    eventually("it has come", || b.io.recovery_usage().events == 2).await;
    let client = server.client().namespace("/document-1").recover(lost).connect().await.unwrap();
    assert_eq!(client.expect("n").await.unwrap().data::<u32>().unwrap(), 1);
}

#[tokio::test]
async fn a_room_of_the_name_of_a_socket_elsewhere_is_asked_in_both_places() {
    let nats = Nats::start();
    let [a, b, c] = start([&nats, &nats, &nats]).await;
    let owner = client(&a, &[]).await;
    let shadow = client(&b, &[owner.id()]).await;
    for asking in [&c, &a] {
        let begun = std::time::Instant::now();
        loop {
            let sockets = asking.io.to(owner.id()).fetch_sockets().await.unwrap();
            let ids: BTreeSet<_> = sockets.iter().map(|socket| socket.id().to_string()).collect();
            if ids == BTreeSet::from([owner.id(), shadow.id()].map(str::to_owned)) {
                break;
            }
            assert!(begun.elapsed() < patience(), "only {ids:?}");
        }
    }
}

#[tokio::test]
async fn clusters_of_other_names_share_nothing() {
    let nats = Nats::start();
    let a = start_with(options(&nats, "a"), |builder| builder).await;
    let other = start_with(options(&nats, "b").cluster("other"), |builder| builder).await;
    let mut client = client(&other, &[]).await;
    a.io.emit("n", 1).unwrap();
    assert_eq!(heard(&other.io, &mut client).await, [""; 0]);
    assert_eq!((a.io.server_count().await, other.io.server_count().await), (1, 1));
}

#[tokio::test]
async fn what_the_server_denies_is_counted() {
    let nats = Nats::with(
        "authorization { users: [ { user: node, password: p, permissions: { publish: { deny: \"sociable.sociable.all\" } } } ] }",
    );
    let one = start_with(options(&nats, "a").auth(NatsAuth::User("node".into(), "p".into())), |builder| builder).await;
    assert_eq!(one.adapter.stats().server_errors, 0);
    one.io.emit("n", 1).unwrap();
    eventually("it is told", || one.adapter.stats().server_errors == 1).await;
}

#[tokio::test]
async fn a_server_that_takes_less_than_the_one_before_is_asked_for_no_more() {
    let mut nats = Nats::start();
    let one = start_with(options(&nats, "a"), |builder| builder).await;
    one.io.emit("n", "x".repeat(5000)).unwrap();
    nats.kill();
    nats.restart_with("max_payload: 4096");
    eventually("its limit is known", || one.io.emit("n", "x".repeat(5000)).is_err()).await;
    assert_eq!(one.adapter.stats().too_large, 1);
}

#[tokio::test]
async fn a_tag_that_is_taken_is_not_taken_again() {
    let nats = Nats::start();
    let member = start_with(options(&nats, "a"), |builder| builder).await;
    // Whoever wants its tag is told that it lives.
    let client = client(&member, &[]).await;
    let tag = Id::try_from(client.id()).unwrap().tag();
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let mut heard = stranger.subscribe("sociable.sociable.members").await.unwrap();
    stranger.flush().await.unwrap();
    let claim = json!({ "occasion": "claim", "tag": tag, "epoch": 1 });
    stranger.publish("sociable.sociable.members", claim.to_string().into()).await.unwrap();
    loop {
        let message = within("it objects", heard.next()).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        if said["tag"] == json!(tag) && said["occasion"] == "alive" {
            break;
        }
    }
}

/// Each node has a history of its own: what did not come is missing in it, and nobody may come back as if it were not.
#[tokio::test]
async fn who_was_away_while_a_link_was_down_comes_back_as_somebody_new() {
    let mut nats = Nats::start();
    let member = start_with(options(&nats, "node"), |builder| builder.recovery(Recovery::default())).await;
    let server = TestServer::start(&member.io).unwrap();
    let client = server.connect().await.unwrap();
    member.io.emit("n", 1).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.recovery_usage().sessions == 1).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered(), "all is there");
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.recovery_usage().sessions == 1).await;
    nats.kill();
    eventually("both links are down", || member.adapter.stats().disconnected >= 2).await;
    nats.restart();
    eventually("the link is up", || member.io.is_connected()).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered(), "somebody may have sent something meanwhile");
    member.io.emit("n", 2).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.recovery_usage().sessions >= 1).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered(), "from then on all is there");
}
