//! A namespace on one worker thread: the supervisor of its sockets and rooms, and the notifier of listeners.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use sociable_adapter::{Room, Target};
use sociable_engine::actor::{Actor, ActorCell, ActorKind, Death, Handle, Outcome};
use sociable_engine::supervision::{Directive, Restarts, Strategy};
use sociable_protocol::maps::Set;

use crate::handler::registry::RoomEvent;
use crate::handler::run::notify;
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::thread::ThreadState;
use crate::thread::namespace_actor::{Change, Count, DeadRoom, Find, Moved, NamespaceActor, Rebuild};
use crate::thread::room::RoomActor;
use crate::thread::socket::LocalSocket;
use crate::thread::socket_actor::SocketActor;
use crate::trace;

/// The strategy for rooms: a dead room is rebuilt from its sockets. Too many deaths escalate to the namespace.
const ROOMS: Strategy = Strategy { restarts: 5, within: Duration::from_secs(10), beyond: Directive::Escalate };

/// The strategy for namespaces: a dead one is rebuilt from its sockets. After too many deaths its sockets here are ended.
const NAMESPACE: Strategy = Strategy { restarts: 5, within: Duration::from_secs(10), beyond: Directive::Stop };

/// A namespace on this thread.
#[derive(Debug)]
pub(crate) struct LocalNamespace {
    pub(crate) namespace: Namespace,
    thread: Weak<ThreadState>,
    /// The number of sockets in this part or entering it. The part exists while there are any.
    pub(super) sockets: Cell<usize>,
    actor: ActorCell<NamespaceActor>,
    /// The restarts of the namespace, and those of its rooms.
    restarts: RefCell<Restarts>,
    room_restarts: RefCell<Restarts>,
    /// The rooms that the node counts as present on this thread.
    noted: RefCell<Set<Room>>,
    /// True while the sockets are being ended.
    stopping: Cell<bool>,
}

impl LocalNamespace {
    pub(super) fn new(namespace: Namespace, thread: &Rc<ThreadState>) -> Self {
        Self {
            namespace,
            thread: Rc::downgrade(thread),
            sockets: Cell::new(0),
            actor: ActorCell::new(NamespaceActor::default()),
            restarts: RefCell::default(),
            room_restarts: RefCell::default(),
            noted: RefCell::default(),
            stopping: Cell::new(false),
        }
    }

    /// Sends a message to the namespace's actor. Returns `None` if the actor died of it, and was replaced.
    #[inline]
    pub(crate) fn send<M>(&self, message: M) -> Option<<NamespaceActor as Handle<M>>::Effect>
    where
        NamespaceActor: Handle<M>,
    {
        match self.actor.send(message) {
            Outcome::Done(effect) => Some(effect),
            Outcome::Died(death) => {
                self.restart(death.cause);
                None
            }
            Outcome::Ended => None,
        }
    }

    /// Reads from the namespace's actor.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&NamespaceActor) -> R) -> Option<R> {
        self.actor.read(look)
    }

    /// Returns the sockets of a target.
    pub(crate) fn find(&self, target: &Target) -> Vec<Rc<LocalSocket>> {
        let (found, dead) = self.send(Find(target)).unwrap_or_default();
        self.supervise_rooms(dead);
        found
    }

    /// Returns the number of sockets of a target.
    pub(crate) fn count(&self, target: &Target) -> usize {
        let (count, dead) = self.send(Count(target)).unwrap_or_default();
        self.supervise_rooms(dead);
        count
    }

    /// Sends a message by which a socket joins or leaves rooms. Returns the changed rooms.
    pub(super) fn moved<M>(&self, message: M) -> Option<Vec<Change>>
    where
        NamespaceActor: Handle<M, Effect = Moved>,
    {
        let Moved { mut changes, dead } = self.send(message)?;
        if !dead.is_empty() {
            self.supervise_rooms(dead);
            // The reconciliation has noted the rooms of this message too.
            changes.iter_mut().for_each(|change| change.edge = false);
        }
        Some(changes)
    }

    /// Records the duration of an actor's call.
    #[inline]
    pub(super) fn thread_called(&self, kind: ActorKind, time: Duration) {
        if let Some(thread) = self.thread.upgrade() {
            thread.worker.actor_called(kind, time);
        }
    }

    /// Supervises dead rooms: rebuilds each, or restarts the whole namespace.
    pub(super) fn supervise_rooms(&self, dead: Vec<DeadRoom>) {
        let mut escalated = false;
        for DeadRoom { name, cause } in dead {
            let directive = if escalated { Directive::Escalate } else { self.room_restarts.borrow_mut().directive(&ROOMS, Instant::now()) };
            self.record(RoomActor::KIND, &name, cause, directive);
            if directive == Directive::Restart {
                self.send(Rebuild(&name));
                self.reconcile();
            }
            escalated |= directive != Directive::Restart;
        }
        if escalated {
            self.room_restarts.take();
            self.restart("too many rooms died".into());
        }
    }

    /// Ends sockets whose actors died, and notifies their clients and handlers. All actors are replaced before users' code runs.
    #[cold]
    pub(super) fn end_sockets(&self, dead: Vec<(Rc<LocalSocket>, Death<SocketActor>)>, dead_rooms: Vec<DeadRoom>) {
        let mut ended = vec![];
        for (socket, Death { mut remains, cause }) in dead {
            self.record(SocketActor::KIND, &socket.shared.id.shortened().to_string(), cause, Directive::Stop);
            socket.actor.replace(SocketActor::default());
            ended.push((socket, remains.drain_acks()));
        }
        self.supervise_rooms(dead_rooms);
        for (socket, acks) in ended {
            socket.leave(DisconnectReason::SocketFailed, true);
            acks.into_iter().for_each(|waiter| waiter.left(socket.shared.id));
        }
    }

    /// Restarts the namespace's actor after its death or by escalation.
    #[cold]
    fn restart(&self, cause: String) {
        let Some(thread) = self.thread.upgrade() else { return };
        let directive = self.restarts.borrow_mut().directive(&NAMESPACE, Instant::now());
        self.record(NamespaceActor::KIND, self.namespace.name(), cause, directive);
        let sockets = thread.sockets_of(&self.namespace);
        let rebuilt = catch_unwind(AssertUnwindSafe(|| NamespaceActor::rebuilt(sockets.clone())));
        let stop = directive != Directive::Restart || rebuilt.is_err();
        self.actor.replace(rebuilt.unwrap_or_default());
        self.reconcile();
        // The actor may die again while its sockets are being ended.
        if stop && !self.stopping.replace(true) {
            sockets.iter().for_each(|socket| socket.leave(DisconnectReason::SocketFailed, true));
            self.stopping.set(false);
        }
    }

    /// Compares the noted rooms with those of a rebuilt actor: a join or leave may have failed halfway.
    fn reconcile(&self) {
        let rooms = self.read(NamespaceActor::rooms).unwrap_or_default();
        let mut noted = self.noted.borrow_mut();
        let (gone, came): (Vec<_>, Vec<_>) = (noted.difference(&rooms).cloned().collect(), rooms.difference(&noted).cloned().collect());
        *noted = rooms;
        drop(noted);
        for (room, came) in gone.iter().map(|room| (room, false)).chain(came.iter().map(|room| (room, true))) {
            self.namespace.room_edge(room, came);
        }
    }

    fn record(&self, kind: ActorKind, name: &str, cause: String, directive: Directive) {
        if let Some(thread) = self.thread.upgrade() {
            thread.worker.actor_died(kind, trace::name_of_room(name), cause, directive);
        }
    }

    /// Notifies listeners of rooms that a socket joined or left them.
    pub(super) fn notify_changes(&self, socket: &LocalSocket, changes: Vec<Change>, joined: bool) {
        for Change { room, edge } in self.on_node(socket, changes, joined) {
            self.notify_change(socket, room, edge, joined);
        }
    }

    /// Notes rooms that appeared on the node or vanished from it. All are noted before any listener runs, which may change them again.
    ///
    /// The room of the socket's own id is not noted, because messages find it by the id.
    pub(super) fn on_node(&self, socket: &LocalSocket, changes: Vec<Change>, joined: bool) -> Vec<Change> {
        let is_edge = |room: &Room| socket.shared.is_own_room(room) || self.note(room, joined) && self.namespace.room_edge(room, joined);
        changes.into_iter().map(|Change { room, edge }| Change { edge: edge && is_edge(&room), room }).collect()
    }

    /// Notes that a room appeared on this thread or vanished from it. Returns false if this was noted before.
    fn note(&self, room: &Room, came: bool) -> bool {
        let mut noted = self.noted.borrow_mut();
        if came { noted.insert(room.clone()) } else { noted.remove(room) }
    }

    pub(super) fn notify_change(&self, socket: &LocalSocket, room: Room, edge: bool, joined: bool) {
        trace::room(self.namespace.name(), &room, socket.shared.id, joined, edge);
        let handlers = self.namespace.setup().snapshot();
        if handlers.rooms.is_empty() {
            return;
        }
        let id = socket.shared.id;
        let emit = |event: RoomEvent| handlers.rooms.iter().for_each(|listener| notify(&socket.session, || listener(&event)));
        if joined {
            if edge {
                emit(RoomEvent::Create(ByteString::clone(&room)));
            }
            emit(RoomEvent::Join(room, id));
        } else {
            emit(RoomEvent::Leave(ByteString::clone(&room), id));
            if edge {
                emit(RoomEvent::Delete(room));
            }
        }
    }
}
