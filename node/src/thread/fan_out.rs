//! The fan-out of a broadcast on one thread: from its namespace over the rooms to the sockets.

use std::rc::Rc;
use std::time::Instant;

use sociable_adapter::{Entry, Operation, Position, Target};
use sociable_engine::actor::{Actor, Death, Outcome};
use sociable_protocol::Frames;

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
    /// The frames with the offset that most sockets have got to, if clients may come back and the event has no place in the history.
    placeless: Option<Frames>,
    volatile: bool,
    pub(super) compress: bool,
    /// How far this thread has got with the events of the history.
    cursor: Position,
    /// The place of the event in the history and the one before, if it has one.
    pub(super) kept: Option<(Position, Position)>,
    /// The number of its walk over the sockets, by which each is met once.
    pub(super) visit: u64,
    pub(super) effects: Effects,
}

/// What is to be done when the actors are free again: it may call users' code.
#[derive(Default)]
pub(super) struct Effects {
    slow: Vec<Rc<LocalSocket>>,
    listened: Vec<Rc<LocalSocket>>,
    dead_sockets: Vec<(Rc<LocalSocket>, Death<SocketActor>)>,
    pub(super) dead_rooms: Vec<DeadRoom>,
}

/// A broadcast, as one socket gets it.
pub(super) struct Delivery<'a> {
    pub(super) fan_out: &'a FanOut<'a>,
    pub(super) socket: &'a LocalSocket,
}

/// The effect of a [`Delivery`].
#[derive(Default)]
pub(super) struct Served {
    /// Someone listens to what is sent to the socket.
    pub(super) listened: bool,
    /// The client does not read.
    pub(super) slow: bool,
}

impl FanOut<'_> {
    /// Delivers the broadcast to a socket, if it was not met yet.
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

    /// Returns what a socket gets, if it is to get something.
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
    /// Sends an event that has no place in the history to the sockets that are meant.
    pub(crate) fn fan_out(&self, target: &Target, frames: &Frames, volatile: bool, compress: bool, cursor: Position) {
        // Where clients may come back, what has no place in the history says so; most threads have got to the same one.
        let placeless = self.namespace.recoveries().map(|_| self.namespace.with_offset(frames, cursor));
        let effects = Effects::default();
        self.broadcast(FanOut { target, frames, placeless, volatile, compress, cursor, kept: None, visit: 0, effects });
    }

    /// Sends an event of the history to the sockets that are meant, but for those that got it when they came back.
    pub(crate) fn fan_out_persisted(&self, entry: &Entry, before: Position) {
        let kept = Some((entry.mark(), before));
        let Entry { target, frames, compress, .. } = entry;
        let (volatile, compress, effects) = (false, *compress, Effects::default());
        self.broadcast(FanOut { target, frames, placeless: None, volatile, compress, cursor: before, kept, visit: 0, effects });
    }

    /// Carries out an order of the history, but for the sockets that obeyed it when they came back.
    pub(crate) fn obey(&self, entry: &Entry, operation: &Operation) {
        let mark = entry.mark();
        let mut sockets = self.find(&entry.target);
        sockets.retain(|socket| !socket.progress.as_ref().is_some_and(|progress| progress.served.get().covers(&mark)));
        carry_out(&sockets, operation);
    }

    /// Has the actors deliver a broadcast, and performs its effects.
    fn broadcast(&self, mut fan_out: FanOut<'_>) {
        let started = Instant::now();
        self.send(&mut fan_out);
        let kind = if fan_out.target.rooms.is_empty() { NamespaceActor::KIND } else { RoomActor::KIND };
        self.thread_called(kind, started.elapsed());
        let Effects { slow, listened, dead_sockets, dead_rooms } = fan_out.effects;
        // Actors are mended before users' code runs, which may send to them.
        if !dead_sockets.is_empty() || !dead_rooms.is_empty() {
            self.end_sockets(dead_sockets, dead_rooms);
        }
        listened.iter().for_each(|socket| socket.notify_outgoing(fan_out.frames));
        slow.iter().for_each(|socket| socket.session.end_slow());
    }
}
