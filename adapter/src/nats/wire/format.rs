//! The parts of the format: envelopes, records, and their numbers.

use bytes::Bytes;
use bytestring::ByteString;
use sociable_protocol::parser::Limits;
use sociable_protocol::{NodeTag, TraceContext};

use crate::message::{Answer, Message, Request, Target};

/// The lowest and the highest version of the format that are read here. The first byte of every envelope is its version. The head is the same in all
/// versions.
pub(crate) const VERSIONS: (u8, u8) = (1, 1);
/// The length of the head of an envelope.
pub(crate) const HEAD: usize = 1 + 4 + 8 + 8 + 8;

/// Packets between nodes are as their applications made them: more may be attached than a client may attach.
pub(crate) const LIMITS: Limits = Limits { max_attachments: 65_536, max_depth: 1_000 };

/// A process on the bus: its tag, and a number that is new at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Publisher {
    pub(crate) tag: NodeTag,
    pub(crate) epoch: u64,
}

/// The publisher of an envelope, and the envelope's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) publisher: Publisher,
    /// The number among all envelopes of the publisher.
    pub(crate) order: u64,
    /// The number among those to the same receiver, from 1 on; 0 if they are not counted.
    pub(crate) sequence: u64,
}

/// Returns the highest version that all read, if there is one.
pub(crate) fn common_version(mine: (u8, u8), others: impl Iterator<Item = (u8, u8)>) -> Option<u8> {
    let (lowest, highest) = others.fold(mine, |(low, high), (lowest, highest)| (low.max(lowest), high.min(highest)));
    (lowest <= highest).then_some(highest)
}

/// A record of an envelope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// A message that every receiver carries out.
    Message(Message),
    /// An order of the shared history, with its number at its node.
    Order(u64, Message),
    /// An event of the shared history.
    Persisted(PersistedEvent),
    /// Earlier events of the publisher are lost: the server did not persist them in time.
    Lost,
    /// A question with its number.
    Request(u64, Request),
    /// The asker has stopped waiting for the answers to this question.
    Cancel(u64),
    /// An answer to this question.
    Answer(u64, Answer),
    /// The last answer to this question was sent.
    End(u64),
    /// This question is not answered, or not wholly.
    Refused(u64),
}

impl Record {
    /// Returns the record with its trace context. Kinds that start no span drop it.
    pub(crate) fn traced(mut self, trace: Option<Box<TraceContext>>) -> Self {
        match &mut self {
            Self::Message(message) | Self::Order(_, message) => message.trace = trace,
            Self::Request(_, request) => request.trace = trace,
            _ => {}
        }
        self
    }
}

/// An event of the shared history, as its node encoded it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PersistedEvent {
    /// The event's number at that process.
    pub(crate) number: u64,
    /// The start of the offset in the frames, if there is one.
    pub(crate) at: Option<usize>,
    pub(crate) namespace: ByteString,
    pub(crate) target: Target,
    pub(crate) compress: bool,
    /// Not decoded yet.
    pub(crate) frames: Bytes,
}

pub(super) mod kind {
    pub(crate) const EMIT: u8 = 1;
    pub(crate) const JOIN: u8 = 2;
    pub(crate) const LEAVE: u8 = 3;
    pub(crate) const DISCONNECT: u8 = 4;
    pub(crate) const SERVER_EVENT: u8 = 5;
    pub(crate) const PERSISTED: u8 = 6;
    pub(crate) const LOST: u8 = 7;
    pub(crate) const ASK_ACK: u8 = 16;
    pub(crate) const ASK_SOCKETS: u8 = 17;
    pub(crate) const ASK_SERVERS: u8 = 18;
    pub(crate) const CANCEL: u8 = 19;
    pub(crate) const CLIENTS: u8 = 32;
    pub(crate) const ACK: u8 = 33;
    pub(crate) const GONE: u8 = 34;
    pub(crate) const SOCKETS: u8 = 35;
    pub(crate) const SERVER_ACK: u8 = 36;
    pub(crate) const END: u8 = 37;
    pub(crate) const REFUSED: u8 = 38;
}

pub(super) const VOLATILE: u8 = 1;
pub(super) const COMPRESS: u8 = 2;
/// The event has no offset.
pub(super) const NOWHERE: u32 = u32::MAX;
