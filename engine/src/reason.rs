//! The reasons for which sessions end.

use std::fmt;

/// The reason for which a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed the connection, or it was lost.
    TransportClose,
    /// The client broke the rules of the transport: two polls at once, a frame that is malformed or too long.
    TransportError,
    /// No pong came in time.
    PingTimeout,
    /// A packet of the client could not be read.
    ParseError,
    /// The server closed the session.
    ForcedClose,
    /// The server closed a long-polling session that had no poll waiting.
    ForcedServerClose,
    /// The client did not read what was sent, and its outbox overflowed.
    SlowClient,
    /// The server is stopping.
    ServerShuttingDown,
    /// The session's actor died of a fault in this library, or in the layer above it.
    SessionFailed,
}

impl CloseReason {
    /// Returns true if the client did not want this, nor broke the protocol: it may come back to its session where recovery is on.
    pub fn is_recoverable(self) -> bool {
        self != Self::ParseError
    }

    /// Returns the name of the counter of [`Stats`](crate::EngineStats) that tells how often it happened. Some count more than sessions: `protocol_errors` and
    /// `parse_errors` those of the layer above too.
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

    /// Returns the text that the JavaScript server uses, where it has one.
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
