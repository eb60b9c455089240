//! A server with webhooks.

use std::time::Duration;

use serde_json::Value;
use sociable::testing::{TestClient, TestError, TestServer};
use sociable::{RawArgs, Server, ServerBuilder};
use sociable_gateway::webhooks::{NamespaceHooks, Settings, Webhooks};

use crate::backend::PATIENCE;

/// A running server with webhooks in its main namespace.
pub(crate) struct Node {
    pub(crate) io: Server,
    pub(crate) server: TestServer,
    pub(crate) webhooks: Webhooks,
}

/// Returns settings with short times, changed by a table.
pub(crate) fn settings(changes: &Value) -> Settings {
    let mut settings = serde_json::json!({
        "timeout-ms": 5000, "deadline-ms": 10_000, "told-deadline-ms": 10_000, "backoff-ms": 1, "max-backoff-ms": 20, "breaker-open-ms": 50,
    });
    settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

impl Node {
    /// Starts a server with these hooks and the default settings of tests.
    pub(crate) fn start(hooks: &Value) -> Self {
        Self::start_with(hooks, &serde_json::json!({}))
    }

    pub(crate) fn start_with(hooks: &Value, changes: &Value) -> Self {
        Self::start_on(Server::builder(), hooks, changes)
    }

    pub(crate) fn start_on(builder: ServerBuilder, hooks: &Value, changes: &Value) -> Self {
        let io = builder.build().unwrap();
        let webhooks = Webhooks::start(settings(changes), "test", "node 1").unwrap();
        webhooks.hook(&io, &hooks_of(hooks)).unwrap();
        let source = webhooks.clone();
        io.add_metrics(move || source.metrics());
        Self { server: TestServer::start(&io).unwrap(), io, webhooks }
    }

    pub(crate) async fn connect(&self) -> TestClient {
        self.try_connect().await.unwrap()
    }

    pub(crate) async fn try_connect(&self) -> Result<TestClient, TestError> {
        self.server.client().patience(PATIENCE).connect().await
    }

    /// Returns the value of a metric: the first line with its name and these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let metrics = self.io.metrics().await;
        let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label));
        let line = metrics.lines().find(is_it).unwrap_or_else(|| panic!("no {name} {labels:?} in {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a metric has a value.
    pub(crate) async fn wait_metric(&self, name: &str, labels: &[&str], value: u64) {
        self.wait_until(name, labels, |now| now == value).await;
    }

    /// Waits until a metric has such a value.
    pub(crate) async fn wait_until(&self, name: &str, labels: &[&str], is_it: impl Fn(u64) -> bool) {
        let waiting = async {
            while !is_it(self.metric(name, labels).await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {name} {labels:?}");
    }
}

pub(crate) fn hooks_of(hooks: &Value) -> NamespaceHooks {
    serde_json::from_value(hooks.clone()).unwrap()
}

/// Waits for a condition that nothing announces.
pub(crate) async fn eventually(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

/// Asserts that an acknowledgement says that the backend is away.
pub(crate) fn assert_unavailable(ack: &RawArgs) {
    assert_eq!(ack.raw_json(), Some(r#"{"error":{"data":{"code":"E_BACKEND"},"message":"backend unavailable"}}"#));
}
