//! How far a socket has been served.

use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicBool;

use sociable_adapter::{LeftRooms, Position, Room};
use sociable_protocol::Id;
use sociable_protocol::maps::Map;

/// What a socket has of recovery, for all threads.
#[derive(Debug)]
pub(crate) struct RecoveryHandle {
    /// What its client shows to come back.
    pub(crate) pid: Id,
    pub(crate) recovered: bool,
    /// It was saved for its return.
    pub(crate) lost: AtomicBool,
    /// It is not saved any more: another node has it, or what was promised to it can't be held.
    pub(crate) void: AtomicBool,
    /// Its session is being saved as lost, or was. What is sent to it alone from now on may be for another node.
    pub(crate) leaves: AtomicBool,
}

/// How far a socket has been served, for its own thread.
#[derive(Debug, Default)]
pub(crate) struct DeliveryProgress {
    /// Behind this position, events were for this socket.
    pub(crate) since: Cell<Position>,
    /// The last event that was sent to it.
    pub(crate) sent: Cell<Option<Position>>,
    /// Up to here it was served when it came back: what is delivered late is not for it.
    pub(crate) served: Cell<Position>,
    /// What its client has shown when it came back: it has all that is covered by that, too.
    pub(crate) shown: RefCell<Vec<Position>>,
    /// How far it had got when it did not take an event any more.
    pub(crate) refused: Cell<Option<Position>>,
    /// The position at which it joined each of its rooms.
    pub(crate) joined: RefCell<Map<Room, Position>>,
    /// The rooms that it left last.
    pub(crate) left_rooms: RefCell<LeftRooms>,
    /// It has changed since it was saved last, where sessions are saved while they live.
    pub(crate) changed: Cell<bool>,
}

impl DeliveryProgress {
    /// The socket took an event, or did not, on a thread that had got to `before`.
    pub(crate) fn count(&self, mark: Position, before: Position, taken: bool) {
        match self.refused.get() {
            Some(_) => {}
            None if taken => self.sent.set(Some(mark)),
            None => self.refused.set(Some(self.reached(before))),
        }
    }

    /// True if it got an event when it came back, or before, or if the event is older than the socket.
    pub(crate) fn has_got(&self, mark: &Position) -> bool {
        self.served.get().covers(mark) || self.since.get().covers(mark) || self.shown.borrow().iter().any(|shown| shown.covers(mark))
    }

    /// How far it has got, on a thread that has got to `cursor`.
    pub(crate) fn reached(&self, cursor: Position) -> Position {
        self.served.get().later(cursor)
    }

    /// Up to where all is sent.
    pub(crate) fn until(&self, cursor: Position) -> Position {
        self.refused.get().unwrap_or_else(|| self.reached(cursor))
    }
}
