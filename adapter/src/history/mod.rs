//! What a client missed while its connection was lost, and what it was before: the ground of connection state recovery.

pub(crate) mod event_log;
mod left;
mod memory;
pub(crate) mod orders;
mod position;
mod stays;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use sociable_protocol::{Frames, Id, NodeTag, Value};

use crate::AdapterError;
use crate::message::{Operation, Room, Target};

pub use left::{LeftRoom, LeftRooms};
pub use memory::MemoryHistory;
pub use position::Position;

/// What an event or a session takes besides its contents, about.
pub(crate) const OVERHEAD: usize = 256;

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

/// An event of the history, or an order: a join, a leave or a disconnect.
#[derive(Debug)]
pub struct Entry {
    /// The namespace.
    pub namespace: ByteString,
    /// The sockets that it is for.
    pub target: Target,
    /// The packet, with its offset. Nothing for an order.
    pub frames: Frames,
    /// The order, if the entry is one.
    pub order: Option<Operation>,
    /// Whether it may be compressed.
    pub compress: bool,
    /// The node that it is of.
    pub publisher: NodeTag,
    /// Its number there.
    pub number: u64,
    /// Whom it can be for.
    pub reach: Reach,
    /// How far a client has got that has it and all before it that this node sent.
    pub reached: Position,
    place: AtomicU64,
}

impl Entry {
    /// It has no shared place yet.
    const PENDING: u64 = u64::MAX;
    /// It will never have one.
    pub(crate) const LOST: u64 = u64::MAX - 1;

    /// An event that this node is about to send. `shared` if it will be given a place among those of the other nodes.
    pub(crate) fn new(
        namespace: ByteString,
        target: Target,
        frames: Frames,
        compress: bool,
        number: u64,
        reached: Position,
        shared: bool,
    ) -> Self {
        let publisher = reached.tag.unwrap_or_else(NodeTag::random);
        let place = AtomicU64::new(if shared { Self::PENDING } else { number });
        Self { namespace, target, frames, order: None, compress, publisher, number, reach: Reach::Everywhere, reached, place }
    }

    /// An order that this node is about to carry out.
    pub(crate) fn order(namespace: ByteString, target: Target, operation: Operation, number: u64, reached: Position, shared: bool) -> Self {
        let entry = Self::new(namespace, target, Frames::text(""), false, number, reached, shared);
        Self { order: Some(operation), ..entry }
    }

    /// An event that can be for these.
    #[cfg(feature = "nats")]
    pub(crate) fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// An event that has its place.
    #[cfg(feature = "nats")]
    pub(crate) fn placed(self, publisher: NodeTag, place: u64) -> Self {
        Self { publisher, place: AtomicU64::new(place), ..self }
    }

    /// Where it stands.
    pub fn mark(&self) -> Position {
        Position { tag: Some(self.publisher), own: self.number, place: self.place.load(Ordering::Acquire) }
    }

    /// It stands here from now on.
    #[cfg(feature = "nats")]
    pub(crate) fn place(&self, place: Option<u64>) {
        // Who comes first is right: the answer to the publisher and the message that all get tell the same.
        let _ = self.place.compare_exchange(Self::PENDING, place.unwrap_or(Self::LOST), Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.place.load(Ordering::Acquire) == Self::PENDING
    }

    /// True if it will never have a place.
    pub(crate) fn is_lost(&self) -> bool {
        self.place.load(Ordering::Acquire) == Self::LOST
    }
}

/// A socket as it is kept for its return.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSession {
    /// The namespace.
    pub namespace: ByteString,
    /// What the client shows to get it back. Nobody else knows it.
    pub pid: Id,
    /// The socket's id.
    pub id: Id,
    /// The rooms that it was in, that of its id not among them, each with the position behind which its events were for this socket: that of
    /// its joining.
    pub rooms: Vec<(Room, Position)>,
    /// The rooms that it has left: what was sent to them before was for this socket.
    pub left_rooms: LeftRooms,
    /// What the application attached to it.
    pub data: Option<Value>,
    /// The position behind which events were for this socket: that of its first connection.
    pub since: Position,
    /// The mark of the last event that was sent to it.
    pub sent: Option<Position>,
    /// Up to here, all events for it were sent.
    pub until: Position,
    /// Positions that its client has shown when it came back before.
    pub shown: Vec<Position>,
    /// Its stays on nodes, where nodes share their history.
    pub past: Vec<Stay>,
    /// When its connection was lost, if it was: see [`History::keeps_living`]. One that is saved again, since its client did not get to be
    /// connected, keeps the time of its loss.
    pub lost: Option<Instant>,
}

/// A time in which a socket was on a node: what the node sent to its own sockets then was for it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The node.
    pub tag: NodeTag,
    /// The number of the node's last event before it came.
    pub from: u64,
    /// The number of the last before it left; the highest there is while it is there, or as long as that is not known.
    pub to: u64,
}

/// What a client that comes back has to be sent.
#[derive(Clone, Debug, Default)]
pub struct Missed {
    /// The events, in their order.
    pub entries: Vec<Arc<Entry>>,
    /// The offsets that they have to be sent with, if not with their own: it depends on what else the client has.
    pub offsets: Vec<String>,
    /// How far the client has got with them.
    pub head: Position,
    /// The rooms of the session after the orders that it missed, as in [`SavedSession::rooms`].
    pub rooms: Vec<(Room, Position)>,
    /// The rooms that it has left, but for those whose events its client is known to have.
    pub left_rooms: LeftRooms,
}

/// Whom an event can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Sockets of any node.
    Everywhere,
    /// Sockets of this node, and those that were when they come back elsewhere.
    Here,
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

/// Keeps events and sessions. [`MemoryHistory`] keeps those of one node; an adapter may bring another, which nodes share.
///
/// # Promises
///
/// * Positions grow by the order of [`append`](Self::append), and `deliver` is called in that order: an event that was delivered before
///   another was appended before it.
/// * A session that was [`save`](Self::save)d is given back by [`take`](Self::take) once at most.
/// * [`missed`](Self::missed) gives all events for a session, or nothing: never some of them.
pub trait History: Send + Sync + Debug + 'static {
    /// Gives an event its place behind all before. `reach` tells whom it can be for, `write` is told the offset that clients have to be shown and gives
    /// the packet, and `deliver` sets out with it before a later event can. None of them may call the history.
    ///
    /// All three run while no session can be saved: a socket that is connected in `reach` is saved later, as one that was here for this event.
    ///
    /// # Errors
    ///
    /// A shared history takes no more for the other nodes. The event was not delivered.
    fn append(
        &self,
        namespace: &ByteString,
        target: Target,
        compress: bool,
        reach: &dyn Fn() -> Reach,
        write: &mut dyn FnMut(&str) -> Frames,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    ) -> Result<(), AdapterError>;

    /// Gives a join, a leave or a disconnect its place among the events. `deliver` carries it out where sockets live, as in
    /// [`append`](Self::append). Sessions whose clients are away obey it when they come back: see [`missed`](Self::missed).
    ///
    /// # Errors
    ///
    /// A shared history takes no more for the other nodes. The order was not delivered.
    fn order(
        &self,
        namespace: &ByteString,
        target: Target,
        operation: Operation,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    ) -> Result<(), AdapterError>;

    /// True if what is appended reaches the other nodes too, and what they append comes to [`Node::keep`](crate::Node::keep). If not, each node
    /// has a history of its own and tells the others its events besides.
    fn is_shared(&self) -> bool {
        false
    }

    /// How far this node has got.
    fn head(&self) -> Position;

    /// The offset that says: all up to here has been received.
    fn offset(&self, position: &Position) -> String;

    /// Returns the events that a session has missed whose client shows this offset. A client without one has received nothing. Orders are obeyed in their place,
    /// whatever the client shows. `None` if the session was put out, if what it missed can't be told completely any more, or is too much, or if the
    /// offset was never given out.
    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed>;

    /// Keeps a session. False if it is too large.
    fn save(&self, session: SavedSession) -> bool;

    /// How often sessions want to be [`save`](Self::save)d while their sockets live, besides soon after each change, if they do: so that the end
    /// of the process loses none.
    fn keeps_living(&self) -> Option<Duration> {
        None
    }

    /// Something is missing of what came until now: who was lost before now can't be told all that it missed.
    fn break_off(&self) {}

    /// A session is over: its client does not come back.
    fn forget(&self, pid: &Id) {
        let _ = pid;
    }

    /// True while a session is kept whose connection was lost.
    fn holds(&self, pid: &Id) -> bool;

    /// Gives a session back, whose client shows this offset, and forgets it.
    fn take(&self, namespace: &str, pid: &Id, offset: Option<&str>) -> BoxFuture<'static, Option<SavedSession>>;

    /// Ends when all that was appended and saved before is kept as well as it is meant to be.
    ///
    /// # Errors
    ///
    /// Some of it is lost for the other nodes.
    fn flushed(&self) -> BoxFuture<'static, Result<(), AdapterError>> {
        ready(Ok(())).boxed()
    }

    /// Forgets what is too old. It is called now and then.
    fn sweep(&self);

    /// How much is kept now.
    fn usage(&self) -> Usage;
}
