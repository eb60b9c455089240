//! Idempotency keys and questions to all nodes.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sociable::testing::TestServer;
use sociable::{Ack, Data, JetStreamOptions, NatsAdapter, NatsOptions, Recovery, Server, Socket};
use sociable_gateway::api::idempotency::{Begun, Guard, Idempotency, IdempotencyOptions, Reach, StoredAnswer};
use sociable_gateway::api::link::NatsLink;
use sociable_gateway::api::peers::{PeerOptions, Peers};
use sociable_nats::NatsConfig;
use sociable_tests::{Nats, eventually, eventually_async, patience};

const REQUEST: [u8; 32] = [7; 32];

struct Node {
    io: Server,
    adapter: NatsAdapter,
    server: TestServer,
}

async fn node(nats: &Nats, name: &str) -> Node {
    let options = NatsOptions::new(nats.url()).node_name(name).jetstream(JetStreamOptions::default());
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let built = Server::builder().adapter(adapter.clone()).recovery(Recovery::default()).request_timeout(patience());
    let io = built.build().unwrap();
    io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
        socket.join(rooms);
        ack.send(())
    });
    let server = TestServer::start(&io).unwrap();
    // The answer shows that the node's threads run.
    server.connect().await.unwrap().disconnect();
    Node { io, adapter, server }
}

async fn nodes<const N: usize>(nats: &Nats) -> [Node; N] {
    let mut nodes = vec![];
    for at in 0..N {
        nodes.push(node(nats, &format!("node-{at}")).await);
    }
    for node in &nodes {
        eventually("the nodes know each other", || node.adapter.members().len() == N - 1).await;
        eventually("no client is left", || node.io.socket_count() == 0).await;
    }
    nodes.try_into().ok().unwrap()
}

async fn records(nats: &Nats, node: &Node, options: IdempotencyOptions) -> Idempotency {
    let link = NatsLink::connect(&NatsConfig::new(nats.url())).await.unwrap();
    Idempotency::cluster(&link, &node.io, options)
}

async fn first(records: &Idempotency, key: &str) -> Guard {
    match records.begin("scope", key, REQUEST).await.unwrap() {
        Begun::First(guard) => guard,
        other => panic!("{key} is known: {other:?}"),
    }
}

async fn begin(records: &Idempotency, key: &str) -> Begun {
    records.begin("scope", key, REQUEST).await.unwrap()
}

fn answer(text: &'static str) -> StoredAnswer {
    StoredAnswer { status: 200, body: Bytes::from_static(text.as_bytes()) }
}

#[tokio::test]
async fn repetition_at_another_node_gets_the_stored_answer() {
    let nats = Nats::keeping();
    let [a, b] = nodes(&nats).await;
    let options = IdempotencyOptions::default();
    let (here, there) = (records(&nats, &a, options).await, records(&nats, &b, options).await);
    assert_eq!(here.reach(), Reach::Cluster);
    let mut guard = first(&here, "a").await;
    assert!(matches!(begin(&there, "a").await, Begun::InProgress));
    guard.start();
    guard.finish(answer("done")).await;
    for records in [&here, &there] {
        assert!(matches!(begin(records, "a").await, Begun::Replay(stored) if stored == answer("done")));
        assert!(matches!(records.begin("scope", "a", [8; 32]).await, Ok(Begun::OtherRequest)));
        assert!(matches!(records.begin("other scope", "a", [8; 32]).await, Ok(Begun::First(_) | Begun::InProgress)));
    }
    // The bucket bears the limits of its options.
    let server = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = server.get_stream("KV_sociable-sociable-idempotency").await.unwrap();
    let config = &stream.cached_info().config;
    assert_eq!((config.max_age, config.max_bytes, config.num_replicas), (Duration::from_secs(3600), 64 << 20, 1));
}

#[tokio::test]
async fn one_of_many_simultaneous_requests_runs() {
    let nats = Nats::keeping();
    let [a, b] = nodes(&nats).await;
    let options = IdempotencyOptions::default();
    let stores = [records(&nats, &a, options).await, records(&nats, &b, options).await];
    for key in ["a", "b", "c"] {
        let all = (0..20).map(|at| stores[at % 2].begin("scope", key, REQUEST));
        let begun: Vec<_> = futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
        let firsts = begun.iter().filter(|begun| matches!(begun, Begun::First(_))).count();
        let waiting = begun.iter().filter(|begun| matches!(begun, Begun::InProgress)).count();
        assert_eq!((firsts, waiting), (1, 19), "{begun:?}");
    }
}

#[tokio::test]
async fn released_key_is_new_again() {
    let nats = Nats::keeping();
    let [a, b] = nodes(&nats).await;
    let options = IdempotencyOptions::default();
    let (here, there) = (records(&nats, &a, options).await, records(&nats, &b, options).await);
    drop(first(&here, "a").await);
    let is_new = async || matches!(begin(&there, "a").await, Begun::First(_));
    eventually_async("the key is released", is_new).await;
    let mut guard = first(&here, "b").await;
    guard.start();
    drop(guard);
    eventually_async("the outcome is unknown", async || matches!(begin(&there, "b").await, Begun::OutcomeUnknown)).await;
    let long = IdempotencyOptions::default().max_answer_bytes(3);
    let short = records(&nats, &a, long).await;
    first(&short, "c").await.finish(answer("done")).await;
    assert!(matches!(begin(&there, "c").await, Begun::OutcomeUnknown));
    assert_eq!(short.stats().too_long, 1);
}

#[tokio::test]
async fn outcome_is_unknown_when_the_node_is_gone() {
    let nats = Nats::keeping();
    let [a, b] = nodes(&nats).await;
    let options = IdempotencyOptions::default();
    let (here, there) = (records(&nats, &a, options).await, records(&nats, &b, options).await);
    let mut guard = first(&here, "a").await;
    guard.start();
    assert!(matches!(begin(&there, "a").await, Begun::InProgress));
    a.io.close(Duration::ZERO).await;
    eventually("the node has left", || b.adapter.members().is_empty()).await;
    assert!(matches!(begin(&there, "a").await, Begun::OutcomeUnknown));
    // The node only seemed dead: its answer counts.
    guard.finish(answer("late")).await;
    assert!(matches!(begin(&there, "a").await, Begun::Replay(stored) if stored == answer("late")));
    let late = records(&nats, &b, IdempotencyOptions::default().longest_run(Duration::ZERO)).await;
    let guard = first(&there, "b").await;
    eventually_async("the request runs too long", async || matches!(begin(&late, "b").await, Begun::OutcomeUnknown)).await;
    drop(guard);
}

#[tokio::test]
async fn request_is_refused_while_the_store_is_away() {
    let mut nats = Nats::keeping();
    let [a] = nodes(&nats).await;
    let records = records(&nats, &a, IdempotencyOptions::default()).await;
    let running = first(&records, "a").await;
    nats.kill();
    let refused = async || records.begin("scope", "b", REQUEST).await.is_err();
    eventually_async("the store is away", refused).await;
    // The answer is stored when the server is there again.
    running.finish(answer("done")).await;
    nats.restart();
    let is_stored = async || matches!(records.begin("scope", "a", REQUEST).await, Ok(Begun::Replay(stored)) if stored == answer("done"));
    eventually_async("the answer is stored", is_stored).await;
    assert!(records.stats().unavailable > 0);
    // A deleted bucket is created again.
    let server = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    server.delete_stream("KV_sociable-sociable-idempotency").await.unwrap();
    let works = async || matches!(records.begin("scope", "c", REQUEST).await, Ok(Begun::First(_)));
    eventually_async("the bucket is there again", works).await;
}

#[tokio::test]
async fn peers_count_sockets_and_rooms_of_all_nodes() {
    let nats = Nats::keeping();
    let [a, b, c] = nodes(&nats).await;
    let peers = [&a, &b].map(|node| Peers::install(&node.io, PeerOptions::new(format!("peer-{}", node.io.tag()), "1.2.3")));
    let mut clients = vec![];
    for (node, rooms) in [(&a, json!(["red", "blue"])), (&a, json!(["red"])), (&b, json!(["red"])), (&b, json!([])), (&c, json!(["red"]))] {
        let client = node.server.connect().await.unwrap();
        client.emit_with_ack("join", &rooms).await.unwrap();
        clients.push(client);
    }
    for peers in &peers {
        let count = async |rooms: &[&str], except: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let count = peers.count("/", &owned(rooms), &owned(except)).await;
            // The third node has no gateway.
            assert_eq!(count.missing, ["node-2"]);
            count.sockets
        };
        assert_eq!((count(&[], &[]).await, count(&["red"], &[]).await, count(&["red", "blue"], &[]).await), (4, 3, 3));
        assert_eq!((count(&["red"], &["blue"]).await, count(&[clients[2].id()], &[]).await), (2, 1));
        assert_eq!(peers.count("/none", &[], &[]).await.sockets, 0);
        let rooms = peers.rooms("/", "", 10).await;
        assert_eq!((rooms.rooms, rooms.truncated), (vec![("blue".into(), 1), ("red".into(), 3)], false));
        let rooms = peers.rooms("/", "r", 10).await;
        assert_eq!((rooms.rooms, rooms.truncated), (vec![("red".into(), 3)], false));
        let rooms = peers.rooms("/", "", 1).await;
        assert_eq!((rooms.rooms, rooms.truncated), (vec![("blue".into(), 1)], true));
        let info = peers.info().await;
        assert_eq!(info.nodes.iter().map(|node| (node.sockets, &*node.version)).collect::<Vec<_>>(), [(2, "1.2.3"), (2, "1.2.3")]);
        assert_eq!(info.missing, ["node-2"]);
    }
    assert!(a.io.namespace("/none").is_none(), "a question creates no namespace");
}
