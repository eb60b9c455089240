//! The warnings about a backend: one a minute for each URL and cause, without content.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::{Value, json};
use sociable_gateway::webhooks::Webhooks;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::backend::{Answer, Backend, PATIENCE, json as answer, status};
use crate::node::{Node, settings};

/// The warnings of webhooks, each as its fields in quotes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sociable::webhooks" && *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Returns the warnings of this process about a URL.
fn warnings(url: &str) -> Vec<String> {
    log().0.lock().iter().filter(|line| line.contains(&format!("url=\"{url}\""))).cloned().collect()
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing::subscriber::set_global_default(log.clone()).unwrap();
        log
    })
}

/// Asserts that one warning about a URL has all parts.
fn assert_one(url: &str, parts: &[&str]) {
    let lines = warnings(url);
    assert!(lines.len() == 1 && parts.iter().all(|part| lines[0].contains(part)), "{parts:?}: {lines:?}");
}

/// Sends events to a backend with one answer. Returns its URL when all are answered.
async fn events(reply: Answer, changes: &Value) -> (String, Backend) {
    log();
    let backend = Backend::start(move |_| std::future::ready(reply.clone()));
    let node = Node::start_with(&json!({ "events": { "*": backend.url() } }), changes);
    let client = node.connect().await;
    for _ in 0..3 {
        client.emit_with_ack("say", "private").await.unwrap();
    }
    (backend.url(), backend)
}

#[tokio::test]
async fn warning_names_the_secret_when_the_backend_refuses() {
    const MESSAGE: &str = "message=backend refused a webhook: check that both sides have the same secret";
    let (url, _backend) = events(status(401), &json!({})).await;
    assert_one(&url, &[MESSAGE, "status=401", "suppressed=0"]);
    let own = answer(&json!({ "error": { "message": "who are you?" } }));
    for (reply, warns) in [(answer(&json!({ "detail": "private" })), true), (own, false)] {
        let backend = Backend::start(move |_| std::future::ready(Answer { status: 403, ..reply.clone() }));
        let node = Node::start(&json!({ "connect": backend.url() }));
        assert!(node.try_connect().await.is_err());
        if warns {
            assert_one(&backend.url(), &[MESSAGE, "status=403"]);
        } else {
            assert_eq!(warnings(&backend.url()), [""; 0]);
        }
    }
}

#[tokio::test]
async fn warning_has_the_status_when_a_path_is_wrong() {
    let (url, _backend) = events(status(404), &json!({})).await;
    assert_one(&url, &["message=backend answered with an error", "status=404"]);
}

#[tokio::test]
async fn warning_has_the_place_when_an_answer_is_nonsense() {
    let (url, _backend) = events(answer(&json!({ "akc": ["private"] })), &json!({})).await;
    assert_one(&url, &["message=answer of a backend not understood", "line=1", "column=6", "cause=\"unknown field `akc`, expected one of"]);
    assert!(!warnings(&url)[0].contains("private"));
}

#[tokio::test]
async fn warning_comes_when_nobody_waits_for_the_nonsense() {
    log();
    let backend = Backend::start(async |_| Answer { body: "OK".into(), ..status(200) });
    let (url, batched) = (format!("{}/one", backend.url()), format!("{}/many", backend.url()));
    let node = Node::start_with(&json!({ "events": { "one": url, "many": { "url": batched, "batch": true } } }), &json!({ "batch-ms": 1 }));
    let client = node.connect().await;
    client.emit("one", ()).unwrap();
    client.emit("many", ()).unwrap();
    for url in [&url, &batched] {
        node.wait_metric("sociable_webhooks_total", &[&format!("url=\"{url}\""), "outcome=\"delivered\""], 1).await;
    }
    assert_one(&url, &["message=answer of a backend not understood", "cause=\"expected value\""]);
    assert_eq!(warnings(&batched), [""; 0], "answers to batches are not read");
}

#[tokio::test]
async fn warning_has_the_cause_when_an_event_is_not_sent() {
    let (url, _backend) = events(answer(&json!({ "emit": [{ "namespace": "/none", "event": "said" }] })), &json!({})).await;
    assert_one(&url, &["message=event of an answer not sent", "cause=no namespace has the name"]);
}

#[tokio::test]
async fn warning_has_the_limit_when_an_answer_is_too_long() {
    let (url, _backend) = events(answer(&json!({ "ack": ["private"] })), &json!({ "answer-bytes": 5 })).await;
    assert_one(&url, &["message=answer of a backend longer than `answer-bytes`"]);
}

#[tokio::test]
async fn warning_has_the_cause_when_no_attempt_succeeds() {
    let (url, _backend) = events(status(500), &json!({ "retries": 1, "breaker-failures": 100 })).await;
    assert_one(&url, &["message=webhook not delivered: no attempt succeeded", "cause=\"status 500\"", "retries=1"]);
    let (url, _backend) = events(status(500), &json!({ "retries": 1, "breaker-failures": 2 })).await;
    assert!(warnings(&url)[0].contains("message=backend unavailable; circuit breaker open"), "{:?}", warnings(&url));
    assert!(warnings(&url)[0].contains("cause=\"status 500\""), "{:?}", warnings(&url));
}

#[tokio::test]
async fn warning_comes_once_when_the_breaker_flaps() {
    log();
    let fails = AtomicBool::new(true);
    let backend = Backend::start(move |_| std::future::ready(status(if fails.fetch_not(Ordering::Relaxed) { 500 } else { 204 })));
    let node = Node::start_with(&json!({ "events": { "*": backend.url() } }), &json!({ "breaker-failures": 1, "retries": 0 }));
    let client = node.connect().await;
    let flaps = async {
        while node.metric("sociable_webhook_breaker_openings_total", &[]).await < 3 {
            client.emit_with_ack("say", ()).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, flaps).await.unwrap();
    let lines = warnings(&backend.url());
    assert_eq!(lines.iter().filter(|line| line.contains("circuit breaker open")).count(), 1, "{lines:?}");
}

#[test]
fn warning_comes_once_when_webhooks_are_not_signed() {
    let secret = json!({ "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] });
    for (changes, lines) in [(json!({}), &["message=webhooks are not signed: set `secret-files` in `[webhooks]` "][..]), (secret, &[])] {
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || Webhooks::start(settings(&changes), "test", "node").unwrap());
        assert_eq!(*log.0.lock(), lines);
    }
}
