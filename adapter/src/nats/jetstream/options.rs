//! Settings of the events and sessions that JetStream persists.

use std::time::Duration;

use async_nats::jetstream::stream::StorageType;

/// The time in which a message that is published twice is persisted once. It is longer than anything is retried.
pub(crate) const DUPLICATES: Duration = Duration::from_secs(120);

/// How the events and sessions of a cluster are kept by JetStream.
///
/// ```
/// use std::time::Duration;
/// use sociable_adapter::{JetStreamOptions, NatsOptions};
///
/// let kept = JetStreamOptions::default().replicas(3).max_bytes(4 << 30);
/// let options = NatsOptions::new("nats://127.0.0.1:4222").jetstream(kept);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    pub(crate) replicas: Option<usize>,
    pub(crate) in_memory: bool,
    pub(crate) max_age: Duration,
    pub(crate) max_bytes: i64,
    pub(crate) sessions_bytes: i64,
    pub(crate) max_session: usize,
    pub(crate) deadline: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            replicas: None,
            in_memory: false,
            max_age: Duration::from_secs(600),
            max_bytes: 1 << 30,
            sessions_bytes: 512 << 20,
            max_session: 64 << 10,
            deadline: Duration::from_secs(60),
        }
    }
}

impl JetStreamOptions {
    /// On how many NATS servers events and sessions are kept: by default three, or one where there is one. It is decided by the first node of the cluster.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Keeps them in the memory of the NATS servers, not in files: by default in files.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// How long events are kept, 10 minutes by default, and 2 minutes at least; longer by itself where clients may be away for longer.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age.max(DUPLICATES);
        self
    }

    /// How many bytes of events are kept, 1 GiB by default. The server reserves them. What is oldest goes first; who would need it gets a new
    /// session.
    #[must_use]
    pub fn max_bytes(mut self, bytes: i64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How many bytes of sessions are kept, 512 MiB by default. The server reserves them, so that sessions take no room of events. What was
    /// written longest ago goes first; who would need it gets a new session.
    #[must_use]
    pub fn sessions_bytes(mut self, bytes: i64) -> Self {
        self.sessions_bytes = bytes;
        self
    }

    /// The most bytes of one session as it is kept, 64 KiB by default: its rooms and data. A longer one can't be recovered, and is counted.
    #[must_use]
    pub fn max_session(mut self, bytes: usize) -> Self {
        self.max_session = bytes;
        self
    }

    /// How long an event may wait until a NATS server confirms that it is kept, 60 s by default: longer than the election of a leader, shorter than two
    /// minutes. What has waited longer is dropped and counted, and clients of other nodes that may have been promised it are cut off, so that they
    /// begin anew.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(Duration::from_secs(110));
        self
    }

    pub(crate) fn storage(&self) -> StorageType {
        if self.in_memory { StorageType::Memory } else { StorageType::File }
    }
}
