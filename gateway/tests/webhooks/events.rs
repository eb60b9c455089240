//! Webhooks of events, and what their answers do.

use bytes::Bytes;
use serde_json::json;
use sociable::{Ack, Server, Value};

use crate::backend::{Backend, json as answer, nothing, status};
use crate::node::{Node, hooks_of};

#[tokio::test]
async fn answer_is_the_acknowledgement() {
    let backend = Backend::start(async |request| {
        let args = request.json()["args"].clone();
        answer(&json!({ "ack": ["got", args[0], args[1]] }))
    });
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    let client = node.connect().await;
    let ack = client.emit_with_ack("say", ("hello", Value::Binary(Bytes::from_static(&[1, 2, 3])))).await.unwrap();
    assert_eq!(
        (ack.raw_json(), ack.attachments()),
        (Some(r#""got","hello",{"_placeholder":true,"num":0}"#), &[Bytes::from_static(&[1, 2, 3])][..])
    );
    let body = backend.seen()[0].json();
    assert_eq!(
        body,
        json!({ "namespace": "/", "socket": client.id(), "event": "say", "args": ["hello", { "$binary": "AQID" }], "ack": true, "data": null })
    );
}

#[tokio::test]
async fn acknowledgement_is_empty_when_the_answer_has_none() {
    let backend = Backend::quiet();
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    assert!(node.connect().await.emit_with_ack("say", ()).await.unwrap().is_empty());
}

#[tokio::test]
async fn acknowledgement_has_the_error_of_the_answer() {
    let backend = Backend::start(async |_| answer(&json!({ "error": { "message": "no", "data": [1] } })));
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    let ack = node.connect().await.emit_with_ack("say", ()).await.unwrap();
    assert_eq!(ack.raw_json(), Some(r#"{"error":{"data":[1],"message":"no"}}"#));
}

#[tokio::test]
async fn answer_changes_rooms_and_data_before_events_are_sent() {
    let backend = Backend::start(async |request| match &*request.event() {
        "enter" => answer(
            &json!({ "join": ["red", "blue"], "data": { "n": 1 }, "emit": [{ "rooms": ["red"], "event": "entered" }], "ack": ["in"] }),
        ),
        "exit" => {
            answer(&json!({ "leave": ["red"], "emit": [{ "rooms": ["red"], "event": "exited" }, { "event": "all", "except": ["green"] }] }))
        }
        _ => nothing(),
    });
    let node = Node::start(&json!({ "events": { "*": backend.url() } }));
    let client = node.connect().await;
    assert_eq!(client.emit_with_ack("enter", ()).await.unwrap().decode::<String>(0).unwrap(), "in");
    assert_eq!(client.pending(), ["entered"]);
    client.emit_with_ack("exit", ()).await.unwrap();
    assert_eq!(client.pending(), ["entered", "all"]);
    let sockets = node.io.fetch_sockets().await.unwrap();
    assert!(sockets[0].rooms().iter().any(|room| &**room == "blue") && !sockets[0].rooms().iter().any(|room| &**room == "red"));
    client.emit_with_ack("look", ()).await.unwrap();
    let data: Vec<_> = backend.seen().iter().map(|request| request.json()["data"].clone()).collect();
    assert_eq!(data, [json!(null), json!({ "n": 1 }), json!({ "n": 1 })]);
}

#[tokio::test]
async fn answer_disconnects_after_the_acknowledgement() {
    let backend = Backend::start(async |_| answer(&json!({ "disconnect": true, "ack": ["bye"] })));
    let node = Node::start(&json!({ "events": { "quit": backend.url() } }));
    let client = node.connect().await;
    assert_eq!(client.emit_with_ack("quit", ()).await.unwrap().decode::<String>(0).unwrap(), "bye");
    assert_eq!(client.disconnected().await.unwrap(), "io server disconnect");
}

#[tokio::test]
async fn answer_to_a_told_event_is_applied() {
    let backend = Backend::start(async |_| answer(&json!({ "emit": [{ "event": "said", "args": ["hello"] }], "ack": ["nobody asked"] })));
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    let client = node.connect().await;
    client.emit("say", ()).unwrap();
    assert_eq!(client.expect("said").await.unwrap().data::<String>().unwrap(), "hello");
    assert_eq!(backend.seen()[0].json()["ack"], json!(false));
}

#[tokio::test]
async fn event_is_acknowledged_at_once_when_nobody_waits() {
    let held = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let hold = held.clone();
    let backend = Backend::start(move |_| {
        let hold = hold.clone();
        async move {
            drop(hold.acquire().await);
            nothing()
        }
    });
    let node = Node::start(&json!({ "events": { "say": { "url": backend.url(), "wait": false } } }));
    let client = node.connect().await;
    assert!(client.emit_with_ack("say", ()).await.unwrap().is_empty(), "before the answer of the backend");
    held.add_permits(1);
    node.wait_metric("sociable_webhooks_total", &["outcome=\"delivered\""], 1).await;
    assert_eq!(backend.seen()[0].json()["ack"], json!(true));
}

#[tokio::test]
async fn answer_that_is_nonsense_does_not_matter_when_nobody_waits() {
    let backend = Backend::start(async |_| crate::backend::Answer { body: "ok".into(), ..status(200) });
    let waits = json!({ "url": backend.url(), "wait": true });
    let node = Node::start(&json!({ "events": { "told": backend.url(), "awaited": waits } }));
    let client = node.connect().await;
    client.emit("told", ()).unwrap();
    node.wait_metric("sociable_webhooks_total", &["outcome=\"delivered\""], 1).await;
    client.emit("awaited", ()).unwrap();
    node.wait_metric("sociable_webhooks_total", &["outcome=\"failed\""], 1).await;
    assert_eq!(node.metric("sociable_webhook_requests_total", &["result=\"nonsense\""]).await, 1);
}

#[tokio::test]
async fn handlers_of_the_program_come_before_the_star() {
    let backend = Backend::quiet();
    let io = Server::builder().build().unwrap();
    io.on("own", async |ack: Ack| drop(ack.send("program")));
    let node = Node::start(&json!({}));
    node.webhooks.hook(&io, &hooks_of(&json!({ "events": { "*": backend.url() } }))).unwrap();
    let server = sociable::testing::TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    assert_eq!(client.emit_with_ack("own", ()).await.unwrap().decode::<String>(0).unwrap(), "program");
    client.emit_with_ack("other", ()).await.unwrap();
    assert_eq!(backend.seen().iter().map(|request| request.event()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(io.stats().events_unheard, 0);
}

#[tokio::test]
async fn event_goes_to_another_namespace_when_the_answer_names_it() {
    let backend = Backend::start(async |_| {
        answer(
            &json!({ "emit": [{ "namespace": "/news", "event": "said" }, { "namespace": "/none", "event": "lost" }, { "event": "connect" }] }),
        )
    });
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    node.io.of("/news");
    let reader = node.server.client().namespace("/news").connect().await.unwrap();
    node.connect().await.emit_with_ack("say", ()).await.unwrap();
    reader.expect("said").await.unwrap();
    assert_eq!(node.metric("sociable_webhook_answer_faults_total", &[]).await, 2, "no such namespace; a reserved name");
    assert_eq!(node.io.namespaces().len(), 2, "no namespace was created");
}
