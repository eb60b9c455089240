//! Bounds: what is dropped when queues are full, and the end of the process.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::backend::{Backend, nothing};
use crate::node::{Node, assert_unavailable};

/// Returns a backend that holds all requests until the semaphore lets them go.
fn holding() -> (Backend, Arc<Semaphore>) {
    let held = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&held);
    let backend = Backend::start(move |_| {
        let hold = Arc::clone(&hold);
        async move {
            hold.acquire().await.unwrap().forget();
            nothing()
        }
    });
    (backend, held)
}

const MANY: usize = 1000;

/// Fills the queue of one socket. Returns the number of dropped events.
async fn overflow(changes: &serde_json::Value) -> u64 {
    let (backend, held) = holding();
    let node = Node::start_with(&json!({ "events": { "*": backend.url() } }), changes);
    let client = node.connect().await;
    client.emit("say", "first").unwrap();
    backend.wait_for(1).await;
    let text = "x".repeat(1000);
    for _ in 0..20 {
        client.emit("say", &text).unwrap();
    }
    client.sync().await.unwrap();
    let dropped = node.metric("sociable_webhooks_total", &["outcome=\"dropped\""]).await;
    assert!(node.metric("sociable_webhook_queue_bytes", &[]).await <= 12_000);
    assert_unavailable(&client.emit_with_ack("say", &text).await.unwrap());
    held.add_permits(MANY);
    node.wait_metric("sociable_webhook_queue_bytes", &[], 0).await;
    assert!(client.emit_with_ack("say", &text).await.unwrap().is_empty(), "there is room again");
    let delivered = node.metric("sociable_webhooks_total", &["outcome=\"delivered\""]).await;
    assert_eq!(delivered + dropped, 22, "the error of the client aside, each event is delivered or dropped");
    dropped
}

#[tokio::test]
async fn events_are_dropped_when_the_queue_of_the_url_is_full() {
    assert!(overflow(&json!({ "queue-bytes": 12_000 })).await > 10);
}

#[tokio::test]
async fn events_are_dropped_when_the_queue_of_all_urls_is_full() {
    assert!(overflow(&json!({ "total-queue-bytes": 12_000 })).await > 10);
}

#[tokio::test]
async fn events_are_dropped_when_the_queue_of_the_socket_is_full() {
    assert!(overflow(&json!({ "socket-queue-bytes": 12_000 })).await > 10);
}

#[tokio::test]
async fn full_queue_of_a_socket_does_not_disturb_another() {
    let (backend, held) = holding();
    let node = Node::start_with(&json!({ "events": { "*": backend.url() } }), &json!({ "socket-queue-bytes": 5000 }));
    let (ada, bob) = (node.connect().await, node.connect().await);
    for _ in 0..20 {
        ada.emit("say", ()).unwrap();
    }
    ada.sync().await.unwrap();
    assert!(node.metric("sociable_webhooks_total", &["outcome=\"dropped\""]).await > 0);
    held.add_permits(MANY);
    assert!(bob.emit_with_ack("say", ()).await.unwrap().is_empty());
}

#[tokio::test]
async fn requests_to_one_url_are_bounded() {
    let (backend, held) = holding();
    let node = Node::start_with(&json!({ "events": { "*": { "url": backend.url(), "parallel": true } } }), &json!({ "concurrency": 3 }));
    let client = node.connect().await;
    for _ in 0..20 {
        client.emit("say", ()).unwrap();
    }
    backend.wait_for(3).await;
    held.add_permits(MANY);
    node.wait_metric("sociable_webhooks_total", &["outcome=\"delivered\""], 20).await;
    assert_eq!(backend.most_at_once(), 3);
}

#[tokio::test]
async fn what_waits_is_delivered_when_the_node_stops() {
    let (backend, held) = holding();
    let url = backend.url();
    let batched = json!({ "url": format!("{url}/batch"), "batch": true });
    let node =
        Node::start_with(&json!({ "events": { "*": url, "batched": batched } }), &json!({ "batch-ms": 3_600_000, "stop-ms": 20_000 }));
    let client = node.connect().await;
    for _ in 0..5 {
        client.emit("say", ()).unwrap();
    }
    client.emit("batched", ()).unwrap();
    client.sync().await.unwrap();
    held.add_permits(MANY);
    node.webhooks.close().await;
    assert_eq!(backend.seen().len(), 6);
    assert_unavailable(&client.emit_with_ack("say", ()).await.unwrap());
}

#[tokio::test]
async fn stop_ends_when_its_time_is_over() {
    let (backend, _held) = holding();
    let node = Node::start_with(&json!({ "events": { "*": backend.url() } }), &json!({ "stop-ms": 50 }));
    node.connect().await.emit("say", ()).unwrap();
    backend.wait_for(1).await;
    tokio::time::timeout(crate::backend::PATIENCE, node.webhooks.close()).await.unwrap();
}
