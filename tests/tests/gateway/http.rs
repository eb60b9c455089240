//! The API over HTTP on the nodes of a cluster.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::{App, HttpServer};
use async_nats::jetstream;
use regex::Regex;
use serde_json::{Value, json};
use sociable::testing::{TestClient, TestServer};
use sociable::{Ack, Data, JetStreamOptions, NatsAdapter, NatsOptions, NodeTag, Recovery, Server, ServerBuilder, Socket};
use sociable_gateway::api::idempotency::{Idempotency, IdempotencyOptions};
use sociable_gateway::api::link::NatsLink;
use sociable_gateway::api::peers::{PeerOptions, Peers};
use sociable_gateway::api::{Api, Keys};
use sociable_nats::NatsConfig;
use sociable_tests::{Nats, Response, eventually, eventually_async, patience, request, within};

const SECRET: &str = "secret of the key for all things";
/// A server whose store has little room.
const SMALL: &str = "jetstream { store_dir: \"STORE\", max_file_store: 2MB }";
const SHARE: i64 = 512 << 10;

struct Node {
    io: Server,
    server: TestServer,
    api: SocketAddr,
}

/// Serves the API on an address of its own, as `sociable-node` does, until the process ends.
fn serve(api: &Api) -> SocketAddr {
    let api = api.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let server = HttpServer::new(move || App::new().service(api.service())).workers(1).disable_signals().listen(listener).unwrap();
        actix_rt::System::new().block_on(server.run())
    });
    address
}

impl Node {
    async fn start(name: &str, options: NatsOptions, builder: ServerBuilder, shared: Option<&Nats>) -> Self {
        let adapter = NatsAdapter::connect(options.node_name(name).heartbeat(patience(), patience() * 3)).await.unwrap();
        let io = builder.adapter(adapter).build().unwrap();
        io.of_pattern(Regex::new("^/team-[a-z]+$").unwrap());
        io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
            socket.join(rooms);
            ack.send(())
        });
        let server = TestServer::start(&io).unwrap();
        // The answer shows that the node's threads run.
        server.connect().await.unwrap().disconnect();
        eventually("no client is left", || io.socket_count() == 0).await;
        let file = json!({"keys": {"all": {"secret": SECRET, "operations": ["*"]}}});
        let mut api = Api::builder(&io, Keys::new(serde_json::from_value(file).unwrap()).unwrap());
        api = api.peers(Peers::install(&io, PeerOptions::new(name, "1.2.3")));
        if let Some(nats) = shared {
            let link = NatsLink::connect(&NatsConfig::new(nats.url())).await.unwrap();
            api = api.idempotency(Idempotency::cluster(&link, &io, IdempotencyOptions::default()));
        }
        let api = serve(&api.build());
        Self { io, server, api }
    }

    async fn post(&self, operation: &str, body: Value) -> Answered {
        self.post_with(&[], operation, body).await
    }

    async fn post_with(&self, headers: &[(&str, &str)], operation: &str, body: Value) -> Answered {
        let bearer = format!("Bearer {SECRET}");
        let headers = [&[("Authorization", &*bearer)], headers].concat();
        Answered(request(self.api, "POST", &format!("/api/v1/{operation}"), &headers, &body.to_string()).await)
    }

    async fn get(&self, path: &str) -> Answered {
        let bearer = format!("Bearer {SECRET}");
        Answered(request(self.api, "GET", &format!("/api/v1/{path}"), &[("Authorization", &bearer)], "").await)
    }

    async fn client(&self, rooms: &[&str]) -> TestClient {
        let client = self.server.connect().await.unwrap();
        client.emit_with_ack("join", rooms).await.unwrap();
        client
    }
}

struct Answered(Response);

impl Answered {
    fn status(&self) -> u16 {
        self.0.status
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.body).unwrap()
    }

    fn problem(&self) -> (u16, String) {
        (self.0.status, self.json()["type"].as_str().unwrap().rsplit_once('#').unwrap().1.to_owned())
    }
}

/// Starts two nodes that persist events.
async fn persistent(nats: &Nats) -> [Node; 2] {
    let options = || NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default());
    let builder = || Server::builder().recovery(Recovery::default()).request_timeout(patience());
    known([Node::start("a", options(), builder(), Some(nats)).await, Node::start("b", options(), builder(), Some(nats)).await]).await
}

/// Starts two nodes without JetStream.
async fn plain(nats: &Nats, request_timeout: Duration) -> [Node; 2] {
    let builder = || Server::builder().request_timeout(request_timeout);
    let node = async |name| Node::start(name, NatsOptions::new(nats.url()), builder(), None).await;
    known([node("a").await, node("b").await]).await
}

async fn known(nodes: [Node; 2]) -> [Node; 2] {
    for node in &nodes {
        eventually("the nodes know each other", || node.io.other_nodes().len() == 1).await;
    }
    nodes
}

/// A node that announces itself and never answers.
struct SilentNode {
    client: async_nats::Client,
    tag: NodeTag,
    _probes: async_nats::Subscriber,
}

impl SilentNode {
    async fn join(nats: &Nats, nodes: &[Node]) -> Self {
        let (client, tag) = (async_nats::connect(nats.url()).await.unwrap(), NodeTag::random());
        // A subject without subscribers would show that the node is gone.
        let probes = client.subscribe(format!("sociable.sociable.probe.{tag}")).await.unwrap();
        let silent = Self { client, tag, _probes: probes };
        silent.announce(1).await;
        for node in nodes {
            eventually("the silent node is known", || node.io.other_nodes().iter().any(|other| other.tag == tag)).await;
        }
        silent
    }

    /// Announces the node. Another epoch stands for another process with its tag.
    async fn announce(&self, epoch: u64) {
        let alive = json!({"occasion": "alive", "tag": self.tag, "epoch": epoch, "name": "silent"});
        self.client.publish("sociable.sociable.members", alive.to_string().into()).await.unwrap();
        self.client.flush().await.unwrap();
    }
}

#[tokio::test]
async fn emit_reaches_a_namespace_of_another_node() {
    let nats = Nats::start();
    let [a, b] = plain(&nats, patience()).await;
    let client = b.server.client().namespace("/team-red").connect().await.unwrap();
    let answered = a.post("emit", json!({"namespace": "/team-red", "event": "news", "args": [1]})).await;
    assert_eq!((answered.status(), answered.json()), (200, json!({"durable": false, "idempotency": null})));
    assert_eq!(client.expect("news").await.unwrap().data::<u64>().unwrap(), 1);
    assert_eq!(a.get("count?namespace=/team-red").await.json()["sockets"], 1);
    assert_eq!(a.get("sockets?namespace=/team-red").await.json()["sockets"][0]["id"], client.id());
    assert!(a.io.namespace("/team-red").is_none(), "a request creates no namespace");
    assert_eq!(a.post("emit", json!({"namespace": "/other", "event": "news"})).await.problem(), (404, "not-found".into()));
    let durable = a.post("emit", json!({"event": "news", "durable": true})).await;
    assert_eq!(durable.problem(), (422, "durability-unavailable".into()));
}

#[tokio::test]
async fn durable_event_is_persisted_before_the_answer() {
    let nats = Nats::keeping();
    let [a, b] = persistent(&nats).await;
    let client = b.client(&["red"]).await;
    let lost = client.drop_connection();
    eventually("the loss is noticed", || b.io.socket_count() == 0).await;
    b.io.flushed().await.unwrap();
    let answered = a.post("emit", json!({"rooms": ["red"], "event": "order", "args": [7], "durable": true})).await;
    assert_eq!((answered.status(), answered.json()), (200, json!({"durable": true, "idempotency": null})));
    // The other node recovers the client from what is persisted.
    let client = a.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(client.expect("order").await.unwrap().data::<u64>().unwrap(), 7);
}

#[tokio::test]
async fn durable_event_is_refused_while_the_store_is_full() {
    let nats = Nats::with(SMALL);
    let options = NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default().max_bytes(SHARE).sessions_bytes(SHARE));
    let node = Node::start("a", options, Server::builder().recovery(Recovery::default()).request_timeout(patience()), None).await;
    let client = node.client(&[]).await;
    assert_eq!(node.post("emit", json!({"event": "n", "durable": true})).await.status(), 200);
    client.expect("n").await.unwrap();
    // Another tenant of the NATS server takes all the room that there is.
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let other = jetstream::stream::Config { name: "other".into(), subjects: vec!["other".into()], ..Default::default() };
    context.create_stream(other).await.unwrap();
    for length in [100_000, 1_000, 100] {
        while context.publish("other", vec![0; length].into()).await.unwrap().await.is_ok() {}
    }
    eventually_async("the store refuses", async || {
        node.io.emit("filler", 1).unwrap();
        // An event that the store refuses is not persisted.
        drop(node.io.flushed().await);
        !node.io.is_keeping()
    })
    .await;
    let refused = node.post("emit", json!({"event": "order", "durable": true})).await;
    assert_eq!((refused.problem(), refused.0.header("retry-after")), ((503, "unavailable".into()), Some("5")));
    client.sync().await.unwrap();
    assert!(!client.pending().iter().any(|event| event == "order"), "a refused event is not sent");
    assert_eq!(node.post("emit", json!({"event": "order"})).await.status(), 200);
}

#[tokio::test]
async fn repetition_at_another_node_sends_nothing() {
    let nats = Nats::keeping();
    let [a, b] = persistent(&nats).await;
    let client = b.client(&["red"]).await;
    let (key, body) = ([("Idempotency-Key", "order-7")], json!({"rooms": ["red"], "event": "paid"}));
    let first = a.post_with(&key, "emit", body.clone()).await;
    let again = b.post_with(&key, "emit", body).await;
    assert_eq!((first.status(), first.json()), (200, json!({"durable": false, "idempotency": "cluster"})));
    assert_eq!((again.status(), &again.0.body, again.0.header("idempotency-replayed")), (200, &first.0.body, Some("true")));
    let other = b.post_with(&key, "emit", json!({"rooms": ["red"], "event": "sent"})).await;
    assert_eq!(other.problem(), (422, "key-reused".into()));
    client.expect("paid").await.unwrap();
    b.post("emit", json!({"event": "end"})).await;
    client.expect("end").await.unwrap();
}

#[tokio::test]
async fn request_with_a_key_is_refused_while_the_store_is_away() {
    let mut nats = Nats::keeping();
    let [a, _b] = persistent(&nats).await;
    let body = json!({"event": "paid"});
    assert_eq!(a.post_with(&[("Idempotency-Key", "first")], "emit", body.clone()).await.status(), 200);
    nats.kill();
    let mut keys = 0;
    eventually_async("the store is away", async || {
        keys += 1;
        let answered = a.post_with(&[("Idempotency-Key", &format!("key-{keys}"))], "emit", body.clone()).await;
        answered.status() == 503 && answered.problem().1 == "unavailable" && answered.0.header("retry-after") == Some("5")
    })
    .await;
    nats.restart();
    eventually_async("the answer is still there", async || {
        let again = a.post_with(&[("Idempotency-Key", "first")], "emit", body.clone()).await;
        again.status() == 200 && again.0.header("idempotency-replayed") == Some("true")
    })
    .await;
}

#[tokio::test]
async fn questions_name_a_node_that_does_not_answer() {
    let nats = Nats::start();
    let nodes = plain(&nats, Duration::from_millis(500)).await;
    let [a, b] = &nodes;
    let (_near, _far) = (a.client(&["red"]).await, b.client(&["red"]).await);
    // On a busy machine, the other node may be late as well.
    let answers = async |path: &str, expected: Value| eventually_async(path, async || a.get(path).await.json() == expected).await;
    answers("count?room=red", json!({"sockets": 2, "missing": {"nodes": []}})).await;
    let _silent = SilentNode::join(&nats, &nodes).await;
    let missing = json!({"nodes": ["silent"]});
    answers("count?room=red", json!({"sockets": 2, "missing": missing})).await;
    answers("rooms", json!({"rooms": [{"room": "red", "sockets": 2}], "missing": missing, "truncated": false})).await;
    eventually_async("both nodes are listed", async || {
        let info = a.get("info").await.json();
        let names: Vec<_> = info["nodes"].as_array().unwrap().iter().map(|node| (&node["name"], &node["version"])).collect();
        names == [(&json!("a"), &json!("1.2.3")), (&json!("b"), &json!("1.2.3"))] && info["missing"] == missing
    })
    .await;
    eventually_async("both sockets are listed", async || {
        let list = a.get("sockets").await.json();
        list["sockets"].as_array().unwrap().len() == 2 && list["missing"] == missing
    })
    .await;
}

#[tokio::test]
async fn missing_acknowledgements_name_their_nodes() {
    let nats = Nats::start();
    let nodes = plain(&nats, patience()).await;
    let [a, b] = &nodes;
    let (near, far) = (a.client(&[]).await, b.client(&[]).await);
    let answer = async || {
        for client in [&near, &far] {
            let event = client.expect("ready?").await.unwrap();
            client.answer(&event, "yes").unwrap();
        }
    };
    let silent = SilentNode::join(&nats, &nodes).await;
    // The other node is late on a busy machine. Its sockets are known when it is not.
    eventually_async("the silent node alone is missing", async || {
        let answered = a.post("emit-with-ack", json!({"event": "unheard", "timeout_ms": 500})).await.json();
        assert_eq!((&answered["answers"], &answered["timed_out"]), (&json!([]), &json!(true)));
        let sockets = answered["missing"]["sockets"].as_array().unwrap();
        sockets.len() == 2 && answered["missing"]["nodes"] == json!(["silent"])
    })
    .await;
    // A node is known by its name alone when it is lost in between.
    let lost = async {
        answer().await;
        silent.announce(2).await;
    };
    let asked = a.post("emit-with-ack", json!({"event": "ready?", "timeout_ms": 60_000}));
    let (answered, ()) = tokio::join!(within("the wait ends", asked), lost);
    let answered = answered.json();
    assert_eq!((&answered["missing"], &answered["timed_out"]), (&json!({"sockets": [], "nodes": ["silent"]}), &json!(false)));
    assert_eq!(answered["answers"].as_array().unwrap().len(), 2, "{answered}");
}

#[tokio::test]
async fn api_answers_while_its_node_drains_and_stops() {
    let nats = Nats::start();
    let [a, b] = plain(&nats, patience()).await;
    let (near, far) = (a.client(&[]).await, b.client(&[]).await);
    a.io.drain(Duration::ZERO).await;
    let info = b.get("info").await.json();
    let draining: Vec<_> = info["nodes"].as_array().unwrap().iter().map(|node| node["draining"].as_bool().unwrap()).collect();
    assert_eq!(draining, [true, false]);
    assert_eq!(a.post("emit", json!({"event": "news"})).await.status(), 200);
    for client in [&near, &far] {
        client.expect("news").await.unwrap();
    }
    let asked = a.post("emit-with-ack", json!({"event": "ready?", "timeout_ms": 60_000}));
    let stop = async {
        near.expect("ready?").await.unwrap();
        let event = far.expect("ready?").await.unwrap();
        far.answer(&event, "yes").unwrap();
        // The answer has come when this one has, which follows it.
        let again = async {
            let event = far.expect("again").await.unwrap();
            far.answer(&event, "yes").unwrap();
        };
        tokio::join!(b.post("emit-with-ack", json!({"event": "again", "rooms": [far.id()]})), again);
        b.get("info").await;
        a.io.close(Duration::ZERO).await;
    };
    let (answered, ()) = within("the request ends with the server", async { tokio::join!(asked, stop) }).await;
    assert_eq!(answered.status(), 200);
    assert_eq!(answered.json()["missing"]["sockets"], json!([near.id()]));
    // The other node does the work.
    let rest = json!({"sockets": 1, "missing": {"nodes": []}});
    eventually_async("the other node answers alone", async || b.get("count").await.json() == rest).await;
}

#[tokio::test]
async fn request_ends_without_answers_when_its_node_stops() {
    let nats = Nats::start();
    let [a, b] = plain(&nats, patience()).await;
    let (near, far) = (a.client(&[]).await, b.client(&[]).await);
    let asked = a.post("emit-with-ack", json!({"event": "ready?", "timeout_ms": 60_000}));
    let stop = async {
        near.expect("ready?").await.unwrap();
        far.expect("ready?").await.unwrap();
        a.io.close(Duration::ZERO).await;
    };
    let (answered, ()) = within("the request ends with the server", async { tokio::join!(asked, stop) }).await;
    assert_eq!((answered.status(), answered.json()["answers"].clone()), (200, json!([])));
    assert_eq!(answered.json()["missing"]["nodes"], json!(["b"]));
}
