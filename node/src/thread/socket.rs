//! A socket on its thread.

use std::cell::Cell;
use std::fmt::Debug;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytestring::ByteString;
use sociable_adapter::{Entry, LeftRoom, Missed, Operation, Position, SavedSession};
use sociable_engine::actor::{ActorCell, Handle, Outcome};
use sociable_engine::{SendError, Session};
use sociable_protocol::{Args, Frames};

use crate::ack::Waiter;
use crate::handler::registry::Handlers;
use crate::handler::run::{notify, run};
use crate::handler::{ConnectContext, DisconnectContext, Erased, EventContext};
use crate::reason::DisconnectReason;
use crate::recovery::progress::DeliveryProgress;
use crate::socket::Socket;
use crate::socket_state::{SocketState, Stage};
use crate::stats::Count;
use crate::thread::ThreadState;
use crate::thread::namespace::LocalNamespace;
use crate::thread::namespace_actor::{Change, Enter, Exit, Join, Leave};
use crate::thread::socket_actor::{AwaitAck, Configure, Notify, SocketActor, TakeAck, Visit};
use crate::thread::sockets::InNamespace;
use crate::trace;

/// The connection of a client, as its sockets see it.
pub(crate) trait Connected: Debug {
    /// Removes a socket that has left.
    fn forget(&self, socket: &Rc<LocalSocket>);

    /// Disconnects the client from all its namespaces and closes its connection.
    fn close(&self);

    /// Returns the connected sockets of the client.
    fn all(&self) -> Vec<Socket>;
}

/// A socket on its thread.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    pub(crate) shared: Arc<SocketState>,
    pub(crate) slot: u32,
    pub(crate) session: Rc<Session>,
    pub(crate) thread: Rc<ThreadState>,
    client: Weak<dyn Connected>,
    pub(crate) namespace: Rc<LocalNamespace>,
    /// The snapshot of the namespace's handlers.
    pub(super) setup: Arc<Handlers>,
    /// The state that is this socket's alone.
    pub(super) actor: ActorCell<SocketActor>,
    /// The delivery progress, if recovery is on. The namespace needs it to end the socket after the actor's death.
    pub(super) progress: Option<Box<DeliveryProgress>>,
    /// True once the namespace has removed the socket. A restart must not add it again.
    pub(super) exited: Cell<bool>,
}

impl InNamespace for LocalSocket {
    fn namespace_name(&self) -> &ByteString {
        self.shared.namespace.name()
    }
}

impl LocalSocket {
    pub(crate) fn socket(&self) -> Socket {
        Socket(Arc::clone(&self.shared))
    }

    /// Returns a connecting socket for a slot of its thread.
    pub(super) fn new(
        shared: SocketState,
        session: &Rc<Session>,
        thread: &Rc<ThreadState>,
        namespace: Rc<LocalNamespace>,
        client: Weak<dyn Connected>,
    ) -> Self {
        let setup = shared.namespace.setup().snapshot();
        let progress = shared.recovery.is_some().then(Box::default);
        Self {
            slot: shared.slot,
            shared: Arc::new(shared),
            session: Rc::clone(session),
            thread: Rc::clone(thread),
            client,
            namespace,
            actor: ActorCell::new(SocketActor::new(&setup)),
            setup,
            progress,
            exited: Cell::new(false),
        }
    }

    /// Sends a message to the actor. If the actor dies of it, the namespace ends the socket.
    #[inline]
    pub(super) fn tell<M>(self: &Rc<Self>, message: M) -> Option<<SocketActor as Handle<M>>::Effect>
    where
        SocketActor: Handle<M>,
    {
        match self.actor.send(message) {
            Outcome::Done(effect) => Some(effect),
            Outcome::Ended => None,
            Outcome::Died(death) => {
                self.namespace.end_sockets(vec![(Rc::clone(self), death)], vec![]);
                None
            }
        }
    }

    /// Marks the socket as visited by a walk. Returns true if it was not.
    #[inline]
    pub(super) fn visit(&self, visit: u64) -> bool {
        // Setting a number cannot panic.
        matches!(self.actor.send(Visit(visit)), Outcome::Done(true))
    }

    /// Changes the handlers of this socket alone.
    ///
    /// `change` returns the removed handlers. They are dropped after the call to the actor, because a drop may run users' code.
    pub(crate) fn configure<R>(self: &Rc<Self>, change: impl FnOnce(&mut Handlers) -> R) {
        drop(self.tell(Configure(change)));
    }

    /// Collects listeners of the namespace and of this socket.
    pub(super) fn gather<T: Clone>(&self, list: impl Fn(&Handlers) -> &Vec<T>) -> Vec<T> {
        let mut all = list(&self.setup).clone();
        let own = self.actor.read(|actor| actor.own().map(|own| list(own).clone())).flatten();
        all.extend(own.into_iter().flatten());
        all
    }

    /// Returns the handlers of the connection, and removes those of this socket.
    pub(crate) fn take_connect_handlers(self: &Rc<Self>) -> Vec<Erased<ConnectContext>> {
        let mut all = self.setup.connect.clone();
        if self.actor.read(|actor| actor.own().is_some()) == Some(true) {
            all.extend(self.tell(Configure(|own: &mut Handlers| std::mem::take(&mut own.connect))).unwrap_or_default());
        }
        all
    }

    /// Enters the namespace, the recovered rooms, and those that middleware chose.
    pub(crate) fn connected(self: &Rc<Self>, back: &[ByteString], chosen: &[ByteString]) {
        self.namespace.send(Enter(self));
        let mut changes = self.namespace.moved(Join { socket: self, rooms: back }).unwrap_or_default();
        let joined = self.namespace.moved(Join { socket: self, rooms: chosen }).unwrap_or_default();
        self.note_joined(&joined);
        changes.extend(joined);
        let own = Change { room: ByteString::from(self.shared.id.as_str()), edge: true };
        // A returned socket may have left it before.
        let own = (!self.shared.has_left_own_room()).then_some(own);
        let changes = self.namespace.on_node(self, changes, true);
        for Change { room, edge } in own.into_iter().chain(changes) {
            self.namespace.notify_change(self, room, edge, true);
        }
        self.changed();
        self.thread.count(Count::SocketsOpened);
    }

    /// Sets the position after which events are for this socket.
    pub(crate) fn start_fresh(&self) {
        if let Some(progress) = &self.progress {
            let cursor = self.cursor();
            // A thread that has delivered nothing yet is as far as the head of the history.
            let recoveries = self.shared.namespace.recoveries().filter(|_| cursor == Position::default());
            progress.since.set(recoveries.map_or(cursor, |recoveries| recoveries.history.head()));
        }
    }

    /// Returns the packets that a session missed.
    pub(crate) fn packets(&self, missed: &Missed) -> Vec<Frames> {
        let offsets = missed.offsets.iter().map(Some).chain(std::iter::repeat(None));
        let packet = |(entry, offset): (&Arc<Entry>, Option<&String>)| match offset {
            Some(offset) => self.shared.namespace.at_offset(&entry.frames, offset),
            None => entry.frames.clone(),
        };
        missed.entries.iter().zip(offsets).map(packet).collect()
    }

    /// Continues a recovered session, and sends its missed packets.
    pub(crate) fn resume(&self, session: &SavedSession, missed: &Missed, packets: Vec<Frames>) {
        let Some(progress) = &self.progress else { return };
        progress.joined.borrow_mut().extend(missed.rooms.iter().cloned());
        let is_in_own = !missed.own_is_listed || missed.rooms.iter().any(|(room, _)| self.shared.is_own_room(room));
        self.shared.set_left_own_room(!is_in_own);
        progress.left_rooms.borrow_mut().clone_from(&missed.left_rooms);
        progress.since.set(session.since);
        progress.sent.set(session.sent);
        progress.served.set(missed.head);
        progress.shown.borrow_mut().clone_from(&session.shown);
        for (entry, packet) in missed.entries.iter().zip(packets) {
            let sent = self.session.send(packet, entry.compress);
            match sent {
                Ok(()) => progress.sent.set(Some(entry.mark())),
                // The earlier progress does not say which of them the client has.
                Err(_) => progress.refused.set(Some(session.since)),
            }
        }
        self.thread.count(Count::Recovered);
    }

    fn cursor(&self) -> Position {
        self.thread.cursor()
    }

    /// Schedules a save of the changed session.
    pub(crate) fn changed(self: &Rc<Self>) {
        if self.shared.recovery.is_some() {
            self.thread.save_soon(self);
        }
    }

    /// Returns a packet without a position, in a form that this client does not misread.
    pub(super) fn placeless(&self, frames: &Frames, progress: &DeliveryProgress, cursor: Position) -> Frames {
        if !self.shared.is_connected() {
            return frames.clone();
        }
        self.shared.namespace.with_offset(frames, progress.reached(cursor))
    }

    pub(crate) fn join(self: &Rc<Self>, rooms: &[ByteString]) {
        if !self.shared.has_been_let_in() {
            return self.shared.choose_rooms(rooms.iter().cloned());
        }
        if let Some(changes) = self.namespace.moved(Join { socket: self, rooms }) {
            self.note_joined(&changes);
            self.changed();
            self.namespace.notify_changes(self, changes, true);
        }
    }

    /// Notes the position from which on the events of rooms are for this socket.
    fn note_joined(&self, changes: &[Change]) {
        if let Some(progress) = &self.progress {
            let place = progress.reached(self.cursor());
            progress.joined.borrow_mut().extend(changes.iter().map(|change| (change.room.clone(), place)));
        }
    }

    pub(crate) fn leave_rooms(self: &Rc<Self>, rooms: &[ByteString]) {
        if !self.shared.has_been_let_in() {
            return rooms.iter().for_each(|room| self.shared.drop_room(room));
        }
        if let Some(changes) = self.namespace.moved(Leave { socket: self, rooms }) {
            if let Some(progress) = &self.progress {
                let to = progress.reached(self.cursor());
                for change in &changes {
                    let first = if self.shared.is_own_room(&change.room) { progress.since.get() } else { Position::default() };
                    let from = progress.joined.borrow_mut().remove(&change.room).unwrap_or(first);
                    progress.left_rooms.borrow_mut().add(LeftRoom { room: change.room.clone(), from, to });
                }
                self.changed();
            }
            self.namespace.notify_changes(self, changes, false);
        }
    }

    /// Sends frames. A volatile event that cannot leave at once is dropped.
    #[inline]
    pub(crate) fn send(self: &Rc<Self>, frames: Frames, volatile: bool, compress: bool) -> Result<(), SendError> {
        if volatile && !self.session.is_writable() {
            self.thread.count(Count::VolatileDropped);
            return Ok(());
        }
        let frames = match &self.progress {
            Some(progress) => self.placeless(&frames, progress, self.cursor()),
            None => frames,
        };
        if self.actor.read(SocketActor::listens_outgoing) == Some(true) {
            self.notify_outgoing(&frames);
        }
        self.session.send(frames, compress)
    }

    /// Notifies the listeners for outgoing events.
    pub(super) fn notify_outgoing(self: &Rc<Self>, frames: &Frames) {
        if self.tell(Notify(true)) == Some(true) {
            self.notify_listeners(frames);
            self.tell(Notify(false));
        }
    }

    fn notify_listeners(&self, frames: &Frames) {
        let listeners = self.gather(|setup| &setup.any_outgoing);
        #[cfg(feature = "admin")]
        let tap = self.actor.read(|actor| actor.own().and_then(|own| own.tap.clone())).flatten().filter(|tap| (tap.wants)());
        #[cfg(feature = "admin")]
        if listeners.is_empty() && tap.is_none() {
            return;
        }
        let Some((name, args, _)) = self.shared.namespace.read_event(frames) else { return };
        let context = EventContext { socket: self.socket(), name, args, ack: None };
        #[cfg(feature = "admin")]
        tap.iter().for_each(|tap| notify(&self.session, || (tap.sent)(&context)));
        listeners.iter().for_each(|listener| notify(&self.session, || listener(&context)));
    }

    pub(crate) fn await_ack(self: &Rc<Self>, id: u64, waiter: Waiter) {
        self.tell(AwaitAck(id, waiter));
    }

    pub(crate) fn forget_ack(self: &Rc<Self>, id: u64) {
        self.tell(TakeAck(id));
    }

    /// Handles an acknowledgement of the client.
    pub(crate) fn on_ack(self: &Rc<Self>, id: Option<u64>, args: Args) {
        match id.and_then(|id| self.tell(TakeAck(id)).flatten()) {
            Some(owed) => {
                self.thread.acks.observe(owed.since.elapsed());
                owed.waiter.answer(self.shared.id, args);
            }
            None => self.thread.count(Count::AcksUnexpected),
        }
    }

    /// Removes the socket from its namespace. With `tell_client`, the client gets a disconnect packet.
    pub(crate) fn leave(self: &Rc<Self>, reason: DisconnectReason, tell_client: bool) {
        if !self.shared.advance(Stage::Connected, Stage::Disconnecting) {
            // A leaving socket that the server disconnects must not be recovered.
            let put_out = reason == DisconnectReason::ServerNamespaceDisconnect && self.shared.has_been_let_in();
            if let Some(recovery) = self.shared.recovery.as_ref().filter(|_| put_out) {
                recovery.void.store(true, Ordering::Release);
            }
            return;
        }
        if tell_client {
            // An ended session needs no packet.
            let _ = self.session.send(self.shared.namespace.disconnect_frames(), true);
        }
        self.call_disconnect(self.gather(|setup| &setup.disconnecting), reason);
        if let (Some(recoveries), Some(progress)) = (self.shared.namespace.recoveries(), &self.progress) {
            recoveries.on_disconnected(&self.shared, progress, self.cursor(), reason.is_recoverable());
        }
        // A namespace that dies of the message is restarted with all its sockets, this one included. So it is sent again.
        let changes = self.namespace.moved(Exit(self)).or_else(|| self.namespace.moved(Exit(self))).unwrap_or_default();
        self.namespace.notify_changes(self, changes, false);
        if !self.shared.has_left_own_room() {
            let own = ByteString::from(self.shared.id.as_str());
            self.namespace.notify_change(self, own, true, false);
        }
        self.shared.advance(Stage::Disconnecting, Stage::Disconnected);
        if let Some(client) = self.client.upgrade() {
            client.forget(self);
        }
        let counters = &self.thread.counters;
        counters.increment(Count::SocketsClosed);
        match reason {
            DisconnectReason::ClientNamespaceDisconnect => counters.increment(Count::ClientDisconnects),
            DisconnectReason::ServerNamespaceDisconnect => counters.increment(Count::ServerDisconnects),
            DisconnectReason::SocketFailed => counters.increment(Count::SocketsFailed),
            // The session counts its own reason.
            DisconnectReason::Session(_) => counters.increment(Count::SessionDisconnects),
        }
        tracing::debug!(target: "sociable::socket", id = %self.shared.id.shortened(), namespace = %trace::plain(self.shared.namespace.name()), %reason, "socket left");
        // Before the handlers, which may query the number of sockets.
        self.shared.namespace.on_left(self.shared.recovery.is_some() && reason.is_recoverable());
        self.call_disconnect(self.gather(|setup| &setup.disconnect), reason);
        if let Ok(mut actor) = self.actor.end() {
            actor.drain_acks().into_iter().for_each(|waiter| waiter.left(self.shared.id));
        }
        self.thread.remove(self);
        self.thread.on_left(&self.namespace);
    }

    /// Returns the connected sockets of its client.
    pub(crate) fn of_client(&self) -> Vec<Socket> {
        self.client.upgrade().map(|client| client.all()).unwrap_or_default()
    }

    /// Disconnects the client from all its namespaces and closes its connection.
    pub(crate) fn close(self: &Rc<Self>) {
        match self.client.upgrade() {
            Some(client) => client.close(),
            None => self.session.close(),
        }
    }

    /// Abandons a socket that was refused, or whose client disconnected before it was connected.
    pub(crate) fn abandon(self: &Rc<Self>) {
        if !self.shared.advance(Stage::Connecting, Stage::Disconnected) {
            return;
        }
        if let Some(recoveries) = self.shared.namespace.recoveries() {
            recoveries.on_removed(&self.shared);
        }
        drop(self.shared.take_rooms());
        if let Ok(mut actor) = self.actor.end() {
            actor.drain_acks().into_iter().for_each(|waiter| waiter.left(self.shared.id));
        }
        self.thread.remove(self);
        self.thread.on_left(&self.namespace);
        self.shared.namespace.on_left(false);
    }

    fn call_disconnect(self: &Rc<Self>, handlers: Vec<Erased<DisconnectContext>>, reason: DisconnectReason) {
        let context = DisconnectContext { socket: self.socket(), reason };
        for handler in handlers {
            let this = Rc::clone(self);
            run(
                &self.session,
                || handler(&context),
                move |ended| {
                    if let Err(error) = ended {
                        this.failed(&ByteString::from_static("disconnect"), None, error);
                    }
                },
            );
        }
    }

    pub(crate) fn setup(&self) -> &Arc<Handlers> {
        &self.setup
    }

    /// Makes the next broadcast to the socket panic.
    #[cfg(test)]
    pub(crate) fn break_actor(self: &Rc<Self>) {
        self.tell(crate::thread::socket_actor::Break);
    }

    /// Makes the actor panic.
    #[cfg(test)]
    pub(crate) fn crash(self: &Rc<Self>) {
        self.tell(crate::thread::socket_actor::Crash);
    }
}

/// Makes sockets join, leave or disconnect.
pub(crate) fn carry_out(sockets: &[Rc<LocalSocket>], operation: &Operation) {
    match operation {
        Operation::Join(rooms) => sockets.iter().for_each(|socket| socket.join(rooms)),
        Operation::Leave(rooms) => sockets.iter().for_each(|socket| socket.leave_rooms(rooms)),
        Operation::Disconnect { close: true } => sockets.iter().for_each(LocalSocket::close),
        Operation::Disconnect { close: false } => {
            sockets.iter().for_each(|socket| socket.leave(DisconnectReason::ServerNamespaceDisconnect, true));
        }
        // Events take other ways. Server events are for the application.
        Operation::Emit { .. } | Operation::ServerEvent { .. } => {}
    }
}
