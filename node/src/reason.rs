//! The one table of reasons for which sockets leave.

use std::fmt;

use sociable_engine::CloseReason;

/// The reason why a socket left its namespace. [`as_str`](Self::as_str) returns the text that the JavaScript server uses.
///
/// | reason | level | the client reconnects by itself | recoverable | counter |
/// |---|---|---|---|---|
/// | `transport close` | session | yes | yes | `transport_closes` |
/// | `transport error` | session | yes | yes | `protocol_errors` |
/// | `ping timeout` | session | yes | yes | `ping_timeouts` |
/// | `parse error` | session | yes | no | `parse_errors` |
/// | `forced close` | session | yes | yes | `forced_closes` |
/// | `forced server close` | session | yes | yes | `forced_server_closes` |
/// | `slow client` | session | yes | yes | `slow_clients` |
/// | `server shutting down` | session | yes | yes, on another node | `shutdown_closes` |
/// | `session failed` | session | yes | yes | `sessions_failed` |
/// | `client namespace disconnect` | socket | no | no | `client_disconnects` |
/// | `server namespace disconnect` | socket | no | no | `server_disconnects` |
/// | `socket failed` | socket | no | no | `sockets_failed` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server disconnected the socket.
    ServerNamespaceDisconnect,
    /// The socket's actor died of a fault in this library. The client got a disconnect packet.
    SocketFailed,
    /// The whole session ended.
    Session(CloseReason),
}

impl DisconnectReason {
    /// Returns the name of the counter in [`Stats`](crate::Stats) for this reason.
    pub fn metric(self) -> &'static str {
        match self {
            Self::ClientNamespaceDisconnect => "client_disconnects",
            Self::ServerNamespaceDisconnect => "server_disconnects",
            Self::SocketFailed => "sockets_failed",
            Self::Session(reason) => reason.metric(),
        }
    }

    /// Returns the text that the JavaScript server uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
            Self::SocketFailed => "socket failed",
            Self::Session(reason) => reason.as_str(),
        }
    }

    /// Returns whether the socket may be recovered where recovery is on.
    ///
    /// The connection was lost, and neither side meant the socket to leave.
    pub fn is_recoverable(self) -> bool {
        matches!(self, Self::Session(reason) if reason.is_recoverable())
    }

    /// Returns whether the client reconnects by itself: after a lost connection, but not after a disconnect by either side.
    pub fn reconnects(self) -> bool {
        matches!(self, Self::Session(_))
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stats;

    #[test]
    fn table_lists_each_reason_with_an_existing_counter() {
        let table = include_str!("reason.rs");
        let yes_no = |yes| if yes { "yes" } else { "no" };
        let session = [
            CloseReason::TransportClose,
            CloseReason::TransportError,
            CloseReason::PingTimeout,
            CloseReason::ParseError,
            CloseReason::ForcedClose,
            CloseReason::ForcedServerClose,
            CloseReason::SlowClient,
            CloseReason::ServerShuttingDown,
            CloseReason::SessionFailed,
        ];
        let socket =
            [DisconnectReason::ClientNamespaceDisconnect, DisconnectReason::ServerNamespaceDisconnect, DisconnectReason::SocketFailed];
        for reason in session.map(DisconnectReason::Session).into_iter().chain(socket) {
            let row = table.lines().find(|line| line.starts_with(&format!("/// | `{reason}` "))).unwrap();
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            assert_eq!(cells[3], yes_no(reason.reconnects()), "{reason}");
            assert!(cells[4].starts_with(yes_no(reason.is_recoverable())), "{reason}");
            assert_eq!(cells[5].trim_matches('`'), reason.metric(), "{reason}");
            assert!(Stats::default().counters().any(|(name, _)| name == reason.metric()), "{reason}");
        }
    }
}
