//! The reasons why sessions end.

use std::fmt;

/// The reason why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed the connection, or it was lost.
    TransportClose,
    /// The client broke the rules of the transport: two polls at once, a frame that is malformed or too long.
    TransportError,
    /// No pong came in time.
    PingTimeout,
    /// A packet of the client could not be decoded.
    ParseError,
    /// The server closed the session.
    ForcedClose,
    /// The server closed a long-polling session that had no poll waiting.
    ForcedServerClose,
    /// The client was too slow, and its outbox overflowed.
    SlowClient,
    /// The server is stopping.
    ServerShuttingDown,
    /// The session's actor died of a fault in this library, or in the layer above it.
    SessionFailed,
}

impl CloseReason {
    /// Returns whether the session may be recovered where recovery is on: unless the client broke the packet format.
    pub fn is_recoverable(self) -> bool {
        self != Self::ParseError
    }

    /// Returns the name of the counter in [`Stats`](crate::EngineStats) for this reason.
    ///
    /// Some counters also count other events: `protocol_errors` and `parse_errors` include those of the layer above.
    pub fn metric(self) -> &'static str {
        match self {
            Self::TransportClose => "transport_closes",
            Self::TransportError => "protocol_errors",
            Self::PingTimeout => "ping_timeouts",
            Self::ParseError => "parse_errors",
            Self::ForcedClose => "forced_closes",
            Self::ForcedServerClose => "forced_server_closes",
            Self::SlowClient => "slow_clients",
            Self::ServerShuttingDown => "shutdown_closes",
            Self::SessionFailed => "sessions_failed",
        }
    }

    /// Returns the text that the JavaScript server uses, or one of this library where it has none.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ForcedClose => "forced close",
            Self::ForcedServerClose => "forced server close",
            Self::SlowClient => "slow client",
            Self::ServerShuttingDown => "server shutting down",
            Self::SessionFailed => "session failed",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
