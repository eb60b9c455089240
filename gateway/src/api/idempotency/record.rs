//! Records of requests as bytes: a line of JSON, then the body of the answer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sociable::NodeTag;

use super::{Outcome, StoredAnswer};

/// A request in the bucket of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) head: Head,
    body: Bytes,
}

/// The state of a request, without the body of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The SHA-256 of the request.
    pub(super) fingerprint: [u8; 32],
    /// The node that runs the request.
    pub(super) owner: NodeTag,
    /// The number of the request on that node.
    pub(super) number: u64,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Running,
    /// Finished, with this status.
    Done(u16),
    Unknown,
}

impl Record {
    pub(super) fn running(fingerprint: [u8; 32], owner: NodeTag, number: u64) -> Self {
        Self { head: Head { fingerprint, owner, number, state: State::Running }, body: Bytes::new() }
    }

    /// Returns the record of the same request with an outcome.
    pub(super) fn with(&self, outcome: Outcome) -> Self {
        let (state, body) = match outcome {
            Outcome::Answer(StoredAnswer { status, body }) => (State::Done(status), body),
            Outcome::Unknown => (State::Unknown, Bytes::new()),
        };
        Self { head: Head { state, ..self.head.clone() }, body }
    }

    /// Returns the outcome, or `None` while the request runs.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self.head.state {
            State::Running => None,
            State::Done(status) => Some(Outcome::Answer(StoredAnswer { status, body: self.body.clone() })),
            State::Unknown => Some(Outcome::Unknown),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        // Only a map with other keys than strings fails.
        let mut bytes = serde_json::to_vec(&self.head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// Returns the record of these bytes. `None` for those of another version.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        Some(Self { head: serde_json::from_slice(&bytes[..end]).ok()?, body: bytes.slice(end + 1..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_the_same_after_a_round_trip() {
        let running = Record::running([9; 32], NodeTag::random(), 7);
        let answer = StoredAnswer { status: 200, body: Bytes::from_static(b"{\"a\":\n1}") };
        let done = running.with(Outcome::Answer(answer.clone()));
        assert_eq!(done.outcome(), Some(Outcome::Answer(answer)));
        for record in [running.clone(), done, running.with(Outcome::Unknown)] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        assert_eq!(Record::decode(&Bytes::from_static(b"{}\n")), None);
        assert_eq!(Record::decode(&Bytes::new()), None);
    }
}
