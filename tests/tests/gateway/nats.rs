//! The API over NATS: requests, replies, and what is refused.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use sociable::testing::TestServer;
use sociable::{Ack, Data, NatsAdapter, NatsOptions, Server, Socket};
use sociable_gateway::api::link::NatsLink;
use sociable_gateway::api::nats::{NatsApi, NatsApiOptions};
use sociable_gateway::api::{Api, Keys, Limits, Route};
use sociable_nats::NatsConfig;
use sociable_tests::{Nats, eventually, patience, sample_value, within};

pub(crate) const SECRET: &str = "secret of the key for all things";
const SHOP: &str = "secret of the key of a small shop";

pub(crate) fn keys() -> Keys {
    let file = json!({"keys": {
        "all": {"secret": SECRET, "operations": ["*"]},
        "shop": {"secret": SHOP, "operations": ["emit"], "rooms": ["order:"]},
    }});
    Keys::new(serde_json::from_value(file).unwrap()).unwrap()
}

struct Node {
    io: Server,
    server: TestServer,
    api: Api,
    served: NatsApi,
}

async fn node(nats: &Nats, limits: Limits, options: NatsApiOptions) -> Node {
    let adapter = NatsAdapter::connect(NatsOptions::new(nats.url())).await.unwrap();
    let io = Server::builder().adapter(adapter).request_timeout(patience()).build().unwrap();
    io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
        socket.join(rooms);
        ack.send(())
    });
    let server = TestServer::start(&io).unwrap();
    let link = NatsLink::connect(&NatsConfig::new(nats.url())).await.unwrap();
    let api = Api::builder(&io, keys()).limits(limits).build();
    let served = api.serve_nats(&link, options).await.unwrap();
    Node { io, server, api, served }
}

async fn plain(nats: &Nats) -> Node {
    node(nats, Limits::default(), NatsApiOptions::default()).await
}

/// A reply of the API.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Value,
    message: Message,
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], self.status);
        (self.status, self.body["type"].as_str().unwrap().rsplit_once('#').unwrap().1)
    }
}

fn answered(message: Message) -> Answered {
    let status = message.headers.as_ref().unwrap().get("Status").unwrap().as_str().parse().unwrap();
    let body = serde_json::from_slice(&message.payload).unwrap_or_default();
    Answered { status, body, message }
}

async fn send(client: &Client, operation: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answered {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let request = async_nats::Request::new().headers(map).payload(body.into()).timeout(Some(patience()));
    answered(client.send_request(format!("sociable.sociable.api.v1.{operation}"), request).await.unwrap())
}

pub(crate) async fn ask(client: &Client, operation: &str, body: Value) -> Answered {
    send(client, operation, &[("Authorization", &format!("Bearer {SECRET}"))], body.to_string()).await
}

#[tokio::test]
async fn request_over_nats_reaches_sockets_of_all_nodes() {
    let nats = Nats::start();
    let (a, b) = (plain(&nats).await, plain(&nats).await);
    let clients = [a.server.connect().await.unwrap(), b.server.connect().await.unwrap()];
    for (client, room) in clients.iter().zip(["order:1", "order:2"]) {
        client.emit_with_ack("join", &json!([room])).await.unwrap();
    }
    for node in [&a, &b] {
        eventually("the nodes know each other", || node.io.other_nodes().len() == 1).await;
    }
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let reply = ask(&backend, "emit", json!({"rooms": ["order:1", "order:2"], "event": "paid", "args": [7]})).await;
    assert_eq!((reply.status, &reply.body["durable"]), (200, &json!(false)));
    assert_eq!(reply.header("Content-Type"), Some("application/json"));
    for client in &clients {
        assert_eq!(client.expect("paid").await.unwrap().data::<u64>().unwrap(), 7);
    }
    // An operation that reads needs no body. Either node may have answered.
    let listed = send(&backend, "sockets", &[("authorization", &format!("bearer {SECRET}"))], "").await;
    assert_eq!((listed.status, listed.body["sockets"].as_array().unwrap().len()), (200, 2));
    let counted = |route| a.api.counts().get(&(route, 200)).unwrap_or(&0) + b.api.counts().get(&(route, 200)).unwrap_or(&0);
    assert_eq!((counted(Route::Emit), counted(Route::Sockets)), (1, 1));
    // MessagePack is read and written.
    let all = format!("Bearer {SECRET}");
    let headers = [("Authorization", &*all), ("Content-Type", "application/msgpack")];
    // This is `{"limit": 1}`.
    let packed = send(&backend, "sockets", &headers, Bytes::from_static(b"\x81\xa5limit\x01")).await;
    assert_eq!((packed.status, packed.header("Content-Type")), (200, Some("application/msgpack")));
}

#[tokio::test]
async fn problems_over_nats_are_those_of_http() {
    let nats = Nats::start();
    let node = node(&nats, Limits::default().max_body(1000), NatsApiOptions::default()).await;
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let event = json!({"rooms": ["order:1"], "event": "paid"}).to_string();
    let shop = format!("Bearer {SHOP}");
    let all = format!("Bearer {SECRET}");
    assert_eq!(send(&backend, "emit", &[], event.clone()).await.problem(), (401, "unauthorized"));
    assert_eq!(send(&backend, "emit", &[("Authorization", "Bearer wrong")], event.clone()).await.problem(), (401, "unauthorized"));
    assert_eq!(send(&backend, "join", &[("Authorization", &shop)], event.clone()).await.problem(), (403, "forbidden"));
    assert_eq!(send(&backend, "emit", &[("Authorization", &shop)], r#"{"event":"paid"}"#).await.problem(), (403, "forbidden"));
    assert_eq!(send(&backend, "nothing", &[("Authorization", &all)], event.clone()).await.problem(), (404, "not-found"));
    assert_eq!(send(&backend, "emit", &[("Authorization", &all)], "{").await.problem(), (400, "malformed"));
    assert_eq!(send(&backend, "emit", &[("Authorization", &all)], "").await.problem(), (400, "malformed"));
    assert_eq!(send(&backend, "emit", &[("Authorization", &all)], "x".repeat(1001)).await.problem(), (413, "too-large"));
    let typed = [("Authorization", &*all), ("Content-Type", "text/xml")];
    assert_eq!(send(&backend, "emit", &typed, event).await.problem(), (415, "unsupported-media-type"));
    assert_eq!(node.served.stats().busy, 0);
}

#[tokio::test]
async fn repeated_request_over_nats_gets_the_same_answer() {
    let nats = Nats::start();
    let node = plain(&nats).await;
    let client = node.server.connect().await.unwrap();
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let all = format!("Bearer {SECRET}");
    let emit = async |number: u64| {
        let headers = [("Authorization", &*all), ("Idempotency-Key", "order-7")];
        send(&backend, "emit", &headers, json!({"event": "paid", "args": [number]}).to_string()).await
    };
    let first = emit(7).await;
    assert_eq!((first.status, first.header("Idempotency-Replayed")), (200, None));
    for _ in 0..3 {
        let again = emit(7).await;
        assert_eq!((again.status, again.header("Idempotency-Replayed"), &again.body), (200, Some("true"), &first.body));
    }
    assert_eq!(emit(8).await.problem(), (422, "key-reused"));
    assert_eq!(ask(&backend, "emit", json!({"event": "paid", "args": [9]})).await.status, 200);
    let heard = [client.expect("paid").await.unwrap(), client.expect("paid").await.unwrap()];
    assert_eq!(heard.map(|event| event.data::<u64>().unwrap()), [7, 9]);
}

#[tokio::test]
async fn node_with_too_many_requests_refuses_more() {
    let nats = Nats::start();
    let node = node(&nats, Limits::default(), NatsApiOptions::default().max_requests(1)).await;
    // The client does not acknowledge by itself.
    let client = node.server.connect().await.unwrap();
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let waiting = tokio::spawn({
        let backend = backend.clone();
        async move { ask(&backend, "emit-with-ack", json!({"event": "question", "timeout_ms": 60_000})).await }
    });
    let question = client.expect("question").await.unwrap();
    let refused = ask(&backend, "emit", json!({"event": "paid"})).await;
    assert_eq!((refused.problem(), refused.header("Retry-After")), ((503, "unavailable"), Some("1")));
    assert_eq!(node.served.stats().busy, 1);
    client.answer(&question, "answer").unwrap();
    let reply = waiting.await.unwrap();
    assert_eq!((reply.status, &reply.body["answers"][0]["args"]), (200, &json!(["answer"])));
    eventually("the request has ended", || node.api.counts().contains_key(&(Route::EmitWithAck, 200))).await;
}

#[tokio::test]
async fn answer_beyond_the_payload_limit_is_a_problem() {
    let nats = Nats::with("max_payload: 4096");
    let node = plain(&nats).await;
    let client = node.server.connect().await.unwrap();
    let rooms: Vec<_> = (0..40).map(|at| format!("{at}-{}", "x".repeat(100))).collect();
    client.emit_with_ack("join", &json!(rooms)).await.unwrap();
    let backend = async_nats::connect(nats.url()).await.unwrap();
    assert_eq!(ask(&backend, "sockets", json!({})).await.problem(), (413, "too-large"));
    assert_eq!(node.served.stats().too_long, 1);
    assert_eq!(ask(&backend, "sockets", json!({"except": ["order:1"], "rooms": ["none"]})).await.status, 200);
}

#[tokio::test]
async fn node_replies_to_inboxes_alone() {
    let nats = Nats::keeping();
    let node = plain(&nats).await;
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(backend.clone());
    context.create_stream(async_nats::jetstream::stream::Config { name: "precious".into(), ..Default::default() }).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Authorization", format!("Bearer {SECRET}"));
    // The answer of `join` is `{}`, by which the server would delete the stream.
    let (subject, body) = ("sociable.sociable.api.v1.join", json!({"join": ["room"]}).to_string());
    for reply in ["$JS.API.STREAM.DELETE.precious", "sociable.sociable.all"] {
        backend.publish_with_reply_and_headers(subject, reply, headers.clone(), body.clone().into()).await.unwrap();
    }
    backend.publish_with_headers(subject, headers, body.into()).await.unwrap();
    eventually("the requests are dropped", || node.served.stats().no_inbox == 3).await;
    assert_eq!(sample_value(&node.io, r#"sociable_api_nats_failures_total{reason="no_inbox"}"#).await, 3.0);
    // Later requests are answered, and the stream is still there.
    assert_eq!(ask(&backend, "join", json!({"join": ["room"]})).await.status, 200);
    assert!(context.get_stream("precious").await.is_ok());
    assert_eq!(node.api.counts().get(&(Route::Join, 200)), Some(&1));
}

#[tokio::test]
async fn stopped_node_answers_its_running_requests() {
    let nats = Nats::start();
    let (leaving, staying) = (plain(&nats).await, plain(&nats).await);
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let client = leaving.server.connect().await.unwrap();
    // Either node takes some of these. The client acknowledges them later.
    let asked = (0..8).map(|_| {
        let backend = backend.clone();
        async move { ask(&backend, "emit-with-ack", json!({"event": "question", "timeout_ms": 60_000})).await }
    });
    let asked = tokio::spawn(futures_util::future::join_all(asked));
    let mut questions = vec![];
    for _ in 0..8 {
        questions.push(client.expect("question").await.unwrap());
    }
    let Node { served, api, server, .. } = leaving;
    let stopped = tokio::spawn(served.stop(patience()));
    for question in questions {
        client.answer(&question, "answer").unwrap();
    }
    let replies = within("all are answered", asked).await.unwrap();
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    within("the API ends", stopped).await.unwrap();
    let before = api.counts();
    for _ in 0..8 {
        assert_eq!(ask(&backend, "emit", json!({"event": "paid"})).await.status, 200);
    }
    assert_eq!(api.counts(), before);
    assert_eq!(staying.api.counts().get(&(Route::Emit, 200)), Some(&8));
    drop(server);
}

#[tokio::test]
async fn draining_node_leaves_requests_to_others() {
    let nats = Nats::start();
    let (leaving, staying) = (plain(&nats).await, plain(&nats).await);
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let client = leaving.server.connect().await.unwrap();
    let io = leaving.io.clone();
    let draining = tokio::spawn(async move { io.close(Duration::from_secs(60)).await });
    eventually("the node drains", || leaving.io.health().draining).await;
    let taken = |node: &Node| node.api.counts().values().sum::<u64>();
    while taken(&leaving) == 0 {
        ask(&backend, "emit", json!({"event": "paid"})).await;
    }
    // It has left with its first request.
    let before = taken(&staying);
    for _ in 0..20 {
        assert_eq!(ask(&backend, "emit", json!({"event": "paid"})).await.status, 200);
    }
    assert!(taken(&leaving) <= 2 && taken(&staying) >= before + 19, "{} {}", taken(&leaving), taken(&staying));
    draining.abort();
    drop(client);
}

#[tokio::test]
async fn raw_request_gets_one_reply() {
    let nats = Nats::start();
    let nodes = [plain(&nats).await, plain(&nats).await];
    let backend = async_nats::connect(nats.url()).await.unwrap();
    let inbox = backend.new_inbox();
    let mut replies = backend.subscribe(inbox.clone()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Authorization", format!("Bearer {SECRET}"));
    let body = json!({"event": "paid"}).to_string();
    for _ in 0..10 {
        backend
            .publish_with_reply_and_headers("sociable.sociable.api.v1.emit", inbox.clone(), headers.clone(), body.clone().into())
            .await
            .unwrap();
    }
    for _ in 0..10 {
        assert_eq!(answered(within("a reply", replies.next()).await.unwrap()).status, 200);
    }
    let all: u64 = nodes.iter().map(|node| node.api.counts().values().sum::<u64>()).sum();
    assert_eq!(all, 10);
}
