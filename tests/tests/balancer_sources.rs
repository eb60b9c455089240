//! A balancer hears of nodes on real NATS servers.
//!
//! A program of its own: it reads all that its process logs, by a subscriber that a process has once.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use futures_util::StreamExt;
use nkeys::KeyPair;
use parking_lot::Mutex;
use serde_json::json;
use sociable::{NatsAdapter, NatsOptions, Server};
use sociable_balancer_core::{Discovery, DiscoveryConfig, NatsAuth, NatsSource, Probing, Rules, State};
use sociable_tests::{Door, Folder, Nats, eventually, eventually_async, within};
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

/// Far longer than a test may take: what happens sooner was not brought by the clock.
const AGES: Duration = Duration::from_secs(3600);

/// Says it until somebody hears it: a balancer that has just connected may not have subscribed yet.
async fn say_until(client: &async_nats::Client, occasion: &str, tag: &str, address: &str, holds: impl Fn() -> bool) {
    eventually_async("the announcement is received", async || {
        say(client, occasion, tag, address).await;
        holds()
    })
    .await;
}

/// A node that speaks once, and then only if it is asked.
async fn member(nats: &Nats) -> (NatsAdapter, Server, Door) {
    // The node announces its tag once it has one.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = NatsOptions::new(nats.url()).node_name("a node").address(address.to_string()).heartbeat(AGES, 2 * AGES);
    let client = async_nats::connect(nats.url()).await.unwrap();
    let mut heard = client.subscribe("sociable.sociable.members").await.unwrap();
    client.flush().await.unwrap();
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let io = Server::builder().adapter(adapter.clone()).build().unwrap();
    // The first emit makes the node a member.
    io.emit("nothing", ()).unwrap();
    let begins = async { while !heard.next().await.unwrap().payload.windows(7).any(|part| part == b"\"alive\"") {} };
    within("the node announces itself", begins).await;
    let tag = sociable_adapter::Adapter::tag(&adapter).unwrap();
    let door = Door::at(listener, &format!(r#"{{"tag":"{tag}"}}"#));
    (adapter, io, door)
}

fn config(nats: NatsSource) -> DiscoveryConfig {
    let probe = Probing { interval: Duration::from_millis(20), timeout: Duration::from_secs(5), ..Probing::default() };
    DiscoveryConfig { nats: Some(nats), probe, ..DiscoveryConfig::default() }
}

fn state(discovery: &Discovery, tag: &str) -> Option<State> {
    discovery.tables().load().owner(tag.parse().unwrap()).map(|node| node.state)
}

async fn say(client: &async_nats::Client, occasion: &str, tag: &str, address: &str) {
    let announcement = json!({ "occasion": occasion, "tag": tag, "epoch": 1, "address": address, "sessions": 5 });
    client.publish("sociable.sociable.members", announcement.to_string().into()).await.unwrap();
    client.flush().await.unwrap();
}

#[tokio::test]
async fn balancer_asks_existing_nodes_for_announcements() {
    let nats = Nats::start();
    let (adapter, _io, door) = member(&nats).await;
    let tag = sociable_adapter::Adapter::tag(&adapter).unwrap();
    let discovery = Discovery::start(config(NatsSource::new(nats.url()))).unwrap();
    eventually("the node is announced and reached", || state(&discovery, tag.as_str()) == Some(State::Ready)).await;
    let table = discovery.tables().load_full();
    assert_eq!((&*table.nodes()[0].name, table.nodes()[0].address), ("a node", door.address));
    drop(door);
    within("the node leaves", sociable_adapter::Adapter::close(&adapter)).await;
    eventually("the node is removed", || discovery.tables().load().nodes().is_empty()).await;
}

#[tokio::test]
async fn balancer_is_no_member() {
    let nats = Nats::start();
    let (adapter, _io, _door) = member(&nats).await;
    let discovery = Discovery::start(config(NatsSource::new(nats.url()))).unwrap();
    eventually("the node is announced", || discovery.tables().load().nodes().len() == 1).await;
    assert_eq!(adapter.members(), Vec::<String>::new());
}

#[tokio::test]
async fn balancer_works_while_nats_is_down() {
    let mut nats = Nats::start();
    nats.kill();
    let (first, second) = (Door::open(r#"{"tag":"aaaa"}"#).await, Door::open(r#"{"tag":"bbbb"}"#).await);
    let discovery = Discovery::start(config(NatsSource::new(nats.url()))).unwrap();
    let overview = discovery.overview().await.unwrap();
    assert_eq!(overview.sources[0].trouble.as_deref(), Some("not connected"));
    nats.restart();
    let connected = async || discovery.overview().await.unwrap().sources[0].trouble.is_none();
    within("the balancer connects", async { while !connected().await {} }).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    say_until(&client, "alive", "aaaa", &first.address.to_string(), || state(&discovery, "aaaa").is_some()).await;
    say(&client, "hello", "bbbb", &second.address.to_string()).await;
    eventually("both are reached", || ["aaaa", "bbbb"].iter().all(|tag| state(&discovery, tag) == Some(State::Ready))).await;
    nats.kill();
    eventually("the link is found to be down", || discovery.counters().nats_disconnects.get() > 0).await;
    let probes = discovery.counters().probes.get();
    eventually("the nodes are probed", || discovery.counters().probes.get() > probes + 20).await;
    assert!(["aaaa", "bbbb"].iter().all(|tag| state(&discovery, tag) == Some(State::Ready)), "announced nodes are kept");
    drop(first);
    eventually("one node is unreachable", || state(&discovery, "aaaa") == Some(State::Unwell)).await;
    nats.restart();
    let client = async_nats::connect(nats.url()).await.unwrap();
    second.shut();
    say_until(&client, "bye", "bbbb", &second.address.to_string(), || state(&discovery, "bbbb").is_none()).await;
}

#[tokio::test]
async fn balancer_needs_no_right_to_publish() {
    let nats = Nats::with(
        r#"authorization { users: [
            { user: balancer, password: secret, permissions: { publish: "nothing", subscribe: "sociable.sociable.members" } }
            { user: node, password: secret }
        ] }"#,
    );
    let door = Door::open(r#"{"tag":"aaaa","sessions":7}"#).await;
    let auth = NatsAuth::User("balancer".into(), "secret".into());
    let discovery = Discovery::start(config(NatsSource { auth, ..NatsSource::new(nats.url()) })).unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password("node".into(), "secret".into());
    let client = options.connect(nats.url()).await.unwrap();
    let by_name = format!("localhost:{}", door.address.port());
    say_until(&client, "alive", "aaaa", &by_name, || state(&discovery, "aaaa") == Some(State::Ready)).await;
    for nonsense in ["", "{", r#"{"occasion":"alive","tag":"too long","epoch":1}"#] {
        client.publish("sociable.sociable.members", nonsense.into()).await.unwrap();
    }
    let long = json!({ "occasion": "alive", "tag": "bbbb", "epoch": 1, "name": "x".repeat(20 << 10) });
    client.publish("sociable.sociable.members", long.to_string().into()).await.unwrap();
    eventually("every malformed announcement is counted", || discovery.counters().announcements_malformed.get() == 4).await;
    assert_eq!(discovery.tables().load().nodes().len(), 1);
    assert_eq!(discovery.counters().nats_errors.get(), 0, "a refused question is no error");
}

#[tokio::test]
async fn silent_node_gets_no_sessions_while_others_are_heard() {
    let nats = Nats::start();
    let (first, second) = (Door::open(r#"{"tag":"aaaa"}"#).await, Door::open(r#"{"tag":"bbbb"}"#).await);
    let rules = Rules { silence: Duration::from_millis(300), ..Rules::default() };
    let discovery = Discovery::start(DiscoveryConfig { rules, ..config(NatsSource::new(nats.url())) }).unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    say_until(&client, "alive", "aaaa", &first.address.to_string(), || state(&discovery, "aaaa") == Some(State::Ready)).await;
    say_until(&client, "alive", "bbbb", &second.address.to_string(), || state(&discovery, "aaaa") == Some(State::Unwell)).await;
    assert_eq!(state(&discovery, "bbbb"), Some(State::Ready));
}

/// The warnings of this process, and what is worse.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    /// Once in a process.
    fn begin() -> Self {
        let log = Self::default();
        let writes = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_max_level(LevelFilter::WARN).with_writer(move || writes.clone()).init();
        log
    }

    fn contains_line(&self, all: &[&str]) -> bool {
        self.0.lock().lines().any(|line| all.iter().all(|part| line.contains(part)))
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that does not let everyone in.
struct Gate {
    nats: Nats,
    /// The credentials of a node.
    node: ConnectOptions,
    /// The right and the wrong credentials of a balancer.
    right: NatsSource,
    wrong: NatsSource,
    /// The expected words of the log line.
    logged: &'static [&'static str],
}

impl Gate {
    fn by(options: &str, node: ConnectOptions, right: NatsAuth, wrong: NatsAuth) -> Self {
        let nats = Nats::with(&format!("authorization {{ {options} }}"));
        let source = |auth| NatsSource { auth, ..NatsSource::new(nats.url()) };
        let (right, wrong) = (source(right), source(wrong));
        Self { nats, node, right, wrong, logged: &["ERROR", "refused by the NATS server", "authorization violation"] }
    }

    fn by_password() -> Self {
        let user = |password: &str| NatsAuth::User("balancer".into(), password.into());
        let node = ConnectOptions::with_user_and_password("balancer".into(), "pass word".into());
        Self::by("users: [ { user: balancer, password: \"pass word\" } ]", node, user("pass word"), user("other word"))
    }

    fn by_token() -> Self {
        let token = |token: &str| NatsAuth::Token(token.into());
        Self::by("token: \"a token\"", ConnectOptions::with_token("a token".into()), token("a token"), token("other token"))
    }

    fn by_nkey() -> Self {
        let [known, stranger] = [KeyPair::new_user(), KeyPair::new_user()];
        let seed = |key: &KeyPair| key.seed().unwrap();
        let options = format!("users: [ {{ nkey: {} }} ]", known.public_key());
        let node = ConnectOptions::with_nkey(seed(&known));
        Self::by(&options, node, NatsAuth::Nkey(seed(&known)), NatsAuth::Nkey(seed(&stranger)))
    }

    /// The other direction: the balancer trusts no server without a known certificate.
    fn by_tls(folder: &Folder) -> Self {
        let certificate = |name: &str| -> [PathBuf; 2] {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            [folder.file(name, &made.cert.pem()), folder.file(&format!("{name}-key"), &made.signing_key.serialize_pem())]
        };
        let ([ours, key], [other, _]) = (certificate("ours"), certificate("other"));
        let nats = Nats::with(&format!("tls {{ cert_file: {ours:?}, key_file: {key:?} }}"));
        let trusting = |root: &PathBuf| NatsSource {
            root_certificates: Some(root.clone()),
            require_tls: true,
            ..NatsSource::new(format!("nats://localhost:{}", nats.port()))
        };
        let (right, wrong) = (trusting(&ours), trusting(&other));
        let node = ConnectOptions::new().add_root_certificates(ours).require_tls(true);
        Self { nats, node, right, wrong, logged: &["WARN", "connecting to NATS failed; retrying", "error=\"nats: "] }
    }
}

#[tokio::test]
async fn balancer_keeps_its_nodes_when_nats_refuses_it() {
    let (log, folder) = (Log::begin(), Folder::new("balancer-gates"));
    for gate in [Gate::by_password(), Gate::by_token(), Gate::by_nkey(), Gate::by_tls(&folder)] {
        let (first, second) = (Door::open(r#"{"tag":"aaaa"}"#).await, Door::open(r#"{"tag":"bbbb"}"#).await);
        let discovery = Discovery::start(config(gate.right.clone())).unwrap();
        let node = gate.node.connect(gate.right.servers.as_str()).await.unwrap();
        let is_ready = |tag| state(&discovery, tag) == Some(State::Ready);
        say_until(&node, "alive", "aaaa", &first.address.to_string(), || is_ready("aaaa")).await;

        log.0.lock().clear();
        discovery.reload(config(gate.wrong)).unwrap();
        eventually("the refusal is logged", || log.contains_line(gate.logged)).await;
        let secret = log.contains_line(&["other word"]) || log.contains_line(&["other token"]);
        assert!(!secret, "{}", log.0.lock());
        assert_eq!(discovery.overview().await.unwrap().sources[0].trouble.as_deref(), Some("not connected"));
        let probes = discovery.counters().probes.get();
        eventually("the node is probed", || discovery.counters().probes.get() > probes + 2).await;
        assert!(is_ready("aaaa"), "announced nodes are kept");

        discovery.reload(config(gate.right)).unwrap();
        say_until(&node, "alive", "bbbb", &second.address.to_string(), || is_ready("bbbb")).await;
        assert!(is_ready("aaaa"));
        drop(gate.nats);
    }
}
