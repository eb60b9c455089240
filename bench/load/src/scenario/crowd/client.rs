//! One client of a crowd.

use serde_json::Value;

use crate::backoff::Backoff;
use crate::sequence::Sequence;

/// The way of a client towards its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client has no connection, or one without a session.
    #[default]
    Away,
    /// The CONNECT packet waits for its answer.
    Joining,
    /// The first question of the session waits for its answer.
    Asking,
    /// The server has answered a question of this session.
    Served,
    /// The server has dismissed the client, which stays away as `socket.io-client` does.
    Dismissed,
}

/// A client with what it knows of its session.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) phase: Phase,
    /// The connections so far. Timers of earlier ones are void.
    pub(super) life: u32,
    pub(super) backoff: Backoff,
    /// The time at which the client was lost, until it is served again.
    pub(super) lost: Option<u64>,
    /// The time of the last attempt.
    pub(super) attempted: u64,
    /// True if an attempt since the loss met a listener.
    pub(super) has_met: bool,
    /// The end of the time without a network.
    pub(super) offline_until: u64,
    /// The time at which the client gives its connection up.
    pub(super) deadline: u64,
    /// The time without a ping after which the connection is dead.
    pub(super) patience: u64,
    /// True if the session is the one that the client had.
    pub(super) is_recovered: bool,
    /// The times that the first question of the session was asked.
    pub(super) questions: u32,
    pub(super) sequence: Sequence,
    /// The private id of the session, if the server has recovery.
    pid: Option<String>,
    /// The last offset as JSON text without its quotes.
    offset: Option<Vec<u8>>,
}

impl Client {
    /// Notes the ping interval and timeout of a session.
    pub(super) fn note_handshake(&mut self, handshake: &[u8]) {
        let handshake: Value = serde_json::from_slice(handshake).unwrap_or_default();
        let millis = |name: &str| handshake[name].as_u64().unwrap_or_default();
        self.patience = (millis("pingInterval") + millis("pingTimeout")) * 1_000_000;
    }

    /// Returns the CONNECT packet, with the place of the client in its last session.
    pub(super) fn connect_packet(&self) -> Vec<u8> {
        let mut packet = b"40".to_vec();
        if let Some(pid) = &self.pid {
            packet.extend_from_slice(format!("{{\"pid\":{}", Value::from(pid.as_str())).as_bytes());
            if let Some(offset) = &self.offset {
                packet.extend_from_slice(b",\"offset\":\"");
                packet.extend_from_slice(offset);
                packet.push(b'"');
            }
            packet.push(b'}');
        }
        packet
    }

    /// Notes the answer to the CONNECT packet. Returns whether the session is the last one.
    pub(super) fn note_connect(&mut self, answer: &[u8]) -> bool {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let pid = answer["pid"].as_str().map(str::to_owned);
        let is_recovered = pid.is_some() && pid == self.pid;
        self.pid = pid;
        is_recovered
    }

    /// Notes the offset of a message.
    pub(super) fn note_offset(&mut self, offset: &[u8]) {
        if self.pid.is_some() {
            let last = self.offset.get_or_insert_default();
            last.clear();
            last.extend_from_slice(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_asks_for_its_last_session() {
        let mut client = Client::default();
        assert_eq!(client.connect_packet(), b"40");
        assert!(!client.note_connect(br#"{"sid":"a","pid":"p"}"#), "the first session is no recovered one");
        assert_eq!(client.connect_packet(), br#"40{"pid":"p"}"#);
        client.note_offset(b"7");
        assert_eq!(client.connect_packet(), br#"40{"pid":"p","offset":"7"}"#);
        assert!(client.note_connect(br#"{"sid":"b","pid":"p"}"#));
        assert!(!client.note_connect(br#"{"sid":"c","pid":"q"}"#));
    }

    #[test]
    fn client_has_no_session_without_recovery() {
        let mut client = Client::default();
        assert!(!client.note_connect(br#"{"sid":"a"}"#) && !client.note_connect(br#"{"sid":"b"}"#));
        client.note_offset(b"text of an application");
        assert_eq!(client.connect_packet(), b"40");
    }

    #[test]
    fn patience_is_the_interval_and_the_timeout() {
        let mut client = Client::default();
        client.note_handshake(br#"{"sid":"a","pingInterval":25000,"pingTimeout":20000}"#);
        assert_eq!(client.patience, 45_000_000_000);
    }
}
