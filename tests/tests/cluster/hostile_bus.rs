//! The effects of one message on the bus that was forged, or written by another version.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use sociable::adapter::Adapter;
use sociable::testing::{LostClient, TestClient, TestServer};
use sociable::{JetStreamOptions, NatsAdapter, NatsOptions, Recovery, Server};
use sociable_balancer_core::{Discovery, DiscoveryConfig, NatsAuth, NatsSource, Probing, State};
use sociable_tests::{Door, Nats, deployed_permissions, event, eventually, message, patience, within};
use tokio::net::TcpListener;

const MEMBERS: &str = "sociable.sociable.members";
/// The subject on which a program asks for announcements.
const ASKED: &str = "sociable.sociable.who";
/// Far longer than a test may take: what happens sooner was not brought by the clock.
const AGES: Duration = Duration::from_secs(3600);

// ---- farewells and hellos

/// A node that a balancer can probe.
struct Member {
    adapter: NatsAdapter,
    _io: Server,
    tag: String,
    /// The address of its answers.
    address: String,
    _door: Door,
}

/// Returns a member that announces itself once an hour, and answers probes as a serving node.
async fn member(nats: &Nats, name: &str) -> Member {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = NatsOptions::new(nats.url()).node_name(name).address(address.clone()).heartbeat(AGES, 2 * AGES);
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let io = Server::builder().adapter(adapter.clone()).build().unwrap();
    // The first emit makes the node a member.
    io.emit("nothing", ()).unwrap();
    let tag = adapter.tag().unwrap().to_string();
    let health = json!({ "tag": tag }).to_string();
    let door = Door::at(listener, &health);
    Member { adapter, _io: io, tag, address, _door: door }
}

/// Another client of the bus.
struct Forger {
    client: Client,
    heard: Subscriber,
}

impl Forger {
    async fn come(nats: &Nats) -> Self {
        let client = async_nats::connect(nats.url()).await.unwrap();
        let heard = client.subscribe(MEMBERS).await.unwrap();
        client.flush().await.unwrap();
        Self { client, heard }
    }

    async fn say(&self, announcement: Value) {
        self.client.publish(MEMBERS, announcement.to_string().into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// The next announcement of a node on this occasion.
    async fn hears(&mut self, tag: &str, occasion: &str) -> Value {
        let hears = async {
            loop {
                let message = self.heard.next().await.unwrap();
                let announcement: Value = serde_json::from_slice(&message.payload).unwrap();
                if announcement["tag"] == tag && announcement["occasion"] == occasion {
                    return announcement;
                }
            }
        };
        within("the node speaks", hears).await
    }

    /// Returns a node's answer to the question for members.
    async fn ask(&mut self, tag: &str) -> Value {
        self.client.publish(ASKED, "".into()).await.unwrap();
        self.hears(tag, "alive").await
    }
}

fn look(source: NatsSource) -> Discovery {
    let probe = Probing { interval: Duration::from_millis(20), timeout: Duration::from_secs(5), ..Probing::default() };
    Discovery::start(DiscoveryConfig { nats: Some(source), probe, ..DiscoveryConfig::default() }).unwrap()
}

fn state(discovery: &Discovery, tag: &str) -> Option<State> {
    discovery.tables().load().owner(tag.parse().unwrap()).map(|node| node.state)
}

#[tokio::test]
async fn balancer_keeps_a_serving_node_after_a_forged_bye() {
    let nats = Nats::start();
    let (first, second) = (member(&nats, "first").await, member(&nats, "second").await);
    let discovery = look(NatsSource::new(nats.url()));
    let both = || [&first, &second].iter().all(|member| state(&discovery, &member.tag) == Some(State::Ready));
    eventually("both are found", both).await;
    let load = |member: &Member| std::sync::Arc::clone(&discovery.tables().load().owner(member.tag.parse().unwrap()).unwrap().load);
    let before = [load(&first), load(&second)];
    let mut forger = Forger::come(&nats).await;
    for (round, member) in [&first, &second, &first].into_iter().enumerate() {
        let epoch = forger.ask(&member.tag).await["epoch"].clone();
        forger.say(json!({ "occasion": "bye", "tag": member.tag, "epoch": epoch })).await;
        // The node contradicts the forged bye.
        assert_eq!(forger.hears(&member.tag, "hello").await["epoch"], epoch);
        eventually("a probe refutes it", || discovery.counters().farewells_refuted.get() > round as u64).await;
        assert!(both());
    }
    assert!(
        before.iter().zip([load(&first), load(&second)]).all(|(before, after)| std::sync::Arc::ptr_eq(before, &after)),
        "none was gone meanwhile"
    );
    assert!(first.adapter.stats().spoken_for >= 2);
    eventually("the nodes know each other", || [&first, &second].iter().all(|member| member.adapter.members().len() == 1)).await;
}

#[tokio::test]
async fn forged_hello_does_not_redirect_clients() {
    let nats = Nats::start();
    let node = member(&nats, "node").await;
    let discovery = look(NatsSource::new(nats.url()));
    eventually("the node is found", || state(&discovery, &node.tag) == Some(State::Ready)).await;
    // The door answers every request, without a tag.
    let trap = Door::open("ok").await;
    let at = trap.address.to_string();
    let mut forger = Forger::come(&nats).await;
    for tag in [&*node.tag, "evil"] {
        forger.say(json!({ "occasion": "hello", "tag": tag, "epoch": 1, "address": at })).await;
    }
    assert_ne!(forger.hears(&node.tag, "alive").await["epoch"], 1, "the node contradicts");
    eventually("the address is probed", || trap.answered() >= 2).await;
    forger.say(json!({ "occasion": "bye", "tag": node.tag, "epoch": 1 })).await;
    let probes = discovery.counters().probes.get();
    eventually("all addresses were probed again", || discovery.counters().probes.get() > probes + 10).await;
    let table = discovery.tables().load_full();
    let known: Vec<_> = table.nodes().iter().map(|node| (node.tag.as_str(), node.address.to_string(), node.state)).collect();
    assert_eq!(known, [(&*node.tag, node.address.clone(), State::Ready)]);
}

#[tokio::test]
async fn answers_to_a_flood_of_byes_are_rate_limited() {
    let nats = Nats::start();
    let node = member(&nats, "node").await;
    let mut forger = Forger::come(&nats).await;
    let epoch = forger.ask(&node.tag).await["epoch"].clone();
    let bye = json!({ "occasion": "bye", "tag": node.tag, "epoch": epoch });
    for _ in 0..1000 {
        forger.say(bye.clone()).await;
    }
    eventually("the node has received all byes", || node.adapter.stats().spoken_for == 1000).await;
    forger.hears(&node.tag, "hello").await;
    let all: Vec<_> = std::iter::from_fn(|| futures_util::FutureExt::now_or_never(forger.heard.next())).flatten().collect();
    let hellos = all.iter().filter(|message| serde_json::from_slice::<Value>(&message.payload).unwrap()["occasion"] == "hello").count();
    assert!(hellos < 100, "{hellos}");
}

#[tokio::test]
async fn balancer_credentials_permit_only_asking_for_announcements() {
    for file in ["deploy/nats/common.conf", "k8s/base/nats/nats.conf"] {
        let nats = Nats::with(&deployed_permissions(file));
        let node = ConnectOptions::with_user_and_password("node".into(), "secret".into()).connect(nats.url()).await.unwrap();
        let mut heard = node.subscribe("sociable.sociable.>").await.unwrap();
        node.flush().await.unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let thief = ConnectOptions::with_user_and_password("balancer".into(), "secret".into()).event_callback(move |event| {
            tell.send(event.to_string()).ok();
            std::future::ready(())
        });
        let thief = thief.connect(nats.url()).await.unwrap();
        for subject in [MEMBERS, "sociable.sociable.all", "sociable.sociable.live"] {
            thief.publish(subject, "{}".into()).await.unwrap();
            let refusal = async { while !told.recv().await.unwrap().to_lowercase().contains("permissions violation for publish") {} };
            within("the refusal", refusal).await;
        }
        // A balancer works by these permissions.
        let auth = NatsAuth::User("balancer".into(), "secret".into());
        let discovery = look(NatsSource { auth, ..NatsSource::new(nats.url()) });
        let alive = json!({ "occasion": "alive", "tag": "aaaa", "epoch": 1 });
        let hears = async {
            while discovery.counters().announcements.get() == 0 {
                node.publish(MEMBERS, alive.to_string().into()).await.unwrap();
                // The balancer has published nothing but its question.
                let message = loop {
                    let message = heard.next().await.unwrap();
                    if message.subject.as_str() != ASKED {
                        break message;
                    }
                };
                assert_eq!(message.payload, alive.to_string());
            }
        };
        within("the balancer hears", hears).await;
        assert_eq!(discovery.counters().nats_errors.get(), 0);
    }
}

// ---- envelopes of other versions

struct Keeper {
    io: Server,
    server: TestServer,
    adapter: NatsAdapter,
}

async fn start(options: NatsOptions) -> Keeper {
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let built = Server::builder().adapter(adapter.clone()).recovery(Recovery::default());
    let io = built.request_timeout(patience()).ack_timeout(patience()).build().unwrap();
    let server = TestServer::start(&io).unwrap();
    Keeper { io, server, adapter }
}

async fn keepers(nats: &Nats) -> [Keeper; 2] {
    let options = || NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default());
    let nodes = [start(options()).await, start(options()).await];
    for node in &nodes {
        eventually("the nodes know each other", || node.adapter.members().len() == 1).await;
    }
    nodes
}

async fn numbers(client: &TestClient, count: usize) -> Vec<u64> {
    let mut numbers = vec![];
    while numbers.len() < count {
        numbers.push(client.expect("n").await.unwrap().data().unwrap());
    }
    numbers
}

async fn lose(node: &Keeper, client: TestClient) -> LostClient {
    let lost = client.drop_connection();
    eventually("the loss is noticed", || node.io.socket_count() == 0).await;
    lost
}

/// A program that speaks to all nodes by the stream, byte by byte.
struct Emits {
    stream: async_nats::jetstream::Context,
    sequence: u64,
}

impl Emits {
    async fn new(nats: &Nats) -> Self {
        Self { stream: async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap()), sequence: 0 }
    }

    fn envelope(&self, version: u8, kind: u8, n: u64) -> Vec<u8> {
        let packet = message(event("n", n));
        let mut record = vec![kind, 0, 0, 0, 1, b'/'];
        // No rooms, none left out, no flags, one frame of text.
        record.extend([0; 9]);
        record.extend([0x81, packet.len() as u8]);
        record.extend(packet.as_bytes());
        let mut envelope = vec![version];
        envelope.extend(b"emit");
        for number in [7, self.sequence, self.sequence] {
            envelope.extend(u64::to_be_bytes(number));
        }
        envelope.extend((record.len() as u32).to_be_bytes());
        envelope.extend(record);
        envelope
    }

    async fn publish(&self, subject: &str, payload: Vec<u8>) {
        self.stream.publish(subject.to_owned(), payload.into()).await.unwrap().await.unwrap();
    }

    async fn emit(&mut self, version: u8, kind: u8, n: u64) {
        self.sequence += 1;
        self.publish("sociable.sociable.kept.all", self.envelope(version, kind, n)).await;
    }
}

#[tokio::test]
async fn unknown_envelope_at_the_tail_blocks_no_recovery() {
    let nats = Nats::keeping();
    let [a, b] = keepers(&nats).await;
    let mut other = Emits::new(&nats).await;
    for (round, unknown) in [vec![], b"x".to_vec(), other.envelope(0, 1, 1), other.envelope(2, 1, 1)].into_iter().enumerate() {
        let here = a.server.connect().await.unwrap();
        other.publish("sociable.sociable.kept.all", unknown).await;
        within("the connected client is closed for the gap", here.disconnected()).await.unwrap();
        eventually("both have counted it", || [&a, &b].iter().all(|node| node.adapter.stats().gaps > round as u64)).await;
        // A later client can recover, though the envelope is still the last.
        let client = a.server.connect().await.unwrap();
        let lost = lose(&a, client).await;
        let client = b.server.client().recover(lost).connect().await.unwrap();
        assert!(client.recovered(), "round {round}");
        client.disconnect();
        eventually("the socket has left", || b.io.socket_count() == 0).await;
    }
    other.emit(1, 1, 7).await;
    let client = a.server.connect().await.unwrap();
    other.emit(1, 1, 8).await;
    assert!(numbers(&client, 1).await.iter().all(|n| [7, 8].contains(n)));
}

#[tokio::test]
async fn events_of_another_version_count_as_a_gap() {
    let nats = Nats::keeping();
    let [a, b] = keepers(&nats).await;
    let mut other = Emits::new(&nats).await;
    // Another version of the envelope, and an unknown kind of record.
    for (version, kind) in [(2, 1), (1, 200)] {
        let client = a.server.connect().await.unwrap();
        a.io.emit("n", 0).unwrap();
        numbers(&client, 1).await;
        let lost = lose(&a, client).await;
        let gaps = b.adapter.stats().gaps;
        for n in 1..=6 {
            let is_known = n % 2 == 1;
            other.emit(if is_known { 1 } else { version }, if is_known { 1 } else { kind }, n).await;
        }
        eventually("the missing events are counted", || b.adapter.stats().gaps == gaps + 3).await;
        let client = b.server.client().recover(lost).connect().await.unwrap();
        assert!(!client.recovered(), "the client would miss three of six");
        // Later events work again.
        other.emit(1, 1, 7).await;
        assert_eq!(numbers(&client, 1).await, [7]);
        client.disconnect();
        eventually("the socket has left", || b.io.socket_count() == 0).await;
    }
}

#[tokio::test]
async fn unknown_record_version_to_one_client_counts_as_a_gap() {
    let nats = Nats::keeping();
    let [a, b] = keepers(&nats).await;
    let other = Emits::new(&nats).await;
    let client = a.server.connect().await.unwrap();
    a.io.emit("n", 0).unwrap();
    numbers(&client, 1).await;
    let lost = lose(&a, client).await;
    let own = format!("sociable.sociable.kept.of.{}", a.adapter.tag().unwrap());
    other.publish(&own, other.envelope(2, 6, 1)).await;
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered(), "the client's own event can't be read");
}

#[tokio::test]
async fn skipped_number_of_a_publisher_closes_no_client() {
    let nats = Nats::keeping();
    let [a, b] = keepers(&nats).await;
    let mut other = Emits::new(&nats).await;
    let (here, away) = (a.server.connect().await.unwrap(), b.server.connect().await.unwrap());
    other.emit(1, 1, 1).await;
    assert_eq!((numbers(&here, 1).await, numbers(&away, 1).await), (vec![1], vec![1]));
    let lost = lose(&b, away).await;
    for n in 2..=5 {
        other.sequence += n % 2;
        other.emit(1, 1, n).await;
    }
    assert_eq!(numbers(&here, 4).await, [2, 3, 4, 5]);
    here.sync().await.unwrap();
    eventually("the gaps are counted", || a.adapter.stats().gaps == 2).await;
    let away = a.server.client().recover(lost).connect().await.unwrap();
    assert!(away.recovered(), "the stream has all that there is");
    assert_eq!(numbers(&away, 4).await, [2, 3, 4, 5]);
}

#[tokio::test]
async fn unknown_envelope_is_a_gap_without_history() {
    let nats = Nats::start();
    let node = start(NatsOptions::new(nats.url())).await;
    let mut other = Emits::new(&nats).await;
    let client = node.server.connect().await.unwrap();
    node.io.emit("n", 0).unwrap();
    numbers(&client, 1).await;
    let lost = lose(&node, client).await;
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    for (version, kind) in [(2, 1), (1, 200), (1, 1)] {
        other.sequence += 1;
        publisher.publish("sociable.sociable.all", other.envelope(version, kind, other.sequence).into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    eventually("the missing envelopes are counted", || node.adapter.stats().gaps == 2).await;
    let client = node.server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered(), "the client would miss two of three");
}

#[tokio::test]
async fn nodes_announce_the_versions_they_read() {
    let nats = Nats::start();
    let mut heard = Forger::come(&nats).await;
    let node = member(&nats, "node").await;
    assert_eq!(heard.ask(&node.tag).await["versions"], json!([1, 1]));
    // A node with other versions alone is counted. The claim stands until the node leaves.
    heard.say(json!({ "occasion": "hello", "tag": "next", "epoch": 1, "versions": [2, 3] })).await;
    eventually("the disagreement is counted", || node.adapter.stats().disagreeing == 1).await;
}
