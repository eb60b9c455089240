//! Requests to backends about connections and events.
//!
//! A backend is asked before a socket is let in, gets the events of clients and answers them, and hears of sockets that came or left. Each request is
//! a CloudEvent in the binary mode of its HTTP binding, signed by Standard Webhooks. The guide `docs/guide/webhooks.md` describes requests, answers
//! and failures.
//!
//! ```
//! use sociable::Server;
//! use sociable_gateway::webhooks::{NamespaceHooks, Settings, Webhooks};
//!
//! let io = Server::builder().build()?;
//! let hooks: NamespaceHooks = serde_json::from_str(r#"{
//!     "connect": "http://127.0.0.1:8000/socketio",
//!     "events": {"say": "http://127.0.0.1:8000/socketio"}
//! }"#)?;
//! let webhooks = Webhooks::start(Settings::default(), "my-cluster", "node-1")?;
//! webhooks.hook(&io.of("/chat"), &hooks)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layout of the source
//!
//! * `settings.rs`, `target.rs`, `secret.rs`: the settings.
//! * `hooks.rs`: the handlers of namespaces. `body.rs`, `cloudevent.rs`, `signature.rs`: the requests.
//! * `lanes.rs`, `batch.rs`: what waits, for each socket and for each batch. `delivery.rs`: the attempts of one webhook. `client.rs`: one request.
//! * `endpoint.rs`, `breaker.rs`, `complaints.rs`: the state of a URL. `shared.rs`: the state of all, and the threads. `metrics.rs`: the metrics.
//! * `answer.rs`, `nonsense.rs`: the answer of a backend.

mod answer;
mod batch;
mod body;
mod breaker;
mod client;
mod cloudevent;
mod complaints;
mod delivery;
mod endpoint;
mod hooks;
mod lanes;
mod metrics;
mod nonsense;
mod secret;
mod settings;
mod shared;
mod signature;
mod target;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sociable::{MetricFamily, Namespace, ParentNamespace};
use thiserror::Error;

pub use self::secret::{Secret, SecretFault};
pub use self::settings::{NamespaceHooks, Settings, SettingsFault};
pub use self::signature::{Verifier, VerifyFault};
pub use self::target::{HookUrl, Target, UrlFault};

use self::hooks::Hooks;
use self::shared::Shared;
use self::signature::Signer;

/// The webhooks of a process. Clones are cheap and share the same queues.
#[derive(Clone, Debug)]
pub struct Webhooks(Arc<Shared>);

/// The reason why webhooks cannot be delivered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebhooksFault {
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsFault),
    /// The certificates of the system cannot be used.
    #[error("cannot speak TLS with backends: {0}. Install the package `ca-certificates`, or use http")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system has no thread left.
    #[error("cannot start a thread for webhooks: {0}. Raise the limit on threads")]
    Thread(io::Error),
}

impl Webhooks {
    /// Starts the threads that deliver webhooks. The names of cluster and node are parts of the source of each CloudEvent.
    ///
    /// # Errors
    ///
    /// A setting cannot be used, or the system has no thread left.
    pub fn start(settings: Settings, cluster: &str, node: &str) -> Result<Self, WebhooksFault> {
        settings.check()?;
        let secrets = settings.read_secrets()?;
        if secrets.is_empty() {
            tracing::warn!(target: "sociable::webhooks", "webhooks are not signed: set `secret-files` in `[webhooks]`");
        }
        let signer = Signer::new(&secrets);
        let shared = Shared::new(settings, signer, cloudevent::source_of(cluster, node)).map_err(WebhooksFault::Thread)?;
        Ok(Self(Arc::new(shared)))
    }

    /// Adds the webhooks of a namespace.
    ///
    /// Its `connect` is a middleware, its events are handlers, and `*` is the fallback of events without a handler.
    ///
    /// # Errors
    ///
    /// A target cannot be used, or a URL needs TLS and the certificates of the system cannot be used.
    pub fn hook(&self, namespace: &Namespace, hooks: &NamespaceHooks) -> Result<(), WebhooksFault> {
        self.hooks(hooks)?.attach(namespace);
        Ok(())
    }

    /// Adds the webhooks of the namespaces of a pattern.
    ///
    /// # Errors
    ///
    /// As [`hook`](Self::hook).
    pub fn hook_pattern(&self, namespaces: &ParentNamespace, hooks: &NamespaceHooks) -> Result<(), WebhooksFault> {
        self.hooks(hooks)?.attach_all(namespaces);
        Ok(())
    }

    fn hooks(&self, hooks: &NamespaceHooks) -> Result<Arc<Hooks>, WebhooksFault> {
        hooks.check()?;
        Hooks::new(&self.0, hooks).map(Arc::new).map_err(|error| WebhooksFault::Tls(Box::new(error)))
    }

    /// Returns the metrics, for [`Server::add_metrics`](sociable::Server::add_metrics).
    pub fn metrics(&self) -> Vec<MetricFamily> {
        metrics::families(&self.0)
    }

    /// Delivers what waits, at most for the time of the setting `stop-ms`. Later webhooks are dropped, and clients get an error.
    ///
    /// Call it after the server has closed, so that backends are told of all sockets that left.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.batches.hurry();
        // At the end of the time, the rest is lost.
        let _ = tokio::time::timeout(self.0.settings.stop, self.0.total.empty()).await;
    }
}

/// The examples of the guide, compiled and run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/webhooks.md")]
struct Guide;
