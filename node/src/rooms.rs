//! The rooms of a namespace on one worker thread: who is in them, and the fan-out to them.

use std::rc::Rc;

use sociable_adapter::{Room, Target, own_room};
use sociable_protocol::Id;

use crate::local::LocalSocket;
use crate::maps::{Map, Slots};

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

impl Rooms {
    /// Builds the rooms anew from what the sockets know of themselves.
    pub(crate) fn rebuild(sockets: impl Iterator<Item = Rc<LocalSocket>>) -> Self {
        let mut rooms = Self::default();
        for socket in sockets {
            let joined = socket.shared.take_rooms();
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
            let members = self.rooms.entry(room.clone()).or_default();
            if members.insert(socket.slot, Rc::clone(socket)).is_none() {
                socket.shared.add_room(room.clone());
                changes.push(Change { room: room.clone(), edge: members.len() == 1 });
            }
        }
        changes
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
