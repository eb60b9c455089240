//! Idempotency keys: a repeated request is answered again, and does nothing twice.
//!
//! A client sends the same key with each repetition of a request. The first request with a key runs, and its answer is stored. A repetition gets
//! the stored answer.
//!
//! * `memory.rs`: records of one node. `cluster.rs`, `bucket.rs`: records of a cluster in JetStream, with the feature `nats`.
//! * `record.rs`: records as bytes. `options.rs`: bounds and counters.
//!
//! A store that cannot be reached refuses the request ([`StoreUnavailable`]). Running it without protection could run it twice.

#[cfg(feature = "nats")]
mod bucket;
#[cfg(feature = "nats")]
mod cluster;
mod memory;
mod options;
#[cfg(feature = "nats")]
mod record;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use serde::Serialize;
use thiserror::Error;

#[cfg(feature = "nats")]
use self::cluster::{Claim, ClusterStore};
use self::memory::{Entry, Memory};
use self::options::{Bounds, Counters};
pub use self::options::{IdempotencyOptions, IdempotencyStats};

/// The SHA-256 of a scope and a key. No key is stored in clear.
type KeyHash = [u8; 32];

/// The records of requests with an idempotency key. Clones share them.
///
/// ```
/// # async fn show() -> Result<(), sociable_gateway::api::idempotency::StoreUnavailable> {
/// use bytes::Bytes;
/// use sociable_gateway::api::idempotency::{Begun, Idempotency, IdempotencyOptions, StoredAnswer};
///
/// let records = Idempotency::memory(IdempotencyOptions::default());
/// let request = [0; 32];
/// if let Begun::First(mut guard) = records.begin("orders", "order-7", request).await? {
///     guard.start();
///     guard.finish(StoredAnswer { status: 200, body: Bytes::from_static(b"{}") }).await;
/// }
/// assert!(matches!(records.begin("orders", "order-7", request).await?, Begun::Replay(answer) if answer.status == 200));
/// assert!(matches!(records.begin("orders", "order-7", [1; 32]).await?, Begun::OtherRequest));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Idempotency {
    store: Store,
    counters: Arc<Counters>,
}

#[derive(Clone, Debug)]
enum Store {
    Memory(Arc<Memory>),
    #[cfg(feature = "nats")]
    Cluster(Arc<ClusterStore>),
}

/// The nodes that share the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The node that was asked. A repetition at another node runs again.
    Node,
    /// All nodes of the cluster.
    Cluster,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status, as of HTTP.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// The state of a key when a request with it arrives.
#[derive(Debug)]
pub enum Begun {
    /// The key is new: run the request, and call [`Guard::finish`].
    First(Guard),
    /// The request ran before, with this answer.
    Replay(StoredAnswer),
    /// The request is running.
    InProgress,
    /// The request may have run, and its answer is lost. Its node has left the cluster or was stopped, or the answer was too long.
    OutcomeUnknown,
    /// The key belongs to another request.
    OtherRequest,
}

/// The store of the records cannot be reached, or has no room for another running request. Retry later.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("idempotency store unavailable: {0}; retry later")]
pub struct StoreUnavailable(pub String);

/// A key that a request holds while it runs.
///
/// A guard that is dropped before [`start`](Self::start) releases its key: the next request with it is the first again. One that is dropped
/// afterwards leaves [`Begun::OutcomeUnknown`].
#[derive(Debug)]
#[must_use = "a dropped guard releases its key"]
pub struct Guard {
    place: Option<Place>,
    is_started: bool,
    max_answer_bytes: usize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Place {
    Memory(Entry),
    #[cfg(feature = "nats")]
    Cluster(Claim),
}

/// The last state of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Answer(StoredAnswer),
    Unknown,
}

impl Idempotency {
    /// Returns records in the memory of this node.
    pub fn memory(options: IdempotencyOptions) -> Self {
        let counters = Arc::new(Counters::default());
        let bounds = Bounds::from(options);
        Self { store: Store::Memory(Arc::new(Memory::new(bounds, Arc::clone(&counters)))), counters }
    }

    /// Returns records in a bucket of the cluster, which the first request opens or creates. The bucket has the replicas of the cluster's events.
    ///
    /// The nodes need JetStream: see [`JetStreamOptions`](sociable::JetStreamOptions).
    #[cfg(feature = "nats")]
    pub fn cluster(link: &super::link::NatsLink, server: &sociable::Server, options: IdempotencyOptions) -> Self {
        let counters = Arc::new(Counters::default());
        let store = ClusterStore::new(link, server.clone(), Bounds::from(options), Arc::clone(&counters));
        Self { store: Store::Cluster(Arc::new(store)), counters }
    }

    /// Returns the nodes that share the records.
    pub fn reach(&self) -> Reach {
        match &self.store {
            Store::Memory(_) => Reach::Node,
            #[cfg(feature = "nats")]
            Store::Cluster(_) => Reach::Cluster,
        }
    }

    /// Looks up the key of a request, and reserves a new one for it.
    ///
    /// Keys of different scopes are different keys. The fingerprint identifies the request: its operation, its arguments and what else its answer
    /// depends on.
    ///
    /// # Errors
    ///
    /// The store cannot be reached, or is full of running requests.
    pub async fn begin(&self, scope: &str, key: &str, fingerprint: [u8; 32]) -> Result<Begun, StoreUnavailable> {
        let hash = hash(scope, key);
        let begun = match &self.store {
            Store::Memory(memory) => memory.begin(hash, fingerprint),
            #[cfg(feature = "nats")]
            Store::Cluster(store) => store.begin(hash, fingerprint).await,
        };
        let counter = match &begun {
            Ok(Begun::First(_)) => &self.counters.first,
            Ok(Begun::Replay(_)) => &self.counters.replayed,
            Ok(Begun::InProgress) => &self.counters.in_progress,
            Ok(Begun::OutcomeUnknown) => &self.counters.unknown,
            Ok(Begun::OtherRequest) => &self.counters.conflicts,
            Err(_) => &self.counters.unavailable,
        };
        counter.fetch_add(1, Relaxed);
        begun
    }

    /// Returns the counts since the start, and the size of the records in the memory of this node.
    pub fn stats(&self) -> IdempotencyStats {
        let (entries, bytes) = match &self.store {
            Store::Memory(memory) => memory.usage(),
            #[cfg(feature = "nats")]
            Store::Cluster(_) => (0, 0),
        };
        self.counters.stats(entries, bytes)
    }
}

impl Guard {
    fn new(place: Place, bounds: &Bounds, counters: &Arc<Counters>) -> Self {
        Self { place: Some(place), is_started: false, max_answer_bytes: bounds.max_answer_bytes, counters: Arc::clone(counters) }
    }

    /// Notes that the request begins to have effects.
    pub fn start(&mut self) {
        self.is_started = true;
    }

    /// Returns whether [`start`](Self::start) was called.
    pub fn is_started(&self) -> bool {
        self.is_started
    }

    /// Stores the answer, for repetitions of the request. An answer that is too long leaves [`Begun::OutcomeUnknown`].
    ///
    /// If the store of a cluster cannot be reached, the answer is stored later, and repetitions find the request still running.
    pub async fn finish(mut self, answer: StoredAnswer) {
        let outcome = if answer.body.len() <= self.max_answer_bytes {
            Outcome::Answer(answer)
        } else {
            self.counters.too_long.fetch_add(1, Relaxed);
            Outcome::Unknown
        };
        match self.place.take() {
            Some(Place::Memory(entry)) => entry.finish(outcome),
            #[cfg(feature = "nats")]
            Some(Place::Cluster(claim)) => claim.finish(outcome).await,
            None => {}
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        match self.place.take() {
            Some(Place::Memory(entry)) if self.is_started => entry.finish(Outcome::Unknown),
            Some(Place::Memory(entry)) => entry.release(),
            #[cfg(feature = "nats")]
            Some(Place::Cluster(claim)) => claim.give_up(self.is_started),
            None => {}
        }
    }
}

/// Returns what a repetition of a finished request gets.
fn repeated(outcome: &Outcome) -> Begun {
    match outcome {
        Outcome::Answer(answer) => Begun::Replay(answer.clone()),
        Outcome::Unknown => Begun::OutcomeUnknown,
    }
}

fn hash(scope: &str, key: &str) -> KeyHash {
    let mut context = Context::new(&SHA256);
    context.update(&(scope.len() as u64).to_be_bytes());
    context.update(scope.as_bytes());
    context.update(key.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_and_key_do_not_run_into_each_other() {
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
        assert_eq!(hash("a", "bc"), hash("a", "bc"));
    }
}
