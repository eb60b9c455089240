//! Why sessions and sockets end: the one table of reasons.

use std::fmt;

/// Why an Engine.IO session was closed.
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
}

impl CloseReason {
    /// True if the client did not want this, nor broke the protocol: it may come back to its session where recovery is on.
    pub fn is_recoverable(self) -> bool {
        self != Self::ParseError
    }

    /// The text that the JavaScript server uses.
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
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a socket left its namespace. [`as_str`](Self::as_str) gives the text that the JavaScript server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server put the socket out.
    ServerNamespaceDisconnect,
    /// The socket's actor died of a fault in this library. The client was told to leave the namespace.
    SocketFailed,
    /// The whole session ended.
    Session(CloseReason),
}

impl DisconnectReason {
    /// The text that the JavaScript server uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
            Self::SocketFailed => "socket failed",
            Self::Session(reason) => reason.as_str(),
        }
    }

    /// True if the socket may be recovered where recovery is on: its connection was lost, and neither side meant it to leave.
    pub fn is_recoverable(self) -> bool {
        matches!(self, Self::Session(reason) if reason.is_recoverable())
    }

    /// True if the client comes back by itself: it does so whenever it lost its connection, but not after it left or was put out.
    pub fn reconnects(self) -> bool {
        matches!(self, Self::Session(_))
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
