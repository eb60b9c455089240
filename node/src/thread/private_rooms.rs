//! Private rooms: rooms named like the id of another socket. A member receives everything that is sent to that socket alone.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sociable_adapter::{Room, own_room};

use crate::stats::Count;
use crate::thread::socket::LocalSocket;

/// The number of memberships in private rooms on this node.
#[derive(Debug)]
pub(crate) struct PrivateRooms {
    max: usize,
    count: AtomicUsize,
}

impl PrivateRooms {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, count: AtomicUsize::new(0) }
    }

    /// Counts one more membership, within the limit.
    fn acquire(&self) -> bool {
        self.count.fetch_update(Relaxed, Relaxed, |count| (count < self.max).then_some(count + 1)).is_ok()
    }

    fn release(&self) {
        // The death of an actor may release a membership twice. The count must not wrap.
        let _ = self.count.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }
}

/// Returns whether a room is named like the id of another socket.
pub(super) fn is_of_another(socket: &LocalSocket, room: &Room) -> bool {
    own_room(room).is_some_and(|id| id != socket.shared.id)
}

/// Counts a socket into a private room, within the limit.
pub(super) fn acquire(socket: &LocalSocket) -> bool {
    socket.shared.namespace.server_state().is_some_and(|server| server.private_rooms.acquire())
}

/// Counts a socket out of a room, if it is a private one.
pub(super) fn release(socket: &LocalSocket, room: &Room) {
    if is_of_another(socket, room)
        && let Some(server) = socket.shared.namespace.server_state()
    {
        server.private_rooms.release();
    }
}

/// Counts and logs a refused join.
pub(super) fn refuse(socket: &LocalSocket) {
    let counters = &socket.thread.counters;
    counters.increment(Count::PrivateJoinsRefused);
    let refused = counters.get(Count::PrivateJoinsRefused);
    // Logged ever more rarely, because clients may choose the names.
    if refused.is_power_of_two() {
        tracing::warn!(target: "sociable::namespace", id = %socket.shared.id.shortened(), refused, "join refused: room named like the id of another socket; raise max_private_rooms");
    }
}
