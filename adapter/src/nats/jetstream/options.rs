//! Settings of the events and sessions that JetStream persists.

use std::time::Duration;

use async_nats::jetstream::stream::StorageType;

/// The time in which a repeated message is persisted only once. The time exceeds that of all retries.
pub(crate) const DUPLICATES: Duration = Duration::from_secs(120);

/// Settings of the events and sessions that JetStream persists for a cluster.
///
/// ```
/// use std::time::Duration;
/// use sociable_adapter::{JetStreamOptions, NatsOptions};
///
/// let jetstream = JetStreamOptions::default().replicas(3).max_bytes(4 << 30);
/// let options = NatsOptions::new("nats://127.0.0.1:4222").jetstream(jetstream);
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
    /// Sets the number of NATS servers that persist events and sessions. The default is three, or one for a single
    /// server. The first node of the cluster decides it.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Stores events and sessions in the memory of the NATS servers. By default they are stored in files.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Sets the age of the oldest events: 10 minutes by default, at least 2 minutes. A longer recovery time raises it.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age.max(DUPLICATES);
        self
    }

    /// Sets the most bytes of events, 1 GiB by default. The server reserves them. The oldest events are dropped first:
    /// clients that would need them get new sessions.
    #[must_use]
    pub fn max_bytes(mut self, bytes: i64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the most bytes of sessions, 512 MiB by default. The server reserves them apart from those of events. The
    /// sessions written longest ago are dropped first: their clients get new ones.
    #[must_use]
    pub fn sessions_bytes(mut self, bytes: i64) -> Self {
        self.sessions_bytes = bytes;
        self
    }

    /// Sets the most bytes of one session with its rooms and data, 64 KiB by default. A larger session can't be
    /// recovered, and is counted.
    #[must_use]
    pub fn max_session(mut self, bytes: usize) -> Self {
        self.max_session = bytes;
        self
    }

    /// Sets how long an event may wait for a NATS server's confirmation: at most 110 s. The default, 60 s,
    /// outlasts the election of a leader.
    ///
    /// A later event is dropped and counted. Clients of other nodes that may have been promised it are closed, and get
    /// new sessions.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(Duration::from_secs(110));
        self
    }

    pub(crate) fn storage(&self) -> StorageType {
        if self.in_memory { StorageType::Memory } else { StorageType::File }
    }
}
