//! The circuit breaker: a backend that is away, and that comes back.

use serde_json::json;
use sociable::testing::TestError;

use crate::backend::{Backend, nothing, status};
use crate::node::{Node, assert_unavailable};

#[tokio::test]
async fn breaker_opens_and_closes_again_by_itself() {
    let backend = Backend::quiet();
    let url = backend.url();
    let node = Node::start_with(&json!({ "connect": url, "events": { "*": url } }), &json!({ "breaker-failures": 3, "retries": 0 }));
    let client = node.connect().await;
    let addr = backend.stop();
    for _ in 0..3 {
        assert_unavailable(&client.emit_with_ack("say", ()).await.unwrap());
    }
    assert_eq!(node.metric("sociable_webhook_breaker_openings_total", &[]).await, 1);
    assert_eq!(node.metric("sociable_webhook_breakers_open", &[]).await, 1);
    match node.try_connect().await.map(drop) {
        Err(TestError::Refused { message, data }) => assert_eq!((&*message, data), ("backend unavailable", json!({ "code": "E_BACKEND" }))),
        other => panic!("{other:?}"),
    }
    let backend = Backend::start_at(addr, async |_| nothing());
    let back = async {
        loop {
            if client.emit_with_ack("say", ()).await.unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::backend::PATIENCE, back).await.unwrap();
    assert_eq!(node.metric("sociable_webhook_breakers_open", &[]).await, 0);
    assert!(node.try_connect().await.is_ok() && !backend.seen().is_empty());
}

#[tokio::test]
async fn told_events_wait_for_the_breaker_and_arrive_in_order() {
    let backend = Backend::quiet();
    let node = Node::start_with(
        &json!({ "events": { "*": backend.url() } }),
        &json!({ "breaker-failures": 1, "retries": 1_000_000, "told-deadline-ms": 60_000 }),
    );
    let client = node.connect().await;
    let addr = backend.stop();
    assert_unavailable(&client.emit_with_ack("lost", ()).await.unwrap());
    for number in 0..5 {
        client.emit("say", number).unwrap();
    }
    client.sync().await.unwrap();
    let backend = Backend::start_at(addr, async |_| nothing());
    let seen = backend.wait("the last event", |seen| seen.iter().any(|request| request.json()["args"] == json!([4]))).await;
    let numbers: Vec<_> = seen.iter().map(|request| request.json()["args"][0].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn one_probe_at_a_time_reaches_a_failing_backend() {
    let backend = Backend::start(async |_| {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        status(500)
    });
    let node = Node::start_with(
        &json!({ "events": { "*": { "url": backend.url(), "parallel": true } } }),
        &json!({ "breaker-failures": 1, "breaker-open-ms": 10, "retries": 0, "told-deadline-ms": 60_000 }),
    );
    let client = node.connect().await;
    assert_unavailable(&client.emit_with_ack("first", ()).await.unwrap());
    let before = backend.most_at_once();
    for number in 0..20 {
        client.emit("say", number).unwrap();
    }
    node.wait_metric("sociable_webhooks_total", &["outcome=\"failed\""], 21).await;
    assert_eq!((before, backend.most_at_once(), backend.seen().len()), (1, 1, 21));
}

#[tokio::test]
async fn other_url_is_undisturbed_while_a_backend_is_away() {
    let (dead, alive) = (Backend::quiet(), Backend::quiet());
    let node = Node::start_with(
        &json!({ "events": { "dead": dead.url(), "alive": alive.url() } }),
        &json!({ "breaker-failures": 1, "told-deadline-ms": 60_000 }),
    );
    let is_dead = format!("url=\"{}\"", dead.url());
    dead.stop();
    let client = node.connect().await;
    for _ in 0..20 {
        client.emit("dead", ()).unwrap();
    }
    node.wait_until("sociable_webhook_breaker_openings_total", &[&is_dead], |openings| openings > 0).await;
    for _ in 0..20 {
        assert!(client.emit_with_ack("alive", ()).await.unwrap().is_empty());
    }
    assert_eq!(alive.seen().len(), 20);
}
