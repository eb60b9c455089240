//! Events and sessions for connection state recovery: the missed events and former state of a disconnected client.

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
    /// The time for which a session is recoverable after its connection was lost.
    pub session_age: Duration,
    /// The age of the oldest events: `session_age` plus the time until a lost connection is noticed.
    pub event_age: Duration,
    /// The most bytes of events for a returning session, and the most bytes of its rooms and data.
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
    /// The number of the event at that node.
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

    /// Returns an event that this node is about to send. If it is `shared`, it will get a place among those of the
    /// other nodes.
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

    /// Returns an order that this node is about to carry out.
    pub(crate) fn order(order: Message, number: u64, reached: Position, shared: bool) -> Self {
        let Message { namespace, target, operation, .. } = order;
        let entry = Self::new(namespace, target, Frames::text(""), false, number, reached, shared);
        Self { order: Some(operation), ..entry }
    }

    /// Returns the same entry for these receivers.
    #[cfg(feature = "nats")]
    pub(crate) fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Returns the same entry at a shared place.
    #[cfg(feature = "nats")]
    pub(crate) fn placed(self, publisher: NodeTag, place: u64) -> Self {
        Self { publisher, place: AtomicU64::new(place), ..self }
    }

    /// Returns the position of this entry.
    pub fn mark(&self) -> Position {
        Position { tag: Some(self.publisher), own: self.number, place: self.place.load(Ordering::Acquire) }
    }

    /// Sets the shared place: `None` if the entry will never have one.
    #[cfg(feature = "nats")]
    pub(crate) fn place(&self, place: Option<u64>) {
        // The first place is right: the answer to the publisher and the message to all name the same one.
        let _ = self.place.compare_exchange(Self::PENDING, place.unwrap_or(Self::LOST), Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.place.load(Ordering::Acquire) == Self::PENDING
    }

    /// Returns true if the entry will never have a place.
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
    /// The secret by which the client claims the session.
    pub pid: Id,
    /// The socket's id.
    pub id: Id,
    /// The current rooms, each with the position of its joining. Later events of the room were for this socket. The
    /// room of the socket's id is among them only if `own_is_listed`.
    pub rooms: Vec<(Room, Position)>,
    /// True if the socket has left the room of its id at any time. That room is then listed like all others. If it is
    /// not, the socket has been in it since its first connection.
    pub own_is_listed: bool,
    /// The rooms that the socket left. Events to them before were for this socket.
    pub left_rooms: LeftRooms,
    /// The data that the application attached.
    pub data: Option<Value>,
    /// The position of the socket's first connection. Later events were for this socket.
    pub since: Position,
    /// The position of the last event that was sent to the client.
    pub sent: Option<Position>,
    /// The position up to which all events for the client were sent.
    pub until: Position,
    /// Positions that the client showed at earlier returns.
    pub shown: Vec<Position>,
    /// The stays on nodes, in a shared history.
    pub past: Vec<Stay>,
    /// The time of the connection's loss: see [`History::refresh_interval`]. A recovered session whose client did not
    /// connect keeps its first time of loss.
    pub lost: Option<Instant>,
}

/// The stay of a socket on a node. Events for the node's own sockets were for this socket meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The node.
    pub tag: NodeTag,
    /// The number of the node's last event before the socket came.
    pub from: u64,
    /// The number of the last event before the socket left. The number is `u64::MAX` during the stay, or while unknown.
    pub to: u64,
}

/// The events and rooms of a returning client.
#[derive(Clone, Debug, Default)]
pub struct Missed {
    /// The events, in their order.
    pub entries: Vec<Arc<Entry>>,
    /// The offsets that the events are sent with, empty for their own. They depend on the other events of the client.
    pub offsets: Vec<String>,
    /// The position of a client that has them.
    pub head: Position,
    /// The rooms of the session after the orders that it missed, as in [`SavedSession::rooms`].
    pub rooms: Vec<(Room, Position)>,
    /// As [`SavedSession::own_is_listed`], after these orders.
    pub own_is_listed: bool,
    /// The rooms that the socket left, except those whose events its client has.
    pub left_rooms: LeftRooms,
}

/// The nodes whose sockets may receive an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Sockets of any node.
    Everywhere,
    /// Sockets of this node, and its former sockets when they return elsewhere.
    Here,
}

/// The contents of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of events.
    pub events: usize,
    /// The number of sessions whose clients have not returned.
    pub sessions: usize,
    /// The memory of events and sessions, in bytes.
    pub bytes: usize,
}

/// The events and sessions for recovery. [`MemoryHistory`] has those of one node. An adapter may bring a history that
/// nodes share.
///
/// # Promises
///
/// * Positions grow in the order of [`append`](Self::append), and `deliver` is called in that order.
/// * A [`save`](Self::save)d session is returned by [`claim_session`](Self::claim_session) at most once.
/// * [`missed`](Self::missed) returns all missed events of a session, or `None`: never a part of them.
/// * Every call may come from any thread, at the same time as others.
pub trait History: Send + Sync + Debug + 'static {
    /// Appends an event. `deliver` starts its delivery before a later event can.
    ///
    /// Neither `deliver` nor a function of the event may call the history. No session is saved while they run. A socket
    /// that is connected in `reach` is therefore saved later, as one that was present for this event.
    ///
    /// # Errors
    ///
    /// A shared history can't queue more for the other nodes. The event was not delivered.
    fn append(&self, event: NewEvent<'_>, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError>;

    /// Appends an order: a join, a leave or a disconnect. `deliver` carries it out where sockets live, as in
    /// [`append`](Self::append). Sessions of absent clients follow it at their return: see [`missed`](Self::missed).
    ///
    /// # Errors
    ///
    /// A shared history can't queue more for the other nodes. The order was not delivered.
    fn append_order(&self, order: Message, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError>;

    /// Returns true if appended events reach the other nodes, and theirs come to
    /// [`Node::deliver_persisted`](crate::Node::deliver_persisted). Otherwise each node has its own history, and also
    /// publishes its events.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns the position of this node.
    fn head(&self) -> Position;

    /// Returns the offset of a client that has all events up to a position.
    fn offset(&self, position: &Position) -> String;

    /// Returns the missed events of a session whose client shows this offset. A client without an offset has received
    /// nothing. Orders apply in their place, whatever the client shows.
    ///
    /// Returns `None` if the session was disconnected, or if its events are incomplete or too many. A forged offset
    /// gives `None` too.
    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed>;

    /// Saves a session. Returns false if it is too large.
    fn save(&self, session: SavedSession) -> bool;

    /// Returns the interval at which living sessions are [`save`](Self::save)d, besides soon after each change. `None`
    /// saves them at their loss alone: the end of the process loses them.
    fn refresh_interval(&self) -> Option<Duration> {
        None
    }

    /// Marks the events up to now as incomplete. Sessions that were lost before are not recovered.
    fn mark_incomplete(&self) {}

    /// Removes a session whose client will not return.
    fn forget(&self, pid: &Id) {
        let _ = pid;
    }

    /// Returns true if a disconnected session can be recovered.
    fn holds(&self, pid: &Id) -> bool;

    /// Removes and returns a session whose client shows this offset. At most one call returns it.
    fn claim_session(&self, namespace: &str, pid: &Id, offset: Option<&str>) -> BoxFuture<'static, Option<SavedSession>>;

    /// Waits until all earlier events and sessions are persisted, if they are to be.
    ///
    /// # Errors
    ///
    /// Some of them are lost for the other nodes.
    fn flushed(&self) -> BoxFuture<'static, Result<(), AdapterError>> {
        ready(Ok(())).boxed()
    }

    /// Drops events and sessions that are too old. The node calls this from time to time.
    fn sweep(&self);

    /// Returns the size of the contents.
    fn usage(&self) -> Usage;
}
