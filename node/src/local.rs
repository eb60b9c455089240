//! The Socket.IO side of one worker thread: its sockets, and its part of each namespace.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytestring::ByteString;
use slab::Slab;
use sociable_adapter::{Entry, LeftRoom, Missed, Position, SavedSession};
use sociable_protocol::{Args, Frames};

use crate::ack::{Ack, AckTable, Waiter};
use crate::actor::{ActorCell, Outcome, Supervised};
use crate::client::Client;
use crate::engine::Shared;
use crate::handler::{DisconnectContext, Erased, EventContext, HandlerError};
use crate::launch::{Begun, HANDLER, begin, go_on, launch, tell};
use crate::maps::Map;
use crate::metrics::Count;
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::recovery::{Marks, Ticket};
use crate::rooms::{Change, Rooms};
use crate::session::{Session, Waiting};
use crate::setup::{RoomEvent, Setup};
use crate::socket::{Socket, SocketError, SocketInner, Stage};
use crate::trace;
use crate::worker::Worker;

/// How long a change of a socket waits for others before it is saved.
const GATHER: Duration = Duration::from_millis(20);
/// In so many turns all sockets are saved anew.
const TURNS: usize = 16;

thread_local! {
    static LOCALS: RefCell<Vec<Rc<Local>>> = const { RefCell::new(Vec::new()) };
}

/// All that this thread has of one server.
pub(crate) struct Local {
    pub(crate) worker: Rc<Worker>,
    sockets: RefCell<Slab<Rc<LocalSocket>>>,
    namespaces: RefCell<Map<ByteString, Rc<LocalNamespace>>>,
    /// How far this thread has got with the events of the history.
    cursor: Cell<Position>,
    /// Sockets that have changed since they were saved, where they are saved while they live.
    changed: RefCell<Vec<Rc<LocalSocket>>>,
    /// They are saved anew now and then.
    refreshing: Cell<bool>,
}

impl Local {
    /// This thread's part of the server, if the thread is one of its workers.
    #[inline]
    pub(crate) fn current(engine: &Arc<Shared>) -> Option<Rc<Local>> {
        LOCALS
            .try_with(|locals| locals.borrow().iter().find(|local| Arc::ptr_eq(&local.worker.engine, engine)).cloned())
            .ok()
            .flatten()
            .or_else(|| Worker::current(engine).map(|worker| Self::attach(&worker)))
    }

    /// The part of the server whose worker this is.
    pub(crate) fn of(worker: &Rc<Worker>) -> Rc<Local> {
        let known = LOCALS.with(|locals| locals.borrow().iter().find(|local| Rc::ptr_eq(&local.worker, worker)).cloned());
        known.unwrap_or_else(|| Self::attach(worker))
    }

    fn attach(worker: &Rc<Worker>) -> Rc<Local> {
        let local = Rc::new(Local {
            worker: Rc::clone(worker),
            sockets: RefCell::default(),
            namespaces: RefCell::default(),
            cursor: Cell::default(),
            changed: RefCell::default(),
            refreshing: Cell::new(false),
        });
        LOCALS.with(|locals| locals.borrow_mut().push(Rc::clone(&local)));
        local
    }

    /// The socket behind a handle, unless it has left.
    #[inline]
    pub(crate) fn socket(&self, shared: &Arc<SocketInner>) -> Option<Rc<LocalSocket>> {
        self.sockets.borrow().get(shared.slot as usize).filter(|socket| Arc::ptr_eq(&socket.shared, shared)).cloned()
    }

    /// Makes a socket that is not connected yet: a new one, or the one that comes back.
    pub(crate) fn add(
        self: &Rc<Self>,
        session: &Rc<Session>,
        client: &Weak<Client>,
        namespace: &Namespace,
        auth: Args,
        back: Option<&SavedSession>,
    ) -> Rc<LocalSocket> {
        let mut sockets = self.sockets.borrow_mut();
        let entry = sockets.vacant_entry();
        let slot = entry.key() as u32;
        // An old client knows its socket by the id of the session.
        let old = session.dialect().is_old();
        let id = back.map_or_else(|| if old { session.id() } else { self.worker.draw_id() }, |back| back.id);
        let mut shared =
            SocketInner::new(id, namespace.clone(), self.worker.index, slot, session.handshake().clone(), auth).of_old_client(old);
        let recoverable = !old && namespace.recoveries().is_some();
        if recoverable {
            let pid = back.map_or_else(|| self.worker.draw_id(), |back| back.pid);
            shared = shared.with_ticket(
                Ticket {
                    pid,
                    recovered: back.is_some(),
                    lost: AtomicBool::new(false),
                    void: AtomicBool::new(false),
                    leaves: AtomicBool::new(false),
                },
                back.and_then(|back| back.data.clone()),
            );
        }
        let shared = Arc::new(shared);
        let socket = Rc::new(LocalSocket {
            shared,
            slot,
            session: Rc::clone(session),
            client: Weak::clone(client),
            namespace: self.namespace(namespace),
            setup: namespace.setup().snapshot(),
            actor: ActorCell::new(SocketActor::default()),
            met: Cell::new(0),
            listens_outgoing: Cell::new(false),
            telling: Cell::new(false),
            marks: recoverable.then(Box::default),
        });
        socket.listens_outgoing.set(!socket.setup.any_outgoing.is_empty());
        socket.namespace.sockets.set(socket.namespace.sockets.get() + 1);
        entry.insert(Rc::clone(&socket));
        socket
    }

    pub(crate) fn remove(&self, socket: &LocalSocket) {
        let mut sockets = self.sockets.borrow_mut();
        sockets.try_remove(socket.slot as usize);
        if sockets.len() < sockets.capacity() / 8 {
            sockets.shrink_to_fit();
        }
    }

    /// This thread's part of a namespace.
    pub(crate) fn namespace(self: &Rc<Self>, namespace: &Namespace) -> Rc<LocalNamespace> {
        if let Some(known) = self.namespaces.borrow().get(namespace.name()) {
            return Rc::clone(known);
        }
        let (this, of, counters) = (Rc::downgrade(self), namespace.clone(), Arc::clone(&self.worker.counters));
        let rebuild = move |old: Option<&Rooms>| match (old, this.upgrade()) {
            (Some(_), Some(local)) => Rooms::rebuild(local.sockets_of(&of).into_iter()),
            _ => Rooms::default(),
        };
        let name = namespace.name().clone();
        let report = move || {
            counters.one(Count::ActorsDied);
            counters.one(Count::ActorsRestarted);
            tracing::error!(target: "sociable::namespace", namespace = %trace::plain(&name), "the rooms of a namespace died and were built anew");
        };
        let part = Rc::new(LocalNamespace { namespace: namespace.clone(), sockets: Cell::new(0), rooms: Supervised::new(rebuild, report) });
        self.namespaces.borrow_mut().insert(namespace.name().clone(), Rc::clone(&part));
        part
    }

    /// Delivers an entry of the history. Each thread gets those that are for it in their order.
    pub(crate) fn deliver(&self, entry: &Entry) {
        let before = self.cursor.replace(entry.reached);
        if let Some(part) = self.known(&entry.namespace) {
            match &entry.order {
                None => part.fan_out_kept(entry, before),
                Some(operation) => part.obey(entry, operation),
            }
        }
    }

    /// How far this thread has got with the events of the history.
    pub(crate) fn cursor(&self) -> Position {
        self.cursor.get()
    }

    /// There was nothing for this thread up to here.
    pub(crate) fn reached(&self, position: Position) {
        self.cursor.set(self.cursor.get().later(position));
    }

    /// Saves a socket soon, and now and then from then on, if sockets are saved while they live.
    fn save_soon(self: &Rc<Self>, socket: &Rc<LocalSocket>) {
        let (Some(marks), Some(recoveries)) = (&socket.marks, socket.shared.namespace.recoveries()) else { return };
        let Some(refresh) = recoveries.history.refresh_interval() else { return };
        if marks.changed.replace(true) {
            return;
        }
        let mut changed = self.changed.borrow_mut();
        changed.push(Rc::clone(socket));
        if changed.len() == 1 {
            let this = Rc::clone(self);
            actix_rt::spawn(async move {
                // What changes together is saved once.
                tokio::time::sleep(GATHER).await;
                this.save_changed();
            });
        }
        if !self.refreshing.replace(true) {
            let this = Rc::downgrade(self);
            actix_rt::spawn(async move {
                for turn in (0..TURNS).cycle() {
                    tokio::time::sleep(refresh / TURNS as u32).await;
                    let Some(this) = this.upgrade() else { break };
                    let due: Vec<_> = this
                        .sockets
                        .borrow()
                        .iter()
                        .filter(|(slot, _)| slot % TURNS == turn)
                        .map(|(_, socket)| Rc::clone(socket))
                        .collect();
                    due.iter().for_each(|socket| this.save_soon(socket));
                }
            });
        }
    }

    /// Saves the sockets that have changed since they were saved.
    pub(crate) fn save_changed(&self) {
        for socket in self.changed.take() {
            let (Some(marks), Some(recoveries)) = (&socket.marks, socket.shared.namespace.recoveries()) else { continue };
            marks.changed.set(false);
            if socket.shared.is_connected() {
                recoveries.save_living(&socket.shared, marks, self.cursor());
            }
        }
    }

    /// This thread's part of a namespace, if any socket of it is here.
    pub(crate) fn known(&self, name: &ByteString) -> Option<Rc<LocalNamespace>> {
        self.namespaces.borrow().get(name).cloned()
    }

    /// A socket has left a namespace's part, or has not got into it.
    fn left(&self, part: &Rc<LocalNamespace>) {
        part.sockets.set(part.sockets.get() - 1);
        let mut parts = self.namespaces.borrow_mut();
        if part.sockets.get() == 0 && parts.get(part.namespace.name()).is_some_and(|known| Rc::ptr_eq(known, part)) {
            parts.remove(part.namespace.name());
        }
    }

    fn sockets_of(&self, namespace: &Namespace) -> Vec<Rc<LocalSocket>> {
        let sockets = self.sockets.borrow();
        let mine = sockets.iter().map(|(_, socket)| socket);
        mine.filter(|socket| socket.namespace.namespace == *namespace && socket.shared.is_connected()).cloned().collect()
    }
}

/// A namespace on this thread.
#[derive(Debug)]
pub(crate) struct LocalNamespace {
    pub(crate) namespace: Namespace,
    /// Sockets that are in it or on their way in: it stays as long as there are any.
    sockets: Cell<usize>,
    pub(crate) rooms: Supervised<Rooms>,
}

impl LocalNamespace {
    /// Tells listeners what became of rooms.
    fn tell(&self, socket: &LocalSocket, changes: Vec<Change>, joined: bool) {
        for Change { room, edge } in self.noted(changes, joined) {
            self.tell_one(socket, room, edge, joined);
        }
    }

    /// Notes which rooms came to the node, or went from it. All of them, before anybody is told of one: a listener may join and leave them.
    fn noted(&self, changes: Vec<Change>, joined: bool) -> Vec<Change> {
        let note = |Change { room, edge }| Change { edge: edge && self.namespace.room_edge(&room, joined), room };
        changes.into_iter().map(note).collect()
    }

    fn tell_one(&self, socket: &LocalSocket, room: ByteString, edge: bool, joined: bool) {
        trace::room(self.namespace.name(), &room, socket.shared.id, joined, edge);
        let setup = self.namespace.setup().snapshot();
        if setup.rooms.is_empty() {
            return;
        }
        let id = socket.shared.id;
        let tell = |event: RoomEvent| setup.rooms.iter().for_each(|listener| tell(&socket.session, || listener(&event)));
        if joined {
            if edge {
                tell(RoomEvent::Create(room.clone()));
            }
            tell(RoomEvent::Join(room, id));
        } else {
            tell(RoomEvent::Leave(room.clone(), id));
            if edge {
                tell(RoomEvent::Delete(room));
            }
        }
    }
}

/// A socket on its thread.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    pub(crate) shared: Arc<SocketInner>,
    pub(crate) slot: u32,
    pub(crate) session: Rc<Session>,
    client: Weak<Client>,
    pub(crate) namespace: Rc<LocalNamespace>,
    /// What its namespace had listening when it connected.
    setup: Arc<Setup>,
    actor: ActorCell<SocketActor>,
    /// The last walk of its namespace's rooms that met it.
    pub(crate) met: Cell<u64>,
    /// Someone listens to what is sent to it.
    pub(crate) listens_outgoing: Cell<bool>,
    /// They are being told.
    telling: Cell<bool>,
    /// How far it was served, if recovery is on.
    pub(crate) marks: Option<Box<Marks>>,
}

/// The state of a socket that is its alone.
#[derive(Debug, Default)]
pub(crate) struct SocketActor {
    /// What was added to this socket.
    own: Option<Box<Setup>>,
    acks: AckTable,
    /// Events that wait: for the middleware of the one before, or for other handlers to end.
    waiting: VecDeque<(Waiting, EventContext)>,
    /// A middleware is being asked about an event.
    held: bool,
}

/// What an event costs while it or its handler waits: its bytes, and about as much as is kept of it besides.
pub(crate) fn cost(name: &str, args: &Args) -> usize {
    let encoded = args.raw_json().map_or_else(|| args.raw_msgpack().map_or(0, <[u8]>::len), str::len);
    256 + name.len() + encoded + args.attachments().iter().map(bytes::Bytes::len).sum::<usize>()
}

/// What is to be done with an event, once the actor is free again.
struct Plan {
    own: Vec<Erased<EventContext>>,
    middleware: Vec<Erased<EventContext>>,
}

impl LocalSocket {
    pub(crate) fn socket(&self) -> Socket {
        Socket(Arc::clone(&self.shared))
    }

    /// Sends a message to the actor. If it dies of it, the socket is ended cleanly.
    pub(crate) fn call<R>(self: &Rc<Self>, message: impl FnOnce(&mut SocketActor) -> R) -> Option<R> {
        match self.actor.call(message) {
            Outcome::Done(reply) => Some(reply),
            Outcome::Ended => None,
            Outcome::Died(mut remains) => {
                self.session.worker().counters.one(Count::ActorsDied);
                tracing::error!(target: "sociable::socket", id = %self.shared.id.shortened(), "a socket's actor died");
                let acks = remains.acks.drain().collect::<Vec<_>>();
                self.leave(DisconnectReason::SocketFailed, true);
                acks.into_iter().for_each(|waiter| waiter.gone(self.shared.id));
                None
            }
        }
    }

    /// Changes what listens to this socket alone.
    ///
    /// What `change` gives is what it removed: it is dropped when the actor is free again, since a drop may run users' code.
    pub(crate) fn change<R>(self: &Rc<Self>, change: impl FnOnce(&mut Setup) -> R) {
        let changed = self.call(|actor| {
            let own = actor.own.get_or_insert_default();
            (change(own), !own.any_outgoing.is_empty())
        });
        let outgoing = changed.as_ref().is_some_and(|(_, outgoing)| *outgoing);
        self.listens_outgoing.set(outgoing || !self.setup.any_outgoing.is_empty());
    }

    /// Lists something that the namespace and the socket itself have listening.
    fn gather<T: Clone>(&self, list: impl Fn(&Setup) -> &Vec<T>) -> Vec<T> {
        let mut all = list(&self.setup).clone();
        let own = self.actor.read(|actor| actor.own.as_deref().map(|own| list(own).clone())).flatten();
        all.extend(own.into_iter().flatten());
        all
    }

    /// The socket enters its namespace, the rooms that it comes back to, and those that a middleware chose.
    pub(crate) fn connected(self: &Rc<Self>, back: &[ByteString], chosen: &[ByteString]) {
        let changes = self.namespace.rooms.call(|all| {
            all.insert(Rc::clone(self));
            (all.join(self, back), all.join(self, chosen))
        });
        let (mut changes, joined) = changes.unwrap_or_default();
        self.note_joined(&joined);
        changes.extend(joined);
        let own = Change { room: ByteString::from(self.shared.id.as_str()), edge: true };
        let changes = self.namespace.noted(changes, true);
        for Change { room, edge } in std::iter::once(own).chain(changes) {
            self.namespace.tell_one(self, room, edge, true);
        }
        self.changed();
        self.session.worker().counters.one(Count::SocketsOpened);
    }

    /// Marks the place from which on events are for it.
    pub(crate) fn begins_here(&self) {
        if let Some(marks) = &self.marks {
            let cursor = self.cursor();
            // A thread that has got no event yet is as far as all that were before it.
            let recoveries = self.shared.namespace.recoveries().filter(|_| cursor == Position::default());
            marks.since.set(recoveries.map_or(cursor, |recoveries| recoveries.history.head()));
        }
    }

    /// The packets of what a session missed, as they are sent.
    pub(crate) fn packets(&self, missed: &Missed) -> Vec<Frames> {
        let offsets = missed.offsets.iter().map(Some).chain(std::iter::repeat(None));
        let packet = |(entry, offset): (&Arc<Entry>, Option<&String>)| match offset {
            Some(offset) => self.shared.namespace.at_offset(&entry.frames, offset),
            None => entry.frames.clone(),
        };
        missed.entries.iter().zip(offsets).map(packet).collect()
    }

    /// Goes on where the socket was, and sends the packets of what it missed.
    pub(crate) fn goes_on(&self, session: &SavedSession, missed: &Missed, packets: Vec<Frames>) {
        let Some(marks) = &self.marks else { return };
        marks.joined.borrow_mut().extend(missed.rooms.iter().cloned());
        marks.left_rooms.borrow_mut().clone_from(&missed.left_rooms);
        marks.since.set(session.since);
        marks.sent.set(session.sent);
        marks.served.set(missed.head);
        marks.shown.borrow_mut().clone_from(&session.shown);
        for (entry, packet) in missed.entries.iter().zip(packets) {
            let sent = self.session.send(packet, entry.compress);
            match sent {
                Ok(()) => marks.sent.set(Some(entry.mark())),
                // Which of them the client has is not known by where it was before.
                Err(_) => marks.refused.set(Some(session.since)),
            }
        }
        self.session.worker().counters.one(Count::Recovered);
    }

    fn cursor(&self) -> Position {
        Local::of(self.session.worker()).cursor()
    }

    /// What is kept of it for its return has changed.
    pub(crate) fn changed(self: &Rc<Self>) {
        if self.marks.is_some() {
            Local::of(self.session.worker()).save_soon(self);
        }
    }

    /// A packet that is sent to this socket without a place in the history, such that its client does not take it for one with a place.
    pub(crate) fn placeless(&self, frames: Frames) -> Frames {
        match &self.marks {
            Some(marks) if self.shared.is_connected() => self.shared.namespace.with_offset(&frames, marks.reached(self.cursor())),
            _ => frames,
        }
    }

    pub(crate) fn join(self: &Rc<Self>, rooms: &[ByteString]) {
        if !self.shared.has_been_let_in() {
            return self.shared.choose_rooms(rooms.iter().cloned());
        }
        if let Some(changes) = self.namespace.rooms.call(|all| all.join(self, rooms)) {
            self.note_joined(&changes);
            self.changed();
            self.namespace.tell(self, changes, true);
        }
    }

    /// Notes the place from which on the events of rooms are for this socket.
    fn note_joined(&self, changes: &[Change]) {
        if let Some(marks) = &self.marks {
            let place = marks.reached(self.cursor());
            marks.joined.borrow_mut().extend(changes.iter().map(|change| (change.room.clone(), place)));
        }
    }

    pub(crate) fn leave_rooms(self: &Rc<Self>, rooms: &[ByteString]) {
        if !self.shared.has_been_let_in() {
            return rooms.iter().for_each(|room| self.shared.drop_room(room));
        }
        if let Some(changes) = self.namespace.rooms.call(|all| all.leave(self, rooms)) {
            if let Some(marks) = &self.marks {
                let to = marks.reached(self.cursor());
                for change in &changes {
                    let from = marks.joined.borrow_mut().remove(&change.room).unwrap_or_default();
                    marks.left_rooms.borrow_mut().add(LeftRoom { room: change.room.clone(), from, to });
                }
                self.changed();
            }
            self.namespace.tell(self, changes, false);
        }
    }

    /// Sends frames. What is not sent at once by a volatile event is dropped.
    #[inline]
    pub(crate) fn send(&self, frames: Frames, volatile: bool, compress: bool) -> Result<(), crate::engine::SendError> {
        if volatile && !self.session.is_writable() {
            self.session.worker().counters.one(Count::VolatileDropped);
            return Ok(());
        }
        let frames = self.placeless(frames);
        if self.listens_outgoing.get() {
            self.tell_outgoing(&frames);
        }
        self.session.send(frames, compress)
    }

    /// Tells listeners what is sent.
    pub(crate) fn tell_outgoing(&self, frames: &Frames) {
        // What a listener itself sends is not told again: it would never end.
        if self.telling.replace(true) {
            return;
        }
        self.tell_listeners(frames);
        self.telling.set(false);
    }

    fn tell_listeners(&self, frames: &Frames) {
        let Some((name, args, _)) = self.shared.namespace.read_event(frames) else { return };
        let context = EventContext { socket: self.socket(), name, args, ack: None };
        self.gather(|setup| &setup.any_outgoing).iter().for_each(|listener| tell(&self.session, || listener(&context)));
    }

    pub(crate) fn await_ack(self: &Rc<Self>, id: u64, waiter: Waiter) {
        self.call(|actor| actor.acks.insert(id, waiter));
    }

    pub(crate) fn forget_ack(self: &Rc<Self>, id: u64) {
        self.call(|actor| actor.acks.take(id));
    }

    /// The client has acknowledged an event.
    pub(crate) fn on_ack(self: &Rc<Self>, id: Option<u64>, args: Args) {
        match id.and_then(|id| self.call(|actor| actor.acks.take(id)).flatten()) {
            Some(owed) => {
                self.session.worker().counters.acks.observe(owed.since.elapsed());
                owed.waiter.answer(self.shared.id, args);
            }
            None => self.session.worker().counters.one(Count::AcksUnexpected),
        }
    }

    /// The client has sent an event.
    #[inline]
    pub(crate) fn on_event(self: &Rc<Self>, context: EventContext) {
        if let Some(own) = self.actor.read(|actor| actor.own.as_deref().map(|own| own.any.clone())).flatten() {
            self.setup.any.iter().chain(&own).for_each(|listener| tell(&self.session, || listener(&context)));
        } else {
            self.setup.any.iter().for_each(|listener| tell(&self.session, || listener(&context)));
        }
        if !self.shared.is_connected() {
            return;
        }
        // Behind an event whose middleware waits, and while too many handlers run, events wait: handlers begin in order. Acknowledgements
        // don't wait, since handlers may wait for them.
        let mut context = Some(context);
        self.call(|actor| {
            if actor.held || !actor.waiting.is_empty() || self.session.is_full() {
                actor.waiting.extend(context.take().map(|context| (self.session.wait(cost(&context.name, &context.args)), context)));
            }
        });
        if let Some(context) = context {
            self.handle(context);
        }
    }

    /// Goes on with the events that wait, as far as they need no longer.
    pub(crate) fn go_on(self: &Rc<Self>) {
        while self.shared.is_connected() && !self.session.is_full() {
            let next = self.call(|actor| if actor.held { None } else { actor.waiting.pop_front() });
            let Some((waited, context)) = next.flatten() else { break };
            drop(waited);
            self.handle(context);
        }
    }

    /// Asks the middleware, then calls the handlers.
    fn handle(self: &Rc<Self>, context: EventContext) {
        let plan = self.call(|actor| match actor.own.as_deref() {
            None => Plan { own: vec![], middleware: vec![] },
            Some(own) => Plan { own: own.events.get(&context.name).cloned().unwrap_or_default(), middleware: own.event_middleware.clone() },
        });
        let Some(Plan { own, middleware }) = plan else { return };
        if self.setup.event_middleware.is_empty() && middleware.is_empty() {
            return self.run(&context, own);
        }
        let middleware: Vec<_> = self.setup.event_middleware.iter().cloned().chain(middleware).collect();
        let asked = context.clone();
        let ask = move || -> futures_util::future::LocalBoxFuture<'static, Result<(), HandlerError>> {
            Box::pin(async move {
                for ask in middleware {
                    ask(&asked).await?;
                }
                Ok(())
            })
        };
        match begin(&self.session, ask) {
            Begun::Ended(verdict) => self.judged(&context, own, verdict),
            Begun::Panicked => {}
            Begun::Waits(future) => {
                self.call(|actor| actor.held = true);
                let this = Rc::clone(self);
                go_on(&self.session, HANDLER + cost(&context.name, &context.args), future, move |verdict| {
                    this.call(|actor| actor.held = false);
                    if let Some(verdict) = verdict {
                        this.judged(&context, own, verdict);
                    }
                });
            }
        }
    }

    fn judged(self: &Rc<Self>, context: &EventContext, own: Vec<Erased<EventContext>>, verdict: Result<(), HandlerError>) {
        match verdict {
            Ok(()) if self.shared.is_connected() => self.run(context, own),
            Ok(()) => {}
            Err(error) => {
                self.session.worker().counters.one(Count::EventsRefused);
                self.tell_error(&SocketError::refused(&context.name, error.clone()));
                self.answer_error(context.ack.as_ref(), error);
            }
        }
    }

    /// Calls the handlers of an event.
    #[inline]
    fn run(self: &Rc<Self>, context: &EventContext, own: Vec<Erased<EventContext>>) {
        let shared = self.setup.events.get(&context.name);
        let counters = &self.session.worker().counters;
        if shared.is_none() && own.is_empty() {
            counters.one(Count::EventsUnheard);
        }
        for handler in shared.into_iter().flatten().chain(&own) {
            let span = trace::handling(self.shared.id, self.shared.namespace.name(), &context.name);
            let begun =
                begin(&self.session, || if span.is_disabled() { handler(context) } else { trace::handled(span, || handler(context)) });
            match begun {
                Begun::Panicked => {}
                Begun::Ended(Ok(())) => counters.one(Count::EventsHandled),
                Begun::Ended(Err(error)) => self.failed(&context.name, context.ack.as_ref(), error),
                Begun::Waits(future) => {
                    let (this, name, ack) = (Rc::clone(self), context.name.clone(), context.ack.clone());
                    go_on(&self.session, HANDLER + cost(&context.name, &context.args), future, move |ended| match ended {
                        None => {}
                        Some(Ok(())) => this.session.worker().counters.one(Count::EventsHandled),
                        Some(Err(error)) => this.failed(&name, ack.as_ref(), error),
                    });
                }
            }
        }
    }

    fn failed(self: &Rc<Self>, event: &ByteString, ack: Option<&Ack>, error: HandlerError) {
        let count = if matches!(error, HandlerError::Arguments(_)) { Count::BadArguments } else { Count::HandlerErrors };
        self.session.worker().counters.one(count);
        tracing::debug!(target: "sociable::handler", id = %self.shared.id.shortened(), event = %trace::plain(event), ?error, "event not handled");
        self.tell_error(&SocketError::handler(event, error.clone()));
        self.answer_error(ack, error);
    }

    /// Tells the client that waits for an acknowledgement why there is none, if that is wanted.
    fn answer_error(&self, ack: Option<&Ack>, error: HandlerError) {
        #[derive(serde::Serialize)]
        struct Answer<'a> {
            error: Told<'a>,
        }
        #[derive(serde::Serialize)]
        struct Told<'a> {
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a serde_json::Value>,
        }
        let wanted = |ack: &&Ack| ack.is_asked() && self.shared.namespace.server_inner().is_some_and(|server| server.answer_errors);
        if let Some(ack) = ack.filter(wanted) {
            let failure = error.into_failure();
            // A client that has gone needs no answer.
            let _ = ack.send(&Answer { error: Told { message: failure.message(), data: failure.data() } });
        }
    }

    pub(crate) fn tell_error(&self, error: &SocketError) {
        let socket = self.socket();
        self.gather(|setup| &setup.errors).iter().for_each(|listener| tell(&self.session, || listener(&socket, error)));
    }

    /// Takes the socket out of its namespace. `tell_client`: with a disconnect packet.
    pub(crate) fn leave(self: &Rc<Self>, reason: DisconnectReason, tell_client: bool) {
        if !self.shared.advance(Stage::Connected, Stage::Disconnecting) {
            // One that is on its way out must not come back if it was put out.
            let put_out = reason == DisconnectReason::ServerNamespaceDisconnect && self.shared.has_been_let_in();
            if let Some(ticket) = self.shared.ticket.as_ref().filter(|_| put_out) {
                ticket.void.store(true, Ordering::Release);
            }
            return;
        }
        if tell_client {
            // If the session is over, so is what it could be told.
            let _ = self.session.send(self.shared.namespace.disconnect_frames(), true);
        }
        self.call_disconnect(self.gather(|setup| &setup.disconnecting), reason);
        if let (Some(recoveries), Some(marks)) = (self.shared.namespace.recoveries(), &self.marks) {
            recoveries.left(&self.shared, marks, self.cursor(), reason.is_recoverable());
        }
        let changes = self.namespace.rooms.call(|rooms| rooms.remove(self)).unwrap_or_default();
        self.namespace.tell(self, changes, false);
        let own = ByteString::from(self.shared.id.as_str());
        self.namespace.tell_one(self, own, true, false);
        self.shared.advance(Stage::Disconnecting, Stage::Disconnected);
        if let Some(client) = self.client.upgrade() {
            client.forget(self);
        }
        let counters = &self.session.worker().counters;
        counters.one(Count::SocketsClosed);
        match reason {
            DisconnectReason::ClientNamespaceDisconnect => counters.one(Count::ClientDisconnects),
            DisconnectReason::ServerNamespaceDisconnect => counters.one(Count::ServerDisconnects),
            // They are counted where they happen.
            DisconnectReason::SocketFailed | DisconnectReason::Session(_) => {}
        }
        tracing::debug!(target: "sociable::socket", id = %self.shared.id.shortened(), namespace = %trace::plain(self.shared.namespace.name()), %reason, "socket left");
        // Before the handlers: who asks them how many are left must not count this one.
        self.shared.namespace.left(self.marks.is_some() && reason.is_recoverable());
        self.call_disconnect(self.gather(|setup| &setup.disconnect), reason);
        if let Ok(mut actor) = self.actor.end() {
            actor.acks.drain().for_each(|waiter| waiter.gone(self.shared.id));
        }
        let local = Local::of(self.session.worker());
        local.remove(self);
        local.left(&self.namespace);
    }

    /// Takes the client out of all its namespaces and closes its connection.
    pub(crate) fn close(self: &Rc<Self>) {
        match self.client.upgrade() {
            Some(client) => client.close(),
            None => self.session.close(),
        }
    }

    /// Gives up a socket that was refused, or whose client went before it was connected.
    pub(crate) fn abandon(self: &Rc<Self>) {
        if !self.shared.advance(Stage::Connecting, Stage::Disconnected) {
            return;
        }
        if let Some(recoveries) = self.shared.namespace.recoveries() {
            recoveries.departed(&self.shared);
        }
        drop(self.shared.take_rooms());
        if let Ok(mut actor) = self.actor.end() {
            actor.acks.drain().for_each(|waiter| waiter.gone(self.shared.id));
        }
        let local = Local::of(self.session.worker());
        local.remove(self);
        local.left(&self.namespace);
        self.shared.namespace.left(false);
    }

    fn call_disconnect(self: &Rc<Self>, handlers: Vec<Erased<DisconnectContext>>, reason: DisconnectReason) {
        let context = DisconnectContext { socket: self.socket(), reason };
        for handler in handlers {
            let this = Rc::clone(self);
            launch(
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

    pub(crate) fn setup(&self) -> &Arc<Setup> {
        &self.setup
    }

    /// Makes the actor panic.
    #[cfg(test)]
    pub(crate) fn crash(self: &Rc<Self>) {
        self.call(|_| panic!("crash"));
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
