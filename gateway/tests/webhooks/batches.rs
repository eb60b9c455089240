//! Batches of events.

use serde_json::{Value, json};

use crate::backend::{Backend, nothing, status};
use crate::node::Node;

fn events(request: &crate::backend::Request) -> Vec<Value> {
    assert_eq!(request.header("content-type"), "application/cloudevents-batch+json");
    request.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn told_events_are_collected_and_others_are_asked() {
    let backend = Backend::quiet();
    let target = json!({ "url": backend.url(), "batch": true });
    let node = Node::start_with(
        &json!({ "connected": target, "disconnected": target, "events": { "*": target } }),
        &json!({ "batch-ms": 3_600_000, "batch-events": 4 }),
    );
    let client = node.connect().await;
    client.emit("say", 1).unwrap();
    assert!(client.emit_with_ack("ask", ()).await.unwrap().is_empty(), "an event with an acknowledgement does not wait for a batch");
    client.emit("say", 2).unwrap();
    client.disconnect();
    let seen = backend.wait_for(2).await;
    assert_eq!((seen[0].kind(), &*seen[0].event()), ("event", "ask"));
    let events = events(&seen[1]);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("io.sociable.").unwrap()).collect();
    assert_eq!(kinds, ["connected", "event", "event", "disconnected"]);
    assert_eq!((&events[1]["data"]["args"], &events[2]["data"]["args"]), (&json!([1]), &json!([2])));
    assert_eq!(events[1]["datacontenttype"], json!("application/json"));
    node.wait_metric("sociable_webhooks_total", &["outcome=\"delivered\""], 5).await;
}

#[tokio::test]
async fn batch_is_sent_when_its_time_is_over_or_it_is_long() {
    let backend = Backend::quiet();
    let hooks = json!({ "events": { "*": { "url": backend.url(), "batch": true } } });
    let node = Node::start_with(&hooks, &json!({ "batch-ms": 1 }));
    node.connect().await.emit("say", ()).unwrap();
    assert_eq!(events(&backend.wait_for(1).await[0]).len(), 1);
    let node = Node::start_with(&hooks, &json!({ "batch-ms": 3_600_000, "batch-bytes": 1000 }));
    let client = node.connect().await;
    for _ in 0..3 {
        client.emit("say", "x".repeat(400)).unwrap();
    }
    let seen = backend.wait_for(2).await;
    assert_eq!(events(&seen[1]).len(), 1, "two do not fit");
}

#[tokio::test]
async fn batch_is_repeated_as_a_whole_with_the_same_ids() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let backend = Backend::start(move |_| {
        std::future::ready(if first.swap(false, std::sync::atomic::Ordering::Relaxed) { status(503) } else { nothing() })
    });
    let node = Node::start_with(&json!({ "events": { "*": { "url": backend.url(), "batch": true } } }), &json!({ "batch-ms": 1 }));
    node.connect().await.emit("say", ()).unwrap();
    let seen = backend.wait_for(2).await;
    assert_eq!((&seen[0].body, seen[0].header("webhook-id")), (&seen[1].body, seen[1].header("webhook-id")));
}
