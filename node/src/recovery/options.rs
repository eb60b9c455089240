//! The options of recovery.

use std::time::Duration;

use sociable_adapter::Limits;

/// Connection state recovery: what is kept of clients whose connections are lost, for how long, and how much.
///
/// ```
/// use std::time::Duration;
/// use sociable::{Recovery, Server, Socket};
///
/// let recovery = Recovery::default().max_disconnection_duration(Duration::from_secs(60)).skip_middlewares(false);
/// let io = Server::builder().recovery(recovery).build()?;
/// io.on_connect(async |socket: Socket| {
///     if !socket.recovered() {
///         socket.join("lobby");
///     }
/// });
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub(crate) max_disconnection_duration: Duration,
    pub(crate) skip_middlewares: bool,
    pub(crate) max_session_bytes: usize,
    pub(crate) max_total_bytes: usize,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            max_disconnection_duration: Duration::from_secs(120),
            skip_middlewares: true,
            max_session_bytes: 1 << 20,
            max_total_bytes: 256 << 20,
        }
    }
}

impl Recovery {
    /// How long a client may be away, from when its loss was noticed: 2 minutes by default.
    #[must_use]
    pub fn max_disconnection_duration(mut self, duration: Duration) -> Self {
        self.max_disconnection_duration = duration;
        self
    }

    /// Whether a client that comes back is let in without the namespace's middleware: yes by default. Then nobody checks again whether it
    /// still may.
    #[must_use]
    pub fn skip_middlewares(mut self, skip: bool) -> Self {
        self.skip_middlewares = skip;
        self
    }

    /// The most that one client may have to be sent when it comes back, and the most that its rooms and data may take, in bytes: 1 MiB by
    /// default. Beyond it the client gets a new session. What is sent has to fit into the outbox too.
    #[must_use]
    pub fn max_session_bytes(mut self, bytes: usize) -> Self {
        self.max_session_bytes = bytes;
        self
    }

    /// The most that all kept events and lost sessions of the node may take, in bytes: 256 MiB by default. What is oldest goes first; who
    /// would need it gets a new session.
    #[must_use]
    pub fn max_total_bytes(mut self, bytes: usize) -> Self {
        self.max_total_bytes = bytes;
        self
    }

    /// `notice` is how long it may take until a lost connection is noticed.
    pub(crate) fn limits(&self, notice: Duration, max_outbox: usize) -> Limits {
        Limits {
            session_age: self.max_disconnection_duration,
            event_age: self.max_disconnection_duration.saturating_add(notice),
            session_bytes: self.max_session_bytes.min(max_outbox),
            total_bytes: self.max_total_bytes,
        }
    }
}
