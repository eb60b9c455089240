//! Events and sessions for connection state recovery: what a client missed while its connection was lost, and what it was before.

pub(crate) mod event_log;
mod left;
mod memory;
pub(crate) mod orders;
mod position;
mod stays;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use sociable_protocol::{Frames, Id, NodeTag, TraceContext, Value};

use crate::AdapterError;
use crate::message::{Message, Operation, Room, Target};

pub use left::{LeftRoom, LeftRooms};
pub use memory::MemoryHistory;
pub use position::Position;

/// The approximate memory of an event or a session besides its contents.
pub(crate) const OVERHEAD: usize = 256;

/// Bounds of a history in bytes and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a session is recoverable after its connection was lost.
    pub session_age: Duration,
    /// The age of the oldest events: longer than that of a session by the time until a lost connection is noticed.
    pub event_age: Duration,
    /// The most bytes of events that a returning session is sent, and the most that its rooms and data take.
    pub session_bytes: usize,
    /// The most bytes of all events and sessions. The oldest are dropped first.
    pub total_bytes: usize,
}

/// An event of the history, or an order: a join, a leave or a disconnect.
#[derive(Debug)]
pub struct Entry {
    /// The namespace.
    pub namespace: ByteString,
    /// The receivers.
    pub target: Target,
    /// The packet with its offset, empty for an order.
    pub frames: Frames,
    /// The order, if the entry is one.
    pub order: Option<Operation>,
    /// True if it may be compressed.
    pub compress: bool,
    /// The node that sent it.
    pub publisher: NodeTag,
    /// Its number at that node.
    pub number: u64,
    /// The nodes whose sockets may receive it.
    pub reach: Reach,
    /// The position of a client that has this entry and all before it of this node.
    pub reached: Position,
    place: AtomicU64,
}

impl Entry {
    /// The entry has no shared place yet.
    const PENDING: u64 = u64::MAX;
    /// The entry will never have a shared place.
    pub(crate) const LOST: u64 = u64::MAX - 1;

    /// An event that this node is about to send. If it is `shared`, it will get a place among those of the other nodes.
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
    pub(crate) fn order(order: Message, number: u64, reached: Position, shared: bool) -> Self {
        let Message { namespace, target, operation, .. } = order;
        let entry = Self::new(namespace, target, Frames::text(""), false, number, reached, shared);
        Self { order: Some(operation), ..entry }
    }

    /// The same entry for these receivers.
    #[cfg(feature = "nats")]
    pub(crate) fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The same entry at a shared place.
    #[cfg(feature = "nats")]
    pub(crate) fn placed(self, publisher: NodeTag, place: u64) -> Self {
        Self { publisher, place: AtomicU64::new(place), ..self }
    }

    /// Returns its position.
    pub fn mark(&self) -> Position {
        Position { tag: Some(self.publisher), own: self.number, place: self.place.load(Ordering::Acquire) }
    }

    /// Sets its shared place, `None` if it will never have one.
    #[cfg(feature = "nats")]
    pub(crate) fn place(&self, place: Option<u64>) {
        // The first is right: the answer to the publisher and the message to all name the same place.
        let _ = self.place.compare_exchange(Self::PENDING, place.unwrap_or(Self::LOST), Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.place.load(Ordering::Acquire) == Self::PENDING
    }

    /// Returns true if it will never have a place.
    pub(crate) fn is_lost(&self) -> bool {
        self.place.load(Ordering::Acquire) == Self::LOST
    }
}

/// An event that is about to be appended to a history.
pub struct NewEvent<'a> {
    /// The namespace.
    pub namespace: &'a ByteString,
    /// The receivers.
    pub target: Target,
    /// True if it may be compressed.
    pub compress: bool,
    /// Returns the nodes whose sockets may receive it.
    pub reach: &'a dyn Fn() -> Reach,
    /// Returns the packet with the offset that clients are shown.
    pub write: &'a mut dyn FnMut(&str) -> Frames,
    /// The span that sends it, if it is traced. A shared history brings it to the other nodes.
    pub trace: Option<Box<TraceContext>>,
}

impl Debug for NewEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, target, compress, .. } = self;
        f.debug_struct("NewEvent").field("namespace", namespace).field("target", target).field("compress", compress).finish_non_exhaustive()
    }
}

/// A socket that can be recovered.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSession {
    /// The namespace.
    pub namespace: ByteString,
    /// The secret by which the client gets it back.
    pub pid: Id,
    /// The socket's id.
    pub id: Id,
    /// The rooms that it was in, except that of its id, each with the position of its joining. Events of the room behind it were for this socket.
    pub rooms: Vec<(Room, Position)>,
    /// The rooms that it has left. Events to them before were for this socket.
    pub left_rooms: LeftRooms,
    /// The data that the application attached.
    pub data: Option<Value>,
    /// The position of its first connection: events behind it were for this socket.
    pub since: Position,
    /// The position of the last event that was sent to it.
    pub sent: Option<Position>,
    /// The position up to which all events for it were sent.
    pub until: Position,
    /// Positions that its client showed at earlier returns.
    pub shown: Vec<Position>,
    /// Its stays on nodes, where nodes share their history.
    pub past: Vec<Stay>,
    /// The time when its connection was lost, if it was: see [`History::refresh_interval`]. A session that is saved again, since its client did not
    /// connect, has its first time of loss.
    pub lost: Option<Instant>,
}

/// The stay of a socket on a node: events for the node's own sockets were for it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The node.
    pub tag: NodeTag,
    /// The number of the node's last event before it came.
    pub from: u64,
    /// The number of the last event before it left, `u64::MAX` while it is there or as long as that is unknown.
    pub to: u64,
}

/// The events and rooms of a returning client.
#[derive(Clone, Debug, Default)]
pub struct Missed {
    /// The events, in their order.
    pub entries: Vec<Arc<Entry>>,
    /// The offsets that they are sent with, empty if with their own: they depend on what else the client has.
    pub offsets: Vec<String>,
    /// The position of a client that has them.
    pub head: Position,
    /// The rooms of the session after the orders that it missed, as in [`SavedSession::rooms`].
    pub rooms: Vec<(Room, Position)>,
    /// The rooms that it has left, except those whose events its client is known to have.
    pub left_rooms: LeftRooms,
}

/// The nodes whose sockets may receive an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Sockets of any node.
    Everywhere,
    /// Sockets of this node, and those that were when they come back elsewhere.
    Here,
}

/// The contents of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of events.
    pub events: usize,
    /// The number of sessions whose clients have not come back yet.
    pub sessions: usize,
    /// The memory of both, in bytes.
    pub bytes: usize,
}

/// Events and sessions for recovery. [`MemoryHistory`] has those of one node. An adapter may bring one that nodes share.
///
/// # Promises
///
/// * Positions grow in the order of [`append`](Self::append), and `deliver` is called in that order.
/// * A [`save`](Self::save)d session is returned by [`claim_session`](Self::claim_session) at most once.
/// * [`missed`](Self::missed) returns all events for a session, or none: never some of them.
pub trait History: Send + Sync + Debug + 'static {
    /// Appends an event. `deliver` starts its delivery before a later event can. Neither it nor a function of the event may call the history.
    ///
    /// All of them run while no session can be saved: a socket that is connected in `reach` is saved later, as one that was here for this event.
    ///
    /// # Errors
    ///
    /// A shared history can't queue more for the other nodes. The event was not delivered.
    fn append(&self, event: NewEvent<'_>, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError>;

    /// Appends an order: a join, a leave or a disconnect. `deliver` carries it out where sockets live, as in [`append`](Self::append). Sessions whose
    /// clients are away obey it when they come back: see [`missed`](Self::missed).
    ///
    /// # Errors
    ///
    /// A shared history can't queue more for the other nodes. The order was not delivered.
    fn append_order(&self, order: Message, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError>;

    /// Returns true if appended events reach the other nodes, and theirs come to [`Node::deliver_persisted`](crate::Node::deliver_persisted). Otherwise each node has its own
    /// history, and publishes its events besides.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns the position of this node.
    fn head(&self) -> Position;

    /// Returns the offset of a client that has received all up to a position.
    fn offset(&self, position: &Position) -> String;

    /// Returns the events that a session has missed whose client shows this offset. A client without one has received nothing. Orders are obeyed in
    /// their place, whatever the client shows.
    ///
    /// `None` if the session was disconnected, if its events are incomplete or too many, or if the offset was never given out.
    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed>;

    /// Saves a session. Returns false if it is too large.
    fn save(&self, session: SavedSession) -> bool;

    /// Returns the interval at which living sessions are [`save`](Self::save)d, besides soon after each change. `None` if they are saved only when
    /// they are lost: then the end of the process loses them.
    fn refresh_interval(&self) -> Option<Duration> {
        None
    }

    /// Notes that events up to now are incomplete: sessions that were lost before are not recovered.
    fn mark_incomplete(&self) {}

    /// Removes a session: its client does not come back.
    fn forget(&self, pid: &Id) {
        let _ = pid;
    }

    /// Returns true if a session can be recovered whose connection was lost.
    fn holds(&self, pid: &Id) -> bool;

    /// Removes a session whose client shows this offset, and returns it.
    fn claim_session(&self, namespace: &str, pid: &Id, offset: Option<&str>) -> BoxFuture<'static, Option<SavedSession>>;

    /// Waits until all that was appended and saved before is persisted, if it is to be.
    ///
    /// # Errors
    ///
    /// Some of it is lost for the other nodes.
    fn flushed(&self) -> BoxFuture<'static, Result<(), AdapterError>> {
        ready(Ok(())).boxed()
    }

    /// Drops what is too old. The node calls it now and then.
    fn sweep(&self);

    /// Returns the contents.
    fn usage(&self) -> Usage;
}
