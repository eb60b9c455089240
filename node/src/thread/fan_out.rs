//! The fan-out of a broadcast on one thread: from the namespace through the rooms to the sockets.

use std::rc::Rc;
use std::time::Instant;

use sociable_adapter::{Entry, Operation, Position, Target};
use sociable_engine::actor::{Actor, Death, Outcome};
use sociable_protocol::Frames;

use crate::cluster::frames::for_sockets;
use crate::stats::Count;
use crate::thread::namespace::LocalNamespace;
use crate::thread::namespace_actor::{DeadRoom, NamespaceActor};
use crate::thread::room::RoomActor;
use crate::thread::socket::{LocalSocket, carry_out};
use crate::thread::socket_actor::SocketActor;

/// A broadcast on its way to the sockets of this thread.
pub(crate) struct FanOut<'a> {
    pub(super) target: &'a Target,
    frames: &'a Frames,
    /// The frames with the offset of most sockets, if recovery is on and the event has no position.
    placeless: Option<Frames>,
    volatile: bool,
    pub(super) compress: bool,
    /// The position up to which this thread has delivered the history.
    cursor: Position,
    /// The position of the event in the history and the cursor before it, if it has one.
    pub(super) kept: Option<(Position, Position)>,
    /// The number of its walk over the sockets. By it, each socket is visited once.
    pub(super) visit: u64,
    pub(super) effects: Effects,
}

/// The effects of a broadcast, performed when no actor is in a call: they may run users' code.
#[derive(Default)]
pub(super) struct Effects {
    slow: Vec<Rc<LocalSocket>>,
    listened: Vec<Rc<LocalSocket>>,
    dead_sockets: Vec<(Rc<LocalSocket>, Death<SocketActor>)>,
    pub(super) dead_rooms: Vec<DeadRoom>,
}

/// The delivery of a broadcast to one socket.
pub(super) struct Delivery<'a> {
    pub(super) fan_out: &'a FanOut<'a>,
    pub(super) socket: &'a LocalSocket,
}

/// The effect of a [`Delivery`].
#[derive(Default)]
pub(super) struct Served {
    /// True if listeners want to see the event.
    pub(super) listened: bool,
    /// True if the client is slow.
    pub(super) slow: bool,
}

impl FanOut<'_> {
    /// Delivers the broadcast to a socket, unless the walk has visited it before.
    #[inline]
    pub(super) fn deliver(&mut self, socket: &Rc<LocalSocket>) {
        match socket.actor.send(Delivery { fan_out: self, socket }) {
            Outcome::Done(Served { listened, slow }) => {
                if listened {
                    self.effects.listened.push(Rc::clone(socket));
                }
                if slow {
                    self.effects.slow.push(Rc::clone(socket));
                }
            }
            Outcome::Died(death) => self.effects.dead_sockets.push((Rc::clone(socket), death)),
            Outcome::Ended => {}
        }
    }

    /// Returns the frames for a socket, or `None` if it should get nothing.
    #[inline]
    pub(super) fn frames_for(&self, socket: &LocalSocket) -> Option<Frames> {
        let progress = socket.progress.as_deref();
        if let Some((mark, _)) = &self.kept {
            let has_got = progress.is_some_and(|progress| progress.has_got(mark));
            return (!has_got).then(|| self.frames.clone());
        }
        if self.volatile && !socket.session.is_writable() {
            socket.thread.count(Count::VolatileDropped);
            return None;
        }
        Some(match (&self.placeless, progress) {
            (Some(_), Some(progress)) if progress.reached(self.cursor) != self.cursor => {
                socket.placeless(self.frames, progress, self.cursor)
            }
            (Some(placeless), _) => placeless.clone(),
            (None, _) => self.frames.clone(),
        })
    }
}

impl LocalNamespace {
    /// Sends an event without a position in the history to the sockets of the target.
    pub(crate) fn fan_out(&self, target: &Target, frames: &Frames, volatile: bool, compress: bool, cursor: Position) {
        // With recovery, such an event carries the offset of the cursor, which most sockets share.
        let placeless = self.namespace.recoveries().map(|_| self.namespace.with_offset(frames, cursor));
        let placeless = placeless.map(|frames| for_sockets(self.namespace.engine(), target, compress, &frames));
        let effects = Effects::default();
        self.broadcast(FanOut { target, frames, placeless, volatile, compress, cursor, kept: None, visit: 0, effects });
    }

    /// Sends an event of the history to the sockets of the target, except those that got it in their recovery. `frames` are those of the entry.
    pub(crate) fn fan_out_persisted(&self, entry: &Entry, frames: &Frames, before: Position) {
        let kept = Some((entry.mark(), before));
        let Entry { target, compress, .. } = entry;
        let (volatile, compress, effects) = (false, *compress, Effects::default());
        self.broadcast(FanOut { target, frames, placeless: None, volatile, compress, cursor: before, kept, visit: 0, effects });
    }

    /// Performs an order of the history on the sockets of the target, except those that obeyed it in their recovery.
    pub(crate) fn obey(&self, entry: &Entry, operation: &Operation) {
        let mark = entry.mark();
        let mut sockets = self.find(&entry.target);
        sockets.retain(|socket| !socket.progress.as_ref().is_some_and(|progress| progress.served.get().covers(&mark)));
        carry_out(&sockets, operation);
    }

    /// Makes the actors deliver a broadcast, and performs its effects.
    fn broadcast(&self, mut fan_out: FanOut<'_>) {
        let started = Instant::now();
        self.send(&mut fan_out);
        let kind = if fan_out.target.rooms.is_empty() { NamespaceActor::KIND } else { RoomActor::KIND };
        self.thread_called(kind, started.elapsed());
        let Effects { slow, listened, dead_sockets, dead_rooms } = fan_out.effects;
        // Dead actors are replaced first: users' code may send messages to them.
        if !dead_sockets.is_empty() || !dead_rooms.is_empty() {
            self.end_sockets(dead_sockets, dead_rooms);
        }
        listened.iter().for_each(|socket| socket.notify_outgoing(fan_out.frames));
        slow.iter().for_each(|socket| socket.session.end_slow());
    }
}
