//! A namespace on one worker thread: the supervisor of its sockets and rooms, and what it tells their listeners.

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
use crate::thread::namespace_actor::{Change, DeadRoom, Find, Moved, NamespaceActor, Rebuild};
use crate::thread::room::RoomActor;
use crate::thread::socket::LocalSocket;
use crate::thread::socket_actor::SocketActor;
use crate::trace;

/// A room is built anew from what its sockets know of themselves. If rooms die too often, the namespace is.
const ROOMS: Strategy = Strategy { restarts: 5, within: Duration::from_secs(10), beyond: Directive::Escalate };

/// A namespace is built anew from what its sockets know of themselves. If it dies too often, its sockets on this thread are ended.
const NAMESPACE: Strategy = Strategy { restarts: 5, within: Duration::from_secs(10), beyond: Directive::Stop };

/// A namespace on this thread.
#[derive(Debug)]
pub(crate) struct LocalNamespace {
    pub(crate) namespace: Namespace,
    thread: Weak<ThreadState>,
    /// Sockets that are in it or on their way in: it stays as long as there are any.
    pub(super) sockets: Cell<usize>,
    actor: ActorCell<NamespaceActor>,
    /// Its own restarts, and those of its rooms.
    restarts: RefCell<Restarts>,
    room_restarts: RefCell<Restarts>,
    /// The rooms that the node counts as being on this thread.
    noted: RefCell<Set<Room>>,
    /// It is being stopped: its sockets are ended.
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

    /// Sends a message to the namespace's actor. Returns `None` if it died of it: then a new one is in its place.
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

    /// Returns the sockets that are meant.
    pub(crate) fn find(&self, target: &Target) -> Vec<Rc<LocalSocket>> {
        let (found, dead) = self.send(Find(target)).unwrap_or_default();
        self.supervise_rooms(dead);
        found
    }

    /// Sends a message by which a socket joins or leaves rooms. Returns the rooms.
    pub(super) fn moved<M>(&self, message: M) -> Option<Vec<Change>>
    where
        NamespaceActor: Handle<M, Effect = Moved>,
    {
        let Moved { mut changes, dead } = self.send(message)?;
        if !dead.is_empty() {
            self.supervise_rooms(dead);
            // The rooms of this message were noted with all others.
            changes.iter_mut().for_each(|change| change.edge = false);
        }
        Some(changes)
    }

    /// Records how long a call of an actor took.
    #[inline]
    pub(super) fn thread_called(&self, kind: ActorKind, time: Duration) {
        if let Some(thread) = self.thread.upgrade() {
            thread.worker.actor_called(kind, time);
        }
    }

    /// Rooms have died: each is built anew, or the whole namespace with all of them.
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
            self.restart("its rooms died too often".into());
        }
    }

    /// Ends sockets whose actors died, and tells their clients and handlers. All actors are replaced before that runs users' code.
    #[cold]
    pub(super) fn end_sockets(&self, dead: Vec<(Rc<LocalSocket>, Death<SocketActor>)>, dead_rooms: Vec<DeadRoom>) {
        let mut ended = vec![];
        for (socket, Death { mut remains, cause }) in dead {
            self.record(SocketActor::KIND, &socket.shared.id.shortened().to_string(), cause, Directive::Stop);
            socket.actor.replace(SocketActor::new(false));
            ended.push((socket, remains.drain_acks()));
        }
        self.supervise_rooms(dead_rooms);
        for (socket, acks) in ended {
            socket.leave(DisconnectReason::SocketFailed, true);
            acks.into_iter().for_each(|waiter| waiter.gone(socket.shared.id));
        }
    }

    /// The namespace's actor has died, or is to be made anew.
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
        // While the sockets are being ended, it may die again.
        if stop && !self.stopping.replace(true) {
            sockets.iter().for_each(|socket| socket.leave(DisconnectReason::SocketFailed, true));
            self.stopping.set(false);
        }
    }

    /// Notes which rooms are on this thread after an actor was built anew: a join or leave may have been half done.
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

    /// Tells listeners of rooms that a socket joined or left.
    pub(super) fn notify_changes(&self, socket: &LocalSocket, changes: Vec<Change>, joined: bool) {
        for Change { room, edge } in self.on_node(changes, joined) {
            self.notify_change(socket, room, edge, joined);
        }
    }

    /// Notes which rooms came to the node, or went from it. All of them, before anybody is told of one: a listener may join and leave them.
    pub(super) fn on_node(&self, changes: Vec<Change>, joined: bool) -> Vec<Change> {
        let note =
            |Change { room, edge }| Change { edge: edge && self.note(&room, joined) && self.namespace.room_edge(&room, joined), room };
        changes.into_iter().map(note).collect()
    }

    /// Notes that a room came to this thread, or went from it. Returns false if that is known.
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
