//! The actor of a room on one thread, which fans out to its members.

use std::rc::Rc;

use sociable_adapter::Room;
use sociable_engine::actor::{Actor, ActorKind, Handle};
use sociable_protocol::maps::Slots;

use crate::thread::fan_out::FanOut;
use crate::thread::socket::LocalSocket;

/// The members of a room on this thread, by slot. The room is removed with its last member.
///
/// Its namespace owns and supervises it: see [`NamespaceActor`](super::namespace_actor::NamespaceActor).
#[derive(Debug, Default)]
pub(crate) struct RoomActor {
    members: Slots<Rc<LocalSocket>>,
    #[cfg(test)]
    pub(crate) broken: bool,
}

impl RoomActor {
    /// Returns the room of this name with the sockets that record it.
    pub(super) fn rebuilt<'a>(name: &Room, sockets: impl Iterator<Item = &'a Rc<LocalSocket>>) -> Self {
        let members = sockets.filter(|socket| socket.shared.is_in(name)).map(|socket| (socket.slot, Rc::clone(socket)));
        Self {
            members: members.collect(),
            #[cfg(test)]
            broken: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn has(&self, socket: &LocalSocket) -> bool {
        self.members.contains_key(&socket.slot)
    }
}

impl Actor for RoomActor {
    const KIND: ActorKind = ActorKind::new("room");
}

/// The message that adds a member. The effect is the new number of members, or `None` if it was a member already.
pub(super) struct Admit<'a>(pub(super) &'a Rc<LocalSocket>);

impl Handle<Admit<'_>> for RoomActor {
    type Effect = Option<usize>;

    fn handle(&mut self, Admit(socket): Admit<'_>) -> Option<usize> {
        #[cfg(test)]
        assert!(!self.broken, "crash");
        let is_new = self.members.insert(socket.slot, Rc::clone(socket)).is_none();
        is_new.then_some(self.members.len())
    }
}

/// The message that removes a member. The effect is the number that remains, or `None` if it was no member.
pub(super) struct Dismiss<'a>(pub(super) &'a LocalSocket);

impl Handle<Dismiss<'_>> for RoomActor {
    type Effect = Option<usize>;

    fn handle(&mut self, Dismiss(socket): Dismiss<'_>) -> Option<usize> {
        #[cfg(test)]
        assert!(!self.broken, "crash");
        self.members.remove(&socket.slot).map(|_| self.members.len())
    }
}

/// The message that excludes the members from a walk.
pub(super) struct Exclude(pub(super) u64);

impl Handle<Exclude> for RoomActor {
    type Effect = ();

    fn handle(&mut self, Exclude(visit): Exclude) {
        for socket in self.members.values() {
            socket.visit(visit);
        }
    }
}

/// The message that lists the members that a walk has not visited yet.
pub(super) struct Select<'a> {
    pub(super) visit: u64,
    pub(super) into: &'a mut Vec<Rc<LocalSocket>>,
}

impl Handle<Select<'_>> for RoomActor {
    type Effect = ();

    fn handle(&mut self, Select { visit, into }: Select<'_>) {
        into.extend(self.members.values().filter(|socket| socket.visit(visit)).cloned());
    }
}

/// The message that counts the members that a walk has not visited yet.
pub(super) struct Tally(pub(super) u64);

impl Handle<Tally> for RoomActor {
    type Effect = usize;

    fn handle(&mut self, Tally(visit): Tally) -> usize {
        self.members.values().filter(|socket| socket.visit(visit)).count()
    }
}

/// Delivers a broadcast to the members.
impl Handle<&mut FanOut<'_>> for RoomActor {
    type Effect = ();

    #[inline]
    fn handle(&mut self, fan_out: &mut FanOut<'_>) {
        #[cfg(test)]
        assert!(!self.broken, "crash");
        for socket in self.members.values() {
            fan_out.deliver(socket);
        }
    }
}
