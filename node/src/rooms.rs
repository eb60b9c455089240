//! The rooms of a namespace on one worker thread: who is in them, and the fan-out to them.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sociable_adapter::{Room, Target, own_room};
use sociable_protocol::Id;

use crate::local::LocalSocket;
use crate::maps::{Map, Slots};
use crate::metrics::Count;

/// A room: its members on this thread, by their slot. It goes with the last of them.
type Members = Slots<Rc<LocalSocket>>;

/// All sockets of a namespace on this thread, and the rooms that they have joined.
///
/// The room of a socket's own id is a look-up, not a room. This is the state of an actor (see `actor.rs`): nothing here calls a user.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    sockets: Map<Id, Rc<LocalSocket>>,
    rooms: Map<Room, Members>,
    /// The number of the last walk. A socket that bears it has been met, or is left out.
    walk: u64,
}

/// A room that a socket has joined or left, and whether it came or went by that on this thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) room: Room,
    pub(crate) edge: bool,
}

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
    fn admit(&self) -> bool {
        self.count.fetch_update(Relaxed, Relaxed, |count| (count < self.max).then_some(count + 1)).is_ok()
    }

    fn release(&self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

/// True if a room is named like the id of another socket: who is in it gets what is sent to that socket alone.
fn is_of_another(socket: &LocalSocket, room: &Room) -> bool {
    own_room(room).is_some_and(|id| id != socket.shared.id)
}

/// A socket has left a room.
fn release(socket: &LocalSocket, room: &Room) {
    if is_of_another(socket, room)
        && let Some(server) = socket.shared.namespace.server_inner()
    {
        server.private_rooms.release();
    }
}

fn refuse(socket: &LocalSocket) {
    let counters = &socket.session.worker().counters;
    counters.one(Count::PrivateJoinsRefused);
    let refused = counters.get(Count::PrivateJoinsRefused);
    // The more there were the less often it is said: clients may choose the names.
    if refused.is_power_of_two() {
        tracing::warn!(target: "sociable::namespace", id = %socket.shared.id.shortened(), refused, "a socket was not joined to a room that is named like the id of another: see max_private_rooms");
    }
}

impl Rooms {
    /// Builds the rooms anew from what the sockets know of themselves.
    pub(crate) fn rebuild(sockets: impl Iterator<Item = Rc<LocalSocket>>) -> Self {
        let mut rooms = Self::default();
        for socket in sockets {
            let joined = socket.shared.take_rooms();
            // They are counted again.
            joined.iter().for_each(|room| release(&socket, room));
            rooms.insert(Rc::clone(&socket));
            rooms.join(&socket, &joined);
        }
        rooms
    }

    pub(crate) fn insert(&mut self, socket: Rc<LocalSocket>) {
        self.sockets.insert(socket.shared.id, socket);
    }

    /// Takes a socket out, of all its rooms too.
    pub(crate) fn remove(&mut self, socket: &LocalSocket) -> Vec<Change> {
        let joined = socket.shared.take_rooms();
        let id = &socket.shared.id;
        // One that came back bears the same id.
        if self.sockets.get(id).is_some_and(|known| std::ptr::eq(&raw const **known, socket)) {
            self.sockets.remove(id);
        }
        joined.into_iter().filter_map(|room| self.leave_one(socket, &room)).collect()
    }

    /// Joins a socket to rooms. Those that it was not in yet are given back.
    pub(crate) fn join(&mut self, socket: &Rc<LocalSocket>, rooms: &[Room]) -> Vec<Change> {
        let mut changes = vec![];
        if !self.sockets.contains_key(&socket.shared.id) {
            return changes;
        }
        for room in rooms {
            if **room == *socket.shared.id.as_str() {
                continue;
            }
            if is_of_another(socket, room) && !self.admits(socket, room) {
                refuse(socket);
                continue;
            }
            let members = self.rooms.entry(room.clone()).or_default();
            if members.insert(socket.slot, Rc::clone(socket)).is_none() {
                socket.shared.add_room(room.clone());
                changes.push(Change { room: room.clone(), edge: members.len() == 1 });
            }
        }
        changes
    }

    /// Counts a socket into a room that is named like the id of another, unless it is there or may not be.
    fn admits(&self, socket: &LocalSocket, room: &Room) -> bool {
        let is_there = self.rooms.get(room).is_some_and(|members| members.contains_key(&socket.slot));
        is_there || socket.shared.namespace.server_inner().is_some_and(|server| server.private_rooms.admit())
    }

    /// Has a socket leave rooms. Those that it was in are given back.
    pub(crate) fn leave(&mut self, socket: &LocalSocket, rooms: &[Room]) -> Vec<Change> {
        rooms
            .iter()
            .filter_map(|room| {
                let change = self.leave_one(socket, room)?;
                socket.shared.drop_room(room);
                Some(change)
            })
            .collect()
    }

    fn leave_one(&mut self, socket: &LocalSocket, room: &Room) -> Option<Change> {
        let members = self.rooms.get_mut(room)?;
        members.remove(&socket.slot)?;
        release(socket, room);
        let edge = members.is_empty();
        if edge {
            self.rooms.remove(room);
        }
        Some(Change { room: room.clone(), edge })
    }

    /// Calls `visit` with each socket that is meant, once, in whatever order.
    pub(crate) fn each(&mut self, target: &Target, mut visit: impl FnMut(&Rc<LocalSocket>)) {
        self.walk += 1;
        let walk = self.walk;
        for room in &target.except {
            self.members(room).for_each(|socket| socket.met.set(walk));
        }
        match &target.rooms[..] {
            [] => self.sockets.values().filter(|socket| socket.met.get() != walk).for_each(visit),
            rooms => {
                for socket in rooms.iter().flat_map(|room| self.members(room)) {
                    if socket.met.replace(walk) != walk {
                        visit(socket);
                    }
                }
            }
        }
    }

    fn members(&self, room: &Room) -> impl Iterator<Item = &Rc<LocalSocket>> {
        let owner = own_room(room).and_then(|id| self.sockets.get(&id));
        self.rooms.get(room).into_iter().flat_map(Members::values).chain(owner)
    }

    pub(crate) fn socket(&self, id: &Id) -> Option<&Rc<LocalSocket>> {
        self.sockets.get(id)
    }

    /// The rooms with their numbers of members, the rooms of the sockets' ids among them.
    pub(crate) fn sizes(&self) -> Vec<(Room, usize)> {
        let own = self.sockets.keys().map(|id| (Room::from(id.as_str()), 1));
        self.rooms.iter().map(|(room, members)| (room.clone(), members.len())).chain(own).collect()
    }
}
