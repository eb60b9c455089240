//! The actor of a namespace on one thread, with its sockets and their rooms.

use std::rc::Rc;

use sociable_adapter::{Room, Target, own_room};
use sociable_engine::actor::{Actor, ActorCell, ActorKind, Handle, Outcome};
use sociable_protocol::Id;
use sociable_protocol::maps::{Map, Set};

use crate::thread::fan_out::FanOut;
use crate::thread::private_rooms::{acquire, is_of_another, refuse, release};
use crate::thread::room::{Admit, Dismiss, Exclude, RoomActor, Select, Tally};
use crate::thread::socket::LocalSocket;

/// The sockets of a namespace on this thread, and the rooms that they have joined.
///
/// The room of a socket's own id is looked up in `sockets`, and is no room here. The socket notes itself whether it has left that room.
#[derive(Debug, Default)]
pub(crate) struct NamespaceActor {
    sockets: Map<Id, Rc<LocalSocket>>,
    rooms: Map<Room, ActorCell<RoomActor>>,
    /// The number of the last walk. Sockets with this number were visited or are excluded.
    visit: u64,
}

impl Actor for NamespaceActor {
    const KIND: ActorKind = ActorKind::new("namespace");
}

/// A room that a socket has joined or left. `edge` marks the first member or the last on this thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) room: Room,
    pub(crate) edge: bool,
}

/// A room whose actor died, with the cause.
#[derive(Debug)]
pub(crate) struct DeadRoom {
    pub(crate) name: Room,
    pub(crate) cause: String,
}

/// The effect of joins and leaves.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) changes: Vec<Change>,
    pub(crate) dead: Vec<DeadRoom>,
}

impl NamespaceActor {
    /// Rebuilds the namespace from the rooms that its sockets record.
    pub(super) fn rebuilt(sockets: Vec<Rc<LocalSocket>>) -> Self {
        let mut namespace = Self::default();
        for socket in sockets {
            // The numbers of walks start again.
            socket.visit(0);
            let joined = socket.shared.take_rooms();
            // The joins below count them again.
            joined.iter().for_each(|room| release(&socket, room));
            namespace.handle(Enter(&socket));
            let Moved { dead, .. } = namespace.handle(Join { socket: &socket, rooms: &joined });
            dead.iter().for_each(|room| drop(namespace.rooms.remove(&room.name)));
        }
        namespace
    }

    pub(crate) fn socket(&self, id: &Id) -> Option<&Rc<LocalSocket>> {
        self.sockets.get(id)
    }

    /// Returns the rooms with their numbers of members, including the rooms of the sockets' own ids.
    pub(crate) fn sizes(&self) -> Vec<(Room, usize)> {
        let own = self.sockets.iter().filter(|(_, socket)| !socket.shared.has_left_own_room()).map(|(id, _)| (Room::from(id.as_str()), 1));
        self.rooms.iter().map(|(name, room)| (name.clone(), room.read(RoomActor::len).unwrap_or(0))).chain(own).collect()
    }

    /// Returns the rooms whose names begin with a prefix, with their numbers of members. The rooms of the sockets' own ids are left out.
    pub(crate) fn sizes_of(&self, prefix: &str) -> Vec<(Room, usize)> {
        let named = self.rooms.iter().filter(|(name, _)| name.starts_with(prefix));
        named.map(|(name, room)| (name.clone(), room.read(RoomActor::len).unwrap_or(0))).collect()
    }

    /// Returns the names of the rooms, without those of the sockets' own ids.
    pub(super) fn rooms(&self) -> Set<Room> {
        self.rooms.keys().cloned().collect()
    }

    /// Returns the numbers of sockets and of rooms.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.sockets.len(), self.rooms.len())
    }

    /// Admits a socket to a private room: if it is a member already, or if the limit allows one more.
    fn admits(&self, socket: &LocalSocket, room: &Room) -> bool {
        let is_there = self.rooms.get(room).is_some_and(|room| room.read(|room| room.has(socket)) == Some(true));
        is_there || acquire(socket)
    }

    fn leave_one(&mut self, socket: &LocalSocket, name: &Room, exits: bool, moved: &mut Moved) -> bool {
        let Some(room) = self.rooms.get(name) else { return false };
        match room.send(Dismiss(socket)) {
            Outcome::Done(Some(members)) => {
                release(socket, name);
                if members == 0 {
                    self.rooms.remove(name);
                }
                moved.changes.push(Change { room: name.clone(), edge: members == 0 });
                true
            }
            Outcome::Died(death) => {
                if exits {
                    // The rebuilt room lacks this socket.
                    release(socket, name);
                }
                moved.dead.push(DeadRoom { name: name.clone(), cause: death.cause });
                false
            }
            Outcome::Done(None) | Outcome::Ended => false,
        }
    }

    /// Starts a walk over the sockets, and marks the excluded ones as visited.
    fn begin_visit(&mut self, target: &Target, dead: &mut Vec<DeadRoom>) -> u64 {
        self.visit += 1;
        for name in &target.except {
            if let Some(socket) = self.owner(name) {
                socket.visit(self.visit);
            }
            if let Some(room) = self.rooms.get(name)
                && let Outcome::Died(death) = room.send(Exclude(self.visit))
            {
                dead.push(DeadRoom { name: name.clone(), cause: death.cause });
            }
        }
        self.visit
    }

    /// Returns the socket whose id is the name of a room, unless it has left that room.
    fn owner(&self, room: &Room) -> Option<&Rc<LocalSocket>> {
        own_room(room).and_then(|id| self.sockets.get(&id)).filter(|socket| !socket.shared.has_left_own_room())
    }

    /// Makes a socket join or leave the room of its own id.
    fn move_own(&self, socket: &LocalSocket, name: &Room, leaves: bool, moved: &mut Moved) {
        if socket.shared.set_left_own_room(leaves) {
            // Other sockets may be in this room, too.
            moved.changes.push(Change { room: name.clone(), edge: !self.rooms.contains_key(name) });
        }
    }
}

/// The message that adds a socket.
pub(super) struct Enter<'a>(pub(super) &'a Rc<LocalSocket>);

impl Handle<Enter<'_>> for NamespaceActor {
    type Effect = ();

    fn handle(&mut self, Enter(socket): Enter<'_>) {
        self.sockets.insert(socket.shared.id, Rc::clone(socket));
    }
}

/// The message that removes a socket, also from all its rooms.
pub(super) struct Exit<'a>(pub(super) &'a LocalSocket);

impl Handle<Exit<'_>> for NamespaceActor {
    type Effect = Moved;

    fn handle(&mut self, Exit(socket): Exit<'_>) -> Moved {
        let mut moved = Moved::default();
        let id = &socket.shared.id;
        // A returned socket has the same id.
        if self.sockets.get(id).is_some_and(|known| std::ptr::eq(&raw const **known, socket)) {
            self.sockets.remove(id);
        }
        for room in socket.shared.rooms() {
            self.leave_one(socket, &room, true, &mut moved);
            socket.shared.drop_room(&room);
        }
        socket.exited.set(true);
        moved
    }
}

/// The message that makes a socket join rooms. The effect lists those that it was not in yet.
pub(super) struct Join<'a> {
    pub(super) socket: &'a Rc<LocalSocket>,
    pub(super) rooms: &'a [Room],
}

impl Handle<Join<'_>> for NamespaceActor {
    type Effect = Moved;

    fn handle(&mut self, Join { socket, rooms }: Join<'_>) -> Moved {
        let mut moved = Moved::default();
        if !self.sockets.contains_key(&socket.shared.id) {
            return moved;
        }
        for name in rooms {
            if socket.shared.is_own_room(name) {
                self.move_own(socket, name, false, &mut moved);
                continue;
            }
            if is_of_another(socket, name) && !self.admits(socket, name) {
                refuse(socket);
                continue;
            }
            let room = self.rooms.entry(name.clone()).or_insert_with(|| ActorCell::new(RoomActor::default()));
            match room.send(Admit(socket)) {
                Outcome::Done(Some(members)) => {
                    socket.shared.add_room(name.clone());
                    moved.changes.push(Change { room: name.clone(), edge: members == 1 });
                }
                Outcome::Done(None) => {}
                failed => {
                    if !socket.shared.is_in(name) {
                        release(socket, name);
                    }
                    if let Outcome::Died(death) = failed {
                        moved.dead.push(DeadRoom { name: name.clone(), cause: death.cause });
                    }
                }
            }
        }
        moved
    }
}

/// The message that makes a socket leave rooms. The effect lists those that it was in.
pub(super) struct Leave<'a> {
    pub(super) socket: &'a LocalSocket,
    pub(super) rooms: &'a [Room],
}

impl Handle<Leave<'_>> for NamespaceActor {
    type Effect = Moved;

    fn handle(&mut self, Leave { socket, rooms }: Leave<'_>) -> Moved {
        let mut moved = Moved::default();
        for room in rooms {
            if socket.shared.is_own_room(room) {
                self.move_own(socket, room, true, &mut moved);
            } else if self.leave_one(socket, room, false, &mut moved) {
                socket.shared.drop_room(room);
            }
        }
        moved
    }
}

/// Delivers a broadcast to the sockets of its target, each once, in any order.
impl Handle<&mut FanOut<'_>> for NamespaceActor {
    type Effect = ();

    fn handle(&mut self, fan_out: &mut FanOut<'_>) {
        let target = fan_out.target;
        fan_out.visit = self.begin_visit(target, &mut fan_out.effects.dead_rooms);
        if target.rooms.is_empty() {
            return self.sockets.values().for_each(|socket| fan_out.deliver(socket));
        }
        for name in &target.rooms {
            if let Some(room) = self.rooms.get(name)
                && let Outcome::Died(death) = room.send(&mut *fan_out)
            {
                fan_out.effects.dead_rooms.push(DeadRoom { name: name.clone(), cause: death.cause });
            }
            if let Some(socket) = self.owner(name) {
                fan_out.deliver(socket);
            }
        }
    }
}

/// The message that lists the sockets of a target, each once.
pub(super) struct Find<'a>(pub(super) &'a Target);

impl Handle<Find<'_>> for NamespaceActor {
    type Effect = (Vec<Rc<LocalSocket>>, Vec<DeadRoom>);

    fn handle(&mut self, Find(target): Find<'_>) -> Self::Effect {
        let (mut found, mut dead) = (vec![], vec![]);
        let visit = self.begin_visit(target, &mut dead);
        if target.rooms.is_empty() {
            found.extend(self.sockets.values().filter(|socket| socket.visit(visit)).cloned());
        }
        for name in &target.rooms {
            if let Some(room) = self.rooms.get(name)
                && let Outcome::Died(death) = room.send(Select { visit, into: &mut found })
            {
                dead.push(DeadRoom { name: name.clone(), cause: death.cause });
            }
            found.extend(self.owner(name).filter(|socket| socket.visit(visit)).cloned());
        }
        (found, dead)
    }
}

/// The message that counts the sockets of a target, each once.
pub(super) struct Count<'a>(pub(super) &'a Target);

impl Handle<Count<'_>> for NamespaceActor {
    type Effect = (usize, Vec<DeadRoom>);

    fn handle(&mut self, Count(target): Count<'_>) -> Self::Effect {
        if target.rooms.is_empty() && target.except.is_empty() {
            return (self.sockets.len(), vec![]);
        }
        let (mut count, mut dead) = (0, vec![]);
        let visit = self.begin_visit(target, &mut dead);
        if target.rooms.is_empty() {
            count += self.sockets.values().filter(|socket| socket.visit(visit)).count();
        }
        for name in &target.rooms {
            match self.rooms.get(name).map(|room| room.send(Tally(visit))) {
                Some(Outcome::Done(members)) => count += members,
                Some(Outcome::Died(death)) => dead.push(DeadRoom { name: name.clone(), cause: death.cause }),
                Some(Outcome::Ended) | None => {}
            }
            count += self.owner(name).filter(|socket| socket.visit(visit)).into_iter().count();
        }
        (count, dead)
    }
}

/// The message that rebuilds a dead room from its sockets. A room without members is removed.
pub(super) struct Rebuild<'a>(pub(super) &'a Room);

impl Handle<Rebuild<'_>> for NamespaceActor {
    type Effect = ();

    fn handle(&mut self, Rebuild(name): Rebuild<'_>) {
        let room = RoomActor::rebuilt(name, self.sockets.values());
        if room.len() == 0 {
            self.rooms.remove(name);
        } else if let Some(cell) = self.rooms.get(name) {
            cell.replace(room);
        }
    }
}

#[cfg(test)]
pub(crate) struct Crash;

#[cfg(test)]
impl Handle<Crash> for NamespaceActor {
    type Effect = ();

    fn handle(&mut self, Crash: Crash) {
        panic!("crash");
    }
}

/// The message that breaks a room: its next broadcast panics.
#[cfg(test)]
pub(crate) struct BreakRoom(pub(crate) &'static str);

#[cfg(test)]
impl Handle<BreakRoom> for NamespaceActor {
    type Effect = ();

    fn handle(&mut self, BreakRoom(name): BreakRoom) {
        if let Some(Ok(mut room)) = self.rooms.get(name).map(ActorCell::end) {
            room.broken = true;
            self.rooms[name].replace(room);
        }
    }
}
