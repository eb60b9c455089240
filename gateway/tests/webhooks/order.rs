//! Order within a socket, and parallelism between sockets.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::backend::{Backend, json as answer, nothing};
use crate::node::{Node, assert_unavailable};

#[tokio::test]
async fn events_of_a_socket_arrive_in_order_and_one_at_a_time() {
    let backend = Backend::start(async |request| {
        let number = request.json()["args"][0].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(number % 3)).await;
        answer(&json!({ "ack": [number] }))
    });
    let node = Node::start(&json!({ "events": { "*": backend.url() } }));
    let client = node.connect().await;
    for number in 0..30 {
        client.emit(if number % 2 == 0 { "even" } else { "odd" }, number).unwrap();
    }
    let last = client.emit_with_ack("last", 30).await.unwrap();
    assert_eq!(last.decode::<u64>(0).unwrap(), 30);
    let numbers: Vec<_> = backend.seen().iter().map(|request| request.json()["args"][0].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..=30).collect::<Vec<_>>());
    assert_eq!(backend.most_at_once(), 1);
}

/// Returns a backend that holds events named `held` until the semaphore lets them go.
fn holding() -> (Backend, Arc<Semaphore>) {
    let held = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&held);
    let backend = Backend::start(move |request| {
        let hold = Arc::clone(&hold);
        async move {
            if request.event() == "held" {
                hold.acquire().await.unwrap().forget();
            }
            nothing()
        }
    });
    (backend, held)
}

#[tokio::test]
async fn socket_does_not_wait_for_another() {
    let (backend, held) = holding();
    let node = Node::start(&json!({ "events": { "*": backend.url() } }));
    let (ada, bob) = (node.connect().await, node.connect().await);
    ada.emit("held", ()).unwrap();
    backend.wait_for(1).await;
    bob.emit_with_ack("say", ()).await.unwrap();
    held.add_permits(1);
    node.wait_metric("sociable_webhooks_total", &["outcome=\"delivered\""], 2).await;
}

#[tokio::test]
async fn events_overtake_when_they_are_parallel() {
    let (backend, held) = holding();
    let node = Node::start(&json!({ "events": { "*": { "url": backend.url(), "parallel": true } } }));
    let client = node.connect().await;
    client.emit("held", ()).unwrap();
    backend.wait_for(1).await;
    client.emit_with_ack("say", ()).await.unwrap();
    assert_eq!(node.metric("sociable_webhooks_total", &["outcome=\"delivered\""]).await, 1);
    held.add_permits(1);
    node.wait_metric("sociable_webhook_queue_bytes", &[], 0).await;
}

#[tokio::test]
async fn order_holds_beside_parallel_events() {
    let (backend, held) = holding();
    let node = Node::start(&json!({ "events": { "held": { "url": backend.url(), "parallel": true }, "*": backend.url() } }));
    let client = node.connect().await;
    client.emit("held", ()).unwrap();
    backend.wait_for(1).await;
    for _ in 0..3 {
        client.emit_with_ack("say", ()).await.unwrap();
    }
    held.add_permits(1);
    node.wait_metric("sociable_webhook_queue_bytes", &[], 0).await;
}

#[tokio::test]
async fn client_gets_an_error_when_the_deadline_passes_in_the_queue() {
    let (backend, held) = holding();
    let node = Node::start_with(
        &json!({ "events": { "*": backend.url() } }),
        &json!({ "deadline-ms": 100, "told-deadline-ms": 60_000, "timeout-ms": 60_000 }),
    );
    let client = node.connect().await;
    client.emit("held", ()).unwrap();
    backend.wait_for(1).await;
    assert_unavailable(&client.emit_with_ack("say", 1).await.unwrap());
    client.emit("say", 2).unwrap();
    held.add_permits(1);
    let seen = backend.wait_for(2).await;
    assert_eq!(seen[1].json()["args"], json!([2]), "the expired event is not sent");
    assert_eq!(node.metric("sociable_webhooks_total", &["outcome=\"expired\""]).await, 1);
}
