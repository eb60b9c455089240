//! The drain of a node: its announcements, and the fate of its clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use sociable::engine::Engine;
use sociable::protocol::{Announcement, Occasion};
use sociable::{Ack, CloseReason, DisconnectReason, Health, JetStreamOptions, NatsAdapter, NatsOptions, RawArgs, Recovery, Server, Socket};
use sociable_tests::{Client, Engines, Kind, Nats, Node, Packet, connect, eventually, get, note, within};

/// Far longer than a test may take: what ends sooner was not ended by the clock.
const AGES: Duration = Duration::from_secs(3600);

/// A node of a cluster.
struct Member {
    io: Server,
    node: Node,
    adapter: NatsAdapter,
}

/// A node that says how it is when there is something to say, and not by the clock.
async fn member_with(options: NatsOptions, max_sessions: usize, prepare: impl FnOnce(&Server)) -> Member {
    let adapter = NatsAdapter::connect(options.heartbeat(AGES, 2 * AGES)).await.unwrap();
    let io = Server::builder().adapter(adapter.clone()).recovery(Recovery::default()).max_sessions(max_sessions).build().unwrap();
    io.on_connect(async |socket: Socket| {
        if !socket.recovered() {
            socket.join("travellers");
            socket.emit("welcome", 0).ok();
        }
    });
    prepare(&io);
    let node = Node::raw(&io, 2);
    // The answer shows that the node's threads run.
    get(node.addr, "/socket.io/?EIO=4&transport=none").await;
    Member { io, node, adapter }
}

async fn member(options: NatsOptions, max_sessions: usize) -> Member {
    member_with(options, max_sessions, |_| {}).await
}

async fn acquainted(a: &Member, b: &Member) {
    eventually("the nodes know each other", || a.adapter.members().len() == 1 && b.adapter.members().len() == 1).await;
}

/// A client that reconnects to another node when its connection closes.
struct Traveller {
    polls: bool,
    client: Client,
    id: String,
    pid: Value,
    offset: Value,
    heard: Vec<(String, u64)>,
}

impl Traveller {
    async fn arrive(addr: SocketAddr, polls: bool) -> Self {
        let client = Self::connect(addr, polls).await;
        let mut this = Self { polls, client, id: String::new(), pid: Value::Null, offset: Value::Null, heard: vec![] };
        let told = this.enter(&json!({})).await;
        this.id = told["sid"].as_str().unwrap().to_owned();
        this.pid = told["pid"].clone();
        this.hear("welcome", 1).await;
        this
    }

    async fn connect(addr: SocketAddr, polls: bool) -> Client {
        if polls { Client::polling_session(addr).await } else { Client::session(addr).await }
    }

    /// Enters the main namespace. Missed events come before the answer.
    async fn enter(&mut self, auth: &Value) -> Value {
        self.client.send(connect().data(auth.clone())).await;
        loop {
            let packet = self.client.packet().await;
            if packet.kind == Kind::Connect {
                return packet.data;
            }
            self.take(&packet);
        }
    }

    /// Takes an event.
    fn take(&mut self, packet: &Packet) {
        self.heard.push((packet.name().to_owned(), packet.args()[0].as_u64().unwrap()));
        self.offset = packet.args()[1].clone();
    }

    fn count(&self, name: &str) -> usize {
        self.heard.iter().filter(|(heard, _)| heard == name).count()
    }

    /// Waits until it has heard so many events of this name.
    async fn hear(&mut self, name: &str, count: usize) {
        while self.count(name) < count {
            let packet = self.client.packet().await;
            self.take(&packet);
        }
    }

    /// Waits for the close, and reconnects at once. Returns true if the session was recovered.
    async fn travel(&mut self, to: SocketAddr) -> bool {
        while let Some(packet) = self.client.next_packet().await {
            self.take(&packet);
        }
        self.client = Self::connect(to, self.polls).await;
        let told = self.enter(&json!({ "pid": self.pid, "offset": self.offset })).await;
        told["sid"] == *self.id
    }

    /// Returns the numbers of the events of this name.
    fn numbers(&self, name: &str) -> Vec<u64> {
        let mut numbers: Vec<_> = self.heard.iter().filter(|(heard, _)| heard == name).map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        numbers
    }
}

#[tokio::test]
async fn drained_clients_recover_on_another_node_in_batches() {
    let nats = Nats::keeping();
    let options = || NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default());
    // Every leave and join of a socket is broadcast by its node.
    let (log, noted) = note();
    let (left, came) = (AtomicU64::new(0), AtomicU64::new(0));
    let leaves = noted.clone();
    let a = member_with(options(), 1000, |io| {
        let server = io.clone();
        io.on_disconnect(move |reason: DisconnectReason| {
            assert_eq!(reason, DisconnectReason::Session(CloseReason::ServerShuttingDown));
            leaves("left");
            std::future::ready(server.to("travellers").emit("left", left.fetch_add(1, Ordering::Relaxed)))
        });
    });
    let b = member_with(options(), 1000, |io| {
        let server = io.clone();
        io.on_connect(move |_: Socket| {
            noted("came");
            std::future::ready(server.to("travellers").emit("came", came.fetch_add(1, Ordering::Relaxed)))
        });
    });
    let (a, b) = (a.await, b.await);
    acquainted(&a, &b).await;
    let mut travellers = vec![];
    for at in 0..16 {
        travellers.push(Traveller::arrive(a.node.addr, at % 3 == 0).await);
    }

    let server = a.io.clone();
    let drained = tokio::spawn(async move { server.drain(AGES).await });
    let to = b.node.addr;
    let journeys = travellers.into_iter().map(|mut traveller| async move {
        assert!(traveller.travel(to).await, "the session is recovered");
        for name in ["left", "came"] {
            traveller.hear(name, 16).await;
        }
        traveller
    });
    let travellers = within("all clients have moved", futures_util::future::join_all(journeys)).await;
    for traveller in &travellers {
        for name in ["left", "came"] {
            assert_eq!(traveller.numbers(name), (0..16).collect::<Vec<_>>(), "{name}: {:?}", traveller.heard);
        }
        assert_eq!(traveller.count("welcome"), 1);
    }
    // The drain ends early, because no session is left.
    within("the end of the drain", drained).await.unwrap();
    eventually("all sessions have ended", || a.io.session_count() == 0).await;
    assert_eq!(b.io.socket_count(), 16);
    assert_eq!(a.io.stats().shutdown_closes, 16);
    let log = log.lock().unwrap();
    let first_that_came = log.iter().position(|what| *what == "came").unwrap();
    assert!(log[first_that_came..].contains(&"left"), "not all were closed at once: {log:?}");
}

#[tokio::test]
async fn client_that_connects_during_a_drain_is_closed_too() {
    let io = Server::builder().build().unwrap();
    let node = Node::start(&io);
    // So many sessions that the drain takes a while.
    let mut early = Client::connect_many(node.addr, 40).await;
    let server = io.clone();
    let drained = tokio::spawn(async move { server.drain(AGES).await });
    eventually("the health reports the drain", || io.health().draining).await;
    let mut late = Client::connect_polling(node.addr).await;
    for client in &mut early {
        assert_eq!(client.rest().await, []);
    }
    assert_eq!(late.rest().await, []);
    within("the end of the drain", drained).await.unwrap();
    // New sessions are refused only after the application closes the server.
    Client::connect(node.addr).await;
    io.close(Duration::ZERO).await;
    assert_eq!(get(node.addr, "/socket.io/?EIO=4&transport=polling").await.status, 503);
}

#[tokio::test]
async fn drain_ends_at_once_without_sessions_or_time() {
    let io = Server::builder().build().unwrap();
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    let node = Node::start(&io);
    assert_eq!(io.drain(AGES).now_or_never(), Some(()));
    assert!(io.health().draining);
    let mut client = Client::connect(node.addr).await;
    assert_eq!(io.drain(Duration::ZERO).now_or_never(), Some(()));
    assert_eq!(client.ask("echo", 1).await, json!([1]), "no session was closed");
}

#[tokio::test]
async fn engine_drains_without_socket_io() {
    let engines = Engines::new(|options| options);
    let node = Node::start(&engines.engine);
    let first = sociable_tests::Polling::open(node.addr, "/engine.io/").await;
    let engine: Engine = engines.engine.clone();
    let drained = tokio::spawn(async move { engine.drain(AGES).await });
    engines.ends(&first.sid, CloseReason::ServerShuttingDown).await;
    // The end is kept for its next poll.
    assert_eq!(first.receive().await, "6\u{1e}1");
    within("the end of the drain", drained).await.unwrap();
    assert!(engines.engine.health().draining);
}

#[tokio::test]
async fn drain_closes_sessions_after_they_are_persisted() {
    let mut nats = Nats::keeping();
    let options = || NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default());
    let (a, b) = (member(options(), 1000).await, member(options(), 1000).await);
    acquainted(&a, &b).await;
    let mut traveller = Traveller::arrive(a.node.addr, false).await;
    nats.kill();
    a.io.to("travellers").emit("kept", 0).unwrap();
    traveller.hear("kept", 1).await;
    let server = a.io.clone();
    let drained = tokio::spawn(async move { server.drain(AGES).await });
    // Without waiting for the history it would be closed after the second of the notice.
    let closed = tokio::time::timeout(Duration::from_secs(2), traveller.client.rest()).await;
    assert!(closed.is_err(), "the session is not closed yet");
    nats.restart();
    assert!(within("the client moves", traveller.travel(b.node.addr)).await, "the session is recovered");
    within("the end of the drain", drained).await.unwrap();
    assert_eq!(traveller.numbers("kept"), [0]);
}

#[tokio::test]
async fn drain_ends_when_jetstream_is_unreachable() {
    let mut nats = Nats::keeping();
    let options = NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default());
    let a = member(options, 1000).await;
    let mut travellers = vec![];
    for at in 0..4 {
        travellers.push(Traveller::arrive(a.node.addr, at % 2 == 0).await);
    }
    nats.kill();
    // Something that can't be kept now.
    a.io.emit("welcome", 1).unwrap();
    let ends = async {
        for traveller in &mut travellers {
            traveller.client.rest().await;
        }
    };
    within("all are closed", futures_util::future::join(a.io.drain(Duration::from_secs(1)), ends)).await;
    eventually("all sessions have ended", || a.io.session_count() == 0).await;
}

/// Returns a reader of the nodes' announcements to balancers.
async fn announcements(nats: &Nats) -> impl FnMut() -> futures_util::future::BoxFuture<'static, Announcement> + use<> {
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let heard = stranger.subscribe("sociable.sociable.members").await.unwrap();
    stranger.flush().await.unwrap();
    // The answer to the request shows that the subscription exists.
    stranger.request("nobody", "".into()).await.unwrap_err();
    let heard = Arc::new(tokio::sync::Mutex::new((stranger, heard)));
    move || {
        let heard = Arc::clone(&heard);
        async move {
            let message = within("an announcement", heard.lock().await.1.next()).await.unwrap();
            serde_json::from_slice(&message.payload).unwrap()
        }
        .boxed()
    }
}

#[tokio::test]
async fn drain_is_announced_before_sessions_are_closed() {
    let nats = Nats::start();
    let a = member(NatsOptions::new(nats.url()).address("127.0.0.1:4321"), 10).await;
    let mut next = announcements(&nats).await;
    // Another wants in, which all answer: so it is a member.
    let b = member(NatsOptions::new(nats.url()), 10).await;
    acquainted(&a, &b).await;
    let _client = Client::connect(a.node.addr).await;
    let tag = a.io.health().tag;
    let draining = a.io.drain(AGES);
    let told = async {
        loop {
            let told = next().await;
            if told.tag == tag && told.draining {
                return told;
            }
        }
    };
    futures_util::pin_mut!(draining);
    let told = tokio::select! {
        told = told => told,
        () = &mut draining => panic!("it is said before anybody is closed"),
    };
    assert_eq!((told.occasion, told.sessions, told.full), (Occasion::Alive, 1, false));
    assert_eq!(told.address.as_deref(), Some("127.0.0.1:4321"));
    assert!(!told.takes_sessions());
}

#[tokio::test]
async fn full_node_is_announced() {
    let nats = Nats::start();
    let a = member(NatsOptions::new(nats.url()), 1).await;
    let tag = a.io.health().tag;
    let _client = Client::connect(a.node.addr).await;
    assert!(!a.io.health().takes_sessions());
    let mut next = announcements(&nats).await;
    // The node answers the announcement of a new one.
    let _b = member(NatsOptions::new(nats.url()), 1).await;
    let told = loop {
        let told = next().await;
        if told.tag == tag {
            break told;
        }
    };
    assert_eq!((told.sessions, told.full, told.draining), (1, true, false));
    assert!(!told.takes_sessions());
}

#[tokio::test]
async fn node_reports_its_state() {
    let mut nats = Nats::start();
    let adapter = NatsAdapter::connect(NatsOptions::new(nats.url())).await.unwrap();
    let io = Server::builder()
        .adapter(adapter)
        .max_sessions(2)
        .ping_interval(Duration::from_millis(7000))
        .ping_timeout(Duration::from_millis(5000))
        .max_http_buffer_size(12_345)
        .build()
        .unwrap();
    let node = Node::with_health(&io, 1);
    let ask = async || {
        let answer = get(node.addr, "/healthz").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        serde_json::from_slice::<Health>(&answer.body).unwrap()
    };
    let client = Client::connect(node.addr).await;
    let health = ask().await;
    let expected = Health {
        tag: client.sid.parse::<sociable::Id>().unwrap().tag(),
        name: String::new(),
        sessions: 1,
        max_sessions: Some(2),
        draining: false,
        cut_off: false,
        store_refuses: false,
        ping_interval: Some(7000),
        ping_timeout: Some(5000),
        max_payload: Some(12_345),
    };
    assert_eq!(health, expected);
    assert!(health.takes_sessions());
    let _second = Client::connect(node.addr).await;
    assert!(!ask().await.takes_sessions(), "the node is full");
    nats.kill();
    eventually("the node is cut off", || io.health().cut_off).await;
    assert!(ask().await.cut_off);
    nats.restart();
    eventually("the node is connected again", || !io.health().cut_off).await;
    io.drain(Duration::ZERO).await;
    assert_eq!(ask().await, Health { sessions: 2, draining: true, ..expected });
}
