//! The delivery progress of a socket.

use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicBool;

use sociable_adapter::{LeftRooms, Position, Room};
use sociable_protocol::Id;
use sociable_protocol::maps::Map;

/// The state of a socket's recovery that all threads share.
#[derive(Debug)]
pub(crate) struct RecoveryHandle {
    /// The secret by which its client claims the session.
    pub(crate) pid: Id,
    pub(crate) recovered: bool,
    /// True once the session was saved as lost.
    pub(crate) lost: AtomicBool,
    /// True if the session must not be saved again: another node has it, or events for it were lost.
    pub(crate) void: AtomicBool,
    /// True once the session is being saved as lost. Events for this socket alone may then concern another node.
    pub(crate) leaves: AtomicBool,
}

/// The delivery progress of a socket, on its own thread.
#[derive(Debug, Default)]
pub(crate) struct DeliveryProgress {
    /// The position after which events were for this socket.
    pub(crate) since: Cell<Position>,
    /// The last event that was sent.
    pub(crate) sent: Cell<Option<Position>>,
    /// The position up to which a recovered socket was served. Events before it that are delivered late are skipped.
    pub(crate) served: Cell<Position>,
    /// The positions that the client showed when it returned. Events that they cover are delivered already.
    pub(crate) shown: RefCell<Vec<Position>>,
    /// The progress at the first event that the socket refused.
    pub(crate) refused: Cell<Option<Position>>,
    /// The position at which the socket joined each of its rooms.
    pub(crate) joined: RefCell<Map<Room, Position>>,
    /// The rooms that the socket left last.
    pub(crate) left_rooms: RefCell<LeftRooms>,
    /// True if the socket has changed since it was last saved, where live sessions are saved.
    pub(crate) changed: Cell<bool>,
}

impl DeliveryProgress {
    /// Records that the socket took or refused an event, on a thread whose cursor was `before`.
    pub(crate) fn count(&self, mark: Position, before: Position, taken: bool) {
        match self.refused.get() {
            Some(_) => {}
            None if taken => self.sent.set(Some(mark)),
            None => self.refused.set(Some(self.reached(before))),
        }
    }

    /// Returns whether the socket got this event earlier, or is younger than the event.
    pub(crate) fn has_got(&self, mark: &Position) -> bool {
        self.served.get().covers(mark) || self.since.get().covers(mark) || self.shown.borrow().iter().any(|shown| shown.covers(mark))
    }

    /// Returns the socket's progress on a thread with this cursor.
    pub(crate) fn reached(&self, cursor: Position) -> Position {
        self.served.get().later(cursor)
    }

    /// Returns the position up to which everything was sent.
    pub(crate) fn until(&self, cursor: Position) -> Position {
        self.refused.get().unwrap_or_else(|| self.reached(cursor))
    }
}
