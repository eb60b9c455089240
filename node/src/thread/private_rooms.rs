//! Rooms that are named like the id of another socket: who is in one gets what is sent to that socket alone.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sociable_adapter::{Room, own_room};

use crate::stats::Count;
use crate::thread::socket::LocalSocket;

/// How often sockets of the node are in rooms named like the ids of other sockets.
#[derive(Debug)]
pub(crate) struct PrivateRooms {
    max: usize,
    count: AtomicUsize,
}

impl PrivateRooms {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, count: AtomicUsize::new(0) }
    }

    /// Counts one more, if it may be.
    fn acquire(&self) -> bool {
        self.count.fetch_update(Relaxed, Relaxed, |count| (count < self.max).then_some(count + 1)).is_ok()
    }

    fn release(&self) {
        // What follows from the death of an actor must not make it wrap.
        let _ = self.count.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }
}

/// Returns true if a room is named like the id of another socket.
pub(super) fn is_of_another(socket: &LocalSocket, room: &Room) -> bool {
    own_room(room).is_some_and(|id| id != socket.shared.id)
}

/// Counts a socket into a room that is named like the id of another, if it may be there.
pub(super) fn acquire(socket: &LocalSocket) -> bool {
    socket.shared.namespace.server_state().is_some_and(|server| server.private_rooms.acquire())
}

/// A socket has left a room.
pub(super) fn release(socket: &LocalSocket, room: &Room) {
    if is_of_another(socket, room)
        && let Some(server) = socket.shared.namespace.server_state()
    {
        server.private_rooms.release();
    }
}

/// Counts and logs a join that was refused.
pub(super) fn refuse(socket: &LocalSocket) {
    let counters = &socket.thread.counters;
    counters.increment(Count::PrivateJoinsRefused);
    let refused = counters.get(Count::PrivateJoinsRefused);
    // The more there were the less often it is said: clients may choose the names.
    if refused.is_power_of_two() {
        tracing::warn!(target: "sociable::namespace", id = %socket.shared.id.shortened(), refused, "a socket was not joined to a room that is named like the id of another: see max_private_rooms");
    }
}
