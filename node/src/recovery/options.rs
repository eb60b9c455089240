//! The options of recovery.

use std::time::Duration;

use sociable_adapter::Limits;

/// The options of connection state recovery: the time, the size, and the middleware.
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
    /// Sets how long a client may stay disconnected, from when the loss was noticed: 2 minutes by default.
    #[must_use]
    pub fn max_disconnection_duration(mut self, duration: Duration) -> Self {
        self.max_disconnection_duration = duration;
        self
    }

    /// Sets whether recovered clients skip the namespace's middleware: yes by default. Then their permissions are not checked again.
    #[must_use]
    pub fn skip_middlewares(mut self, skip: bool) -> Self {
        self.skip_middlewares = skip;
        self
    }

    /// Sets the maximum bytes per client of missed events, and of rooms and data: 1 MiB for each by default.
    ///
    /// A client beyond it gets a new session. The missed events have to fit into the outbox too.
    #[must_use]
    pub fn max_session_bytes(mut self, bytes: usize) -> Self {
        self.max_session_bytes = bytes;
        self
    }

    /// Sets the maximum bytes of the kept events and lost sessions of the node: 256 MiB by default.
    ///
    /// The oldest are removed first. A client that needs them gets a new session.
    #[must_use]
    pub fn max_total_bytes(mut self, bytes: usize) -> Self {
        self.max_total_bytes = bytes;
        self
    }

    /// Returns the limits of the history. `notice` is the longest time until a lost connection is noticed.
    pub(crate) fn limits(&self, notice: Duration, max_outbox: usize) -> Limits {
        Limits {
            session_age: self.max_disconnection_duration,
            event_age: self.max_disconnection_duration.saturating_add(notice),
            session_bytes: self.max_session_bytes.min(max_outbox),
            total_bytes: self.max_total_bytes,
        }
    }
}
