//! What a client missed while its connection was lost, and what it was before: the ground of connection state recovery.

mod memory;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use sociable_protocol::{Frames, Id, Value};

use crate::message::{Room, Target};

pub use memory::MemoryHistory;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a session is kept after its connection was lost.
    pub session_age: Duration,
    /// How long an event is kept: longer than a session by the time that may pass until a lost connection is noticed.
    pub event_age: Duration,
    /// The most bytes that one session may have to be sent when it comes back, and the most that its rooms and data may take.
    pub session_bytes: usize,
    /// The most bytes of all events and sessions. What is oldest goes first.
    pub total_bytes: usize,
}

/// An event with its place in the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its place: each has a higher one than all before it.
    pub place: u64,
    /// The namespace.
    pub namespace: ByteString,
    /// The sockets that it is for.
    pub target: Target,
    /// The packet, with its offset.
    pub frames: Frames,
    /// Whether it may be compressed.
    pub compress: bool,
}

/// A socket whose connection was lost, as it is kept for its return.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSession {
    /// The namespace.
    pub namespace: ByteString,
    /// What the client shows to get it back. Nobody else knows it.
    pub pid: Id,
    /// The socket's id.
    pub id: Id,
    /// The rooms that it was in, that of its id not among them, each with the place behind which its events were for this socket: that of
    /// its joining.
    pub rooms: Vec<(Room, u64)>,
    /// What the application attached to it.
    pub data: Option<Value>,
    /// The place behind which events were for this socket: that of its first connection.
    pub since: u64,
    /// The place of the last event that was sent to it.
    pub sent: u64,
    /// Up to this place, all events for it were sent.
    pub until: u64,
    /// When its connection was lost. One that is saved again, since its client did not get to be connected, keeps the time of its loss.
    pub lost: Instant,
}

/// What a client that comes back has to be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Missed {
    /// The events, in their order.
    pub entries: Vec<Arc<Entry>>,
    /// The place of the newest event when they were looked up, whomever that was for.
    pub head: u64,
}

/// How much a history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Events.
    pub events: usize,
    /// Sessions whose clients have not come back yet.
    pub sessions: usize,
    /// What both take, in bytes.
    pub bytes: usize,
}

/// Keeps events and lost sessions. [`MemoryHistory`] keeps those of one node; an adapter may bring another.
///
/// # Promises
///
/// * Places grow by the order of [`append`](Self::append), and `deliver` is called in that order: an event that was delivered before
///   another was appended before it.
/// * A session that was [`save`](Self::save)d is given back by [`take`](Self::take) once at most.
/// * [`missed`](Self::missed) gives all events for a session, or nothing: never some of them.
pub trait History: Send + Sync + Debug + 'static {
    /// Gives an event the next place. `write` is told the offset that clients have to be shown and gives the packet; `deliver` sets out
    /// with it before a later event can. Neither may call the history.
    fn append(
        &self,
        namespace: &ByteString,
        target: Target,
        compress: bool,
        write: &mut dyn FnMut(&str) -> Frames,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    );

    /// The offset that says: all up to this place has been received.
    fn offset(&self, place: u64) -> String;

    /// What a session has missed whose client shows this offset. A text that is no offset of this history is none at all: the client
    /// has received nothing. `None` if it can't be told completely any more, or is too much.
    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed>;

    /// Keeps a session. False if it is too large.
    fn save(&self, session: SavedSession) -> bool;

    /// True while a session is kept.
    fn holds(&self, pid: &Id) -> bool;

    /// Gives a session back and forgets it.
    fn take(&self, namespace: &str, pid: &Id) -> BoxFuture<'static, Option<SavedSession>>;

    /// Forgets what is too old. It is called now and then.
    fn sweep(&self);

    /// How much is kept now.
    fn usage(&self) -> Usage;
}
