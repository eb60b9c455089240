//! Backends that fail: which requests are repeated, and what a client sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::backend::{Answer, Backend, json as answer, nothing, raw, read_request, status, write_all};
use crate::node::{Node, assert_unavailable};

/// Returns a backend that fails a number of times with a status.
fn failing(times: usize, code: u16) -> Backend {
    let left = Arc::new(AtomicUsize::new(times));
    Backend::start(move |_| {
        let fails = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        std::future::ready(if fails { status(code) } else { answer(&json!({ "ack": ["done"] })) })
    })
}

#[tokio::test]
async fn request_is_repeated_with_the_same_id_and_body() {
    for code in [408, 429, 500, 503] {
        let backend = failing(2, code);
        let node = Node::start(&json!({ "events": { "say": backend.url() } }));
        let ack = node.connect().await.emit_with_ack("say", "hello").await.unwrap();
        assert_eq!(ack.decode::<String>(0).unwrap(), "done");
        let seen = backend.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|request| request.body == seen[0].body && request.header("webhook-id") == seen[0].header("ce-id")));
        assert_eq!(node.metric("sociable_webhook_retries_total", &[]).await, 2);
    }
}

#[tokio::test]
async fn request_is_not_repeated_after_another_status() {
    for code in [301, 302, 400, 401, 403, 404, 422] {
        let backend = failing(1, code);
        let node = Node::start(&json!({ "events": { "say": backend.url() } }));
        let client = node.connect().await;
        assert_unavailable(&client.emit_with_ack("say", ()).await.unwrap());
        assert_eq!(backend.seen().len(), 1, "{code}");
        assert_eq!(client.emit_with_ack("say", ()).await.unwrap().decode::<String>(0).unwrap(), "done");
    }
}

#[tokio::test]
async fn retries_end_at_their_number() {
    let backend = failing(100, 500);
    let node = Node::start_with(&json!({ "events": { "say": backend.url() } }), &json!({ "retries": 2, "breaker-failures": 100 }));
    assert_unavailable(&node.connect().await.emit_with_ack("say", ()).await.unwrap());
    assert_eq!(backend.seen().len(), 3);
    assert_eq!(node.metric("sociable_webhooks_total", &["outcome=\"failed\""]).await, 1);
}

#[tokio::test]
async fn client_gets_an_error_when_the_pause_is_longer_than_the_deadline() {
    let backend = Backend::start(async |_| Answer { headers: vec![("retry-after", "3600".into())], ..status(503) });
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    assert_unavailable(&node.connect().await.emit_with_ack("say", ()).await.unwrap());
    assert_eq!((backend.seen().len(), node.metric("sociable_webhooks_total", &["outcome=\"expired\""]).await), (1, 1));
}

#[tokio::test]
async fn pause_is_the_one_that_the_backend_asks_for() {
    let left = Arc::new(AtomicUsize::new(1));
    let backend = Backend::start(move |_| {
        let first = left.swap(0, Ordering::Relaxed) == 1;
        std::future::ready(if first { Answer { headers: vec![("retry-after", "1".into())], ..status(429) } } else { nothing() })
    });
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    let begun = std::time::Instant::now();
    node.connect().await.emit_with_ack("say", ()).await.unwrap();
    // The other pauses of this test are at most 20 ms.
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn client_gets_an_error_when_the_backend_does_not_answer() {
    let backend = Backend::start(async |_| {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        nothing()
    });
    let node = Node::start_with(&json!({ "events": { "say": backend.url() } }), &json!({ "timeout-ms": 20, "deadline-ms": 200 }));
    assert_unavailable(&node.connect().await.emit_with_ack("say", ()).await.unwrap());
    assert!(node.metric("sociable_webhook_requests_total", &["result=\"timeout\""]).await > 1);
    backend.wait_for(2).await;
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let other = Backend::quiet();
    let to = other.url();
    let backend = Backend::start(move |_| std::future::ready(Answer { headers: vec![("location", to.clone())], ..status(307) }));
    let node = Node::start(&json!({ "events": { "say": backend.url() } }));
    assert_unavailable(&node.connect().await.emit_with_ack("say", ()).await.unwrap());
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn client_gets_an_error_when_the_backend_breaks_http() {
    let answers: [&'static [u8]; 6] = [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\xff\xfe\x00[[",
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n[[[[[[[",
    ];
    for bytes in answers {
        let url = raw(move |mut stream| {
            read_request(&mut stream);
            write_all(&mut stream, bytes);
        });
        let node = Node::start_with(&json!({ "events": { "say": url } }), &json!({ "retries": 1 }));
        assert_unavailable(&node.connect().await.emit_with_ack("say", ()).await.unwrap());
    }
}

#[tokio::test]
async fn long_answer_is_read_up_to_its_limit() {
    const LONG: usize = 10 << 20;
    let heads = [format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n"), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned()];
    for head in heads {
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let (done, is_done) = std::sync::mpsc::channel();
        let url = raw(move |mut stream| {
            read_request(&mut stream);
            write_all(&mut stream, head.as_bytes());
            count.fetch_add(write_all(&mut stream, &vec![b' '; LONG]), Ordering::Relaxed);
            let _ = done.send(());
        });
        let node = Node::start_with(&json!({ "events": { "say": url } }), &json!({ "answer-bytes": 1000 }));
        assert_unavailable(&node.connect().await.emit_with_ack("say", ()).await.unwrap());
        assert_eq!(node.metric("sociable_webhook_requests_total", &["result=\"nonsense\""]).await, 1, "not repeated");
        tokio::task::spawn_blocking(move || is_done.recv().unwrap()).await.unwrap();
        assert!(written.load(Ordering::Relaxed) < LONG, "the connection was closed before the end");
    }
}
