//! One client: the sockets of a session, and the packets between.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as ArcWeak};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt;
use sociable_adapter::{LeftRoom, Missed, Room, SavedSession};
use sociable_engine::layer::Ending;
use sociable_engine::{CloseReason, Connection, Session};
use sociable_protocol::maps::Set;
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Args, Body, DecodeError, Decoder, Frames, Packet, Value};
use tracing::{Instrument, Span};

use crate::ack::Ack;
use crate::handler::run::{run, spawn_rest};
use crate::handler::{ConnectContext, EventContext, Failure};
use crate::namespace::Namespace;
use crate::namespace_limits::Made;
use crate::reason::DisconnectReason;
use crate::recovery::registry::Claimed;
use crate::server_state::{NoEntry, ServerState};
use crate::socket::SocketError;
use crate::socket_state::Stage;
use crate::spans;
use crate::stats::Count;
use crate::thread::ThreadState;
use crate::thread::socket::{Connected, LocalSocket};
use crate::thread::sockets::Sockets;
use crate::trace;

/// Many more namespaces than a client ever joins, at once or pending: each costs memory before anybody has agreed to it.
const MAX_NAMESPACES: usize = 1000;
/// No namespace has a name longer than this, in bytes: names are kept for as long as the namespace.
const MAX_NAME: usize = 1024;

/// What a message costs besides its bytes while its packet is incomplete.
const MESSAGE: usize = 64;
/// What a namespace of a client costs besides its name and what the client sent to be let in.
const NAMESPACE: usize = 1024;

/// What is kept of a client for a namespace that it is in, or wants to be in.
fn cost(name: &str, auth: &Args) -> usize {
    NAMESPACE + name.len() + auth.encoded_len()
}

const INVALID_NAMESPACE: &str = "Invalid namespace";
const TOO_MANY_NAMESPACES: &str = "Too many namespaces";

/// The layer above a session.
#[derive(Debug)]
pub(crate) struct Client {
    this: Weak<Client>,
    server: ArcWeak<ServerState>,
    session: Rc<Session>,
    thread: Rc<ThreadState>,
    decoder: RefCell<Box<dyn Decoder>>,
    sockets: RefCell<Sockets<LocalSocket>>,
    /// Namespaces that are asked whether they let the client in.
    connecting: RefCell<Option<Box<Set<ByteString>>>>,
    /// The namespaces that it made.
    made: OnceCell<Made>,
    /// It has been in some namespace.
    joined: Cell<bool>,
    /// What is kept of a packet whose attachments have not all come.
    unfinished: Cell<usize>,
}

impl Client {
    pub(crate) fn open(server: &Arc<ServerState>, session: Rc<Session>, thread: Rc<ThreadState>) -> Rc<Self> {
        session.expect_within(server.connect_timeout);
        let client = Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            server: Arc::downgrade(server),
            decoder: RefCell::new(server.parser.decoder()),
            session,
            thread,
            sockets: RefCell::default(),
            connecting: RefCell::default(),
            made: OnceCell::new(),
            joined: Cell::new(false),
            unfinished: Cell::new(0),
        });
        if client.is_old() {
            // It does not ask for the main namespace: it is in it from the start.
            client.connect(ByteString::from_static(MAIN_NAMESPACE), None);
        }
        client
    }

    /// A client of Socket.IO 2 or before.
    fn is_old(&self) -> bool {
        self.session.version().is_v3()
    }

    /// Takes what the decoder made of a message of this length.
    fn decoded(&self, decoded: Result<Option<Packet>, DecodeError>, length: usize) {
        match decoded {
            Ok(Some(packet)) => {
                if self.unfinished.get() > 0 {
                    self.finished();
                }
                trace::packet_in(self.session.id(), &packet);
                self.packet(packet);
            }
            Ok(None) => self.awaits_attachments(length),
            Err(error) => {
                tracing::debug!(target: "sociable::parser", sid = %self.session.id().shortened(), %error, "undecodable packet");
                self.session.worker().counters().increment(sociable_engine::layer::Count::ParseErrors);
                for socket in self.sockets() {
                    socket.notify_error(&SocketError::Decode(error));
                }
                self.session.end(CloseReason::ForcedClose, Ending::Graceful);
            }
        }
    }

    /// A packet awaits attachments: the next has to come in time, and all together may take only so much memory.
    fn awaits_attachments(&self, length: usize) {
        let cost = length + MESSAGE;
        if !self.session.keep(cost) {
            return self.session.end_over_budget();
        }
        self.unfinished.set(self.unfinished.get() + cost);
        // Before it joins, its time is shorter still.
        if self.joined.get() {
            self.expect_attachments();
        }
    }

    fn expect_attachments(&self) {
        if let Some(server) = self.server.upgrade() {
            self.session.expect_within(server.packet_timeout);
        }
    }

    /// The packet that awaited attachments is complete.
    fn finished(&self) {
        self.session.let_go(self.unfinished.take());
        if self.joined.get() {
            self.session.expected_came();
        }
    }

    #[inline]
    fn packet(&self, mut packet: Packet) {
        if self.is_old() {
            self.read_query(&mut packet);
        }
        match (packet.body, self.socket(&packet.namespace)) {
            (Body::Event { name, args, id }, Some(socket)) => {
                let handle = socket.socket();
                let ack = id.map(|id| Ack::to_client(handle.clone(), id));
                socket.on_event(EventContext { socket: handle, name, args, ack });
            }
            (Body::Ack { args, id }, Some(socket)) => socket.on_ack(id, args),
            (Body::Disconnect, Some(socket)) => socket.leave(DisconnectReason::ClientNamespaceDisconnect, false),
            (Body::Connect(auth), None) if !self.asks(&packet.namespace) => self.connect(packet.namespace, auth),
            (body, _) => {
                tracing::debug!(target: "sociable::socket", sid = %self.session.id().shortened(), namespace = %trace::plain(&packet.namespace), kind = trace::kind(&body), "unexpected packet");
                self.session.worker().counters().increment(sociable_engine::layer::Count::ProtocolErrors);
                self.session.close();
            }
        }
    }

    /// Old clients put what they send to be let in into a query behind the name of the namespace.
    fn read_query(&self, packet: &mut Packet) {
        let Some((name, query)) = packet.namespace.split_once('?') else { return };
        if let (Body::Connect(auth), Some(server)) = (&mut packet.body, self.server.upgrade()) {
            let fields = form_urlencoded::parse(query.as_bytes());
            let fields = fields.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())));
            *auth = Args::encode(server.parser.encoding(), &Value::Object(fields.collect())).ok();
        }
        packet.namespace = packet.namespace.slice_ref(name);
    }

    fn socket(&self, namespace: &str) -> Option<Rc<LocalSocket>> {
        self.sockets.borrow().find(namespace).cloned()
    }

    fn sockets(&self) -> Vec<Rc<LocalSocket>> {
        self.sockets.borrow().all()
    }

    /// True if a namespace is being asked whether it lets the client in.
    fn asks(&self, namespace: &ByteString) -> bool {
        self.connecting.borrow().as_ref().is_some_and(|connecting| connecting.contains(namespace))
    }

    /// Asks a namespace to let the client in.
    fn connect(&self, name: ByteString, auth: Option<Args>) {
        let (Some(this), Some(server)) = (self.this.upgrade(), self.server.upgrade()) else { return self.session.close() };
        if name.len() > MAX_NAME {
            return self.refuse(&server, name, &Failure::new(INVALID_NAMESPACE));
        }
        if self.sockets.borrow().len() + self.connecting.borrow().as_ref().map_or(0, |connecting| connecting.len()) >= MAX_NAMESPACES {
            return self.refuse(&server, name, &Failure::new(TOO_MANY_NAMESPACES));
        }
        // It is kept as long as the socket: not with the whole message that it came in.
        let name = if &*name == MAIN_NAMESPACE { ByteString::from_static(MAIN_NAMESPACE) } else { ByteString::from(&*name) };
        let auth = auth.unwrap_or_else(|| server.no_auth.clone());
        let cost = cost(&name, &auth);
        if auth.encoded_len() > server.max_auth_bytes || !self.session.keep(cost) {
            self.thread.count(Count::AuthTooLarge);
            return self.refuse(&server, name, &Failure::new("Too much data"));
        }
        let auth = auth.detached();
        self.connecting.borrow_mut().get_or_insert_default().insert(name.clone());
        let joining = Rc::clone(&this);
        let (asked, by) = (name.clone(), Arc::clone(&server));
        let join = move || async move { joining.join(&by, &asked, auth, cost).await }.boxed_local();
        let settle = move |joined: Option<Result<(), Failure>>| {
            // A middleware that panicked has not let the client in.
            if let Err(failure) = joined.unwrap_or_else(|| Err(Failure::new("Internal server error"))) {
                this.refuse(&server, name, &failure);
            }
        };
        // Not at once: what a client sends behind its request, without waiting for the answer, is a fault of its own, as with the JavaScript
        // server.
        spawn_rest(&self.session, 0, join(), settle);
    }

    fn refuse(&self, server: &ServerState, name: ByteString, failure: &Failure) {
        self.thread.count(Count::ConnectionsRefused);
        tracing::debug!(target: "sociable::namespace", sid = %self.session.id().shortened(), namespace = %trace::plain(&name), why = failure.message(), "connection refused");
        let encoding = server.parser.encoding();
        let bare = self.is_old() && failure.message() != INVALID_NAMESPACE;
        let payload = if bare { failure.bare_payload(encoding) } else { failure.payload(encoding) };
        let packet = Packet { namespace: name, body: Body::ConnectError(payload) };
        // A client that has gone needs no answer.
        let _ = self.session.send(server.parser.encode(&packet), true);
    }

    async fn join(&self, server: &Arc<ServerState>, name: &ByteString, auth: Args, cost: usize) -> Result<(), Failure> {
        let connecting = Connecting { client: self, name, cost: Cell::new(cost) };
        let namespace = server.enter(name, &auth, &self.made, self.session.handshake()).await.map_err(|refused| match refused {
            NoEntry::Invalid => Failure::new(INVALID_NAMESPACE),
            NoEntry::TooMany => Failure::new(TOO_MANY_NAMESPACES),
        })?;
        if !spans::are_on() {
            return self.admit(server, &namespace, auth, &connecting).await;
        }
        let span = namespace.spans().connecting(self.session.handshake());
        let admitted = self.admit(server, &namespace, auth, &connecting).boxed_local().instrument(span.clone()).await;
        if let Err(failure) = &admitted {
            spans::note_refusal(&span, failure.message());
        }
        admitted
    }

    /// Asks the middleware of a namespace, and makes the client a socket of it.
    async fn admit(
        &self,
        server: &Arc<ServerState>,
        namespace: &Namespace,
        auth: Args,
        connecting: &Connecting<'_>,
    ) -> Result<(), Failure> {
        let recoveries = namespace.recoveries().filter(|_| !self.is_old());
        let mut claimed = match recoveries {
            Some(recoveries) => recoveries.claim(namespace, &auth).await,
            None => None,
        };
        let back = claimed.as_ref().and_then(Claimed::session);
        let socket = self.thread.add(&self.session, self.this.clone(), namespace, auth, back);
        let _undo = Abandoned(&socket);
        Span::current().record("messaging.client.id", tracing::field::display(socket.shared.id.shortened()));
        let asked = claimed.is_none() || recoveries.is_some_and(|recoveries| !recoveries.skip_middlewares);
        let known = if asked { ask_middleware(&socket, claimed.as_mut()).await? } else { Set::default() };
        // The client may have gone while it was waiting.
        if !self.session.is_open() {
            return Ok(());
        }
        // From here to the end nothing waits: what others send comes before all this or after it.
        if let Some(recoveries) = recoveries {
            recoveries.on_connected(&socket.shared, self.thread.worker.index());
        }
        let Ok(back) = claimed.map(|claimed| self.take_missed(&socket, claimed)).transpose() else { return Ok(()) };
        if !socket.shared.advance(Stage::Connecting, Stage::Connected) {
            return Ok(());
        }
        if !self.joined.replace(true) {
            self.session.expected_came();
            if self.unfinished.get() > 0 {
                self.expect_attachments();
            }
        }
        // From now on the socket is what it is kept for.
        connecting.cost.set(0);
        self.sockets.borrow_mut().add(Rc::clone(&socket));
        let (rooms, chosen) = resume(&socket, back, &known);
        socket.connected(&rooms, &chosen);
        if !socket.shared.is_connected() {
            // A listener of rooms has put it out.
            return Ok(());
        }
        let _ = self.session.send(server.connect_frames(namespace, &socket.shared, self.is_old()), true);
        tracing::debug!(target: "sociable::namespace", namespace = %trace::plain(namespace.name()), id = %socket.shared.id.shortened(), "socket connected");
        run_connect_handlers(&socket);
        Ok(())
    }

    /// Takes the session that a client comes back to, with the packets that it missed. If they can't be sent, the connection ends.
    fn take_missed(&self, socket: &LocalSocket, mut claimed: Claimed) -> Result<Return, Unsendable> {
        let (missed, session) = (claimed.missed(), claimed.take_session());
        let missed = missed.map(|missed| (socket.packets(&missed), missed));
        match (missed, session) {
            // Namespaces of one client come back together, and share its outbox: beyond it nothing is begun.
            (Some((packets, missed)), Some(session)) if self.session.has_room_for(packets.iter().map(Frames::len)) => {
                Ok(Return { session, missed, packets })
            }
            (_, session) => {
                if let (Some(recoveries), Some(session)) = (socket.shared.namespace.recoveries(), session) {
                    recoveries.history.forget(&session.pid);
                }
                // It was there a moment ago, or is too much by now. The client comes back, as somebody new.
                self.session.end(CloseReason::ForcedClose, Ending::Graceful);
                Err(Unsendable)
            }
        }
    }
}

/// A client that comes back: its session, and the packets that it missed.
struct Return {
    session: SavedSession,
    missed: Missed,
    packets: Vec<Frames>,
}

/// The packets that a client missed can't be sent.
struct Unsendable;

/// Asks the namespace's middleware about a socket. Returns the rooms that it comes back to: a middleware finds them, and may have it leave them.
async fn ask_middleware(socket: &Rc<LocalSocket>, claimed: Option<&mut Claimed>) -> Result<Set<Room>, Failure> {
    let missed = claimed.as_ref().and_then(|claimed| claimed.missed());
    let known: Set<Room> = missed.into_iter().flat_map(|missed| missed.rooms).map(|(room, _)| room).collect();
    socket.shared.choose_rooms(known.iter().cloned());
    let context = ConnectContext { socket: socket.socket() };
    for middleware in &socket.setup().middleware {
        if let Err(error) = middleware(&context).await {
            // Who is refused has nothing to come back to.
            claimed.map(Claimed::discard);
            return Err(error.into_failure());
        }
    }
    Ok(known)
}

/// Puts a socket where it was, or at the present. Returns the rooms that it comes back to, and those that a middleware chose.
fn resume(socket: &LocalSocket, back: Option<Return>, known: &Set<Room>) -> (Vec<Room>, Vec<Room>) {
    let mut chosen = socket.shared.take_rooms();
    let Some(Return { session, mut missed, packets }) = back else {
        socket.start_fresh();
        return (vec![], chosen);
    };
    let kept: Set<&Room> = chosen.iter().collect();
    // What a middleware has it leave was its room until now.
    let left = missed.rooms.extract_if(.., |(room, _)| known.contains(room) && !kept.contains(room));
    left.for_each(|(room, from)| missed.left_rooms.add(LeftRoom { room, from, to: missed.head }));
    chosen.retain(|room| !known.contains(room));
    socket.resume(&session, &missed, packets);
    (missed.rooms.into_iter().map(|(room, _)| room).collect(), chosen)
}

fn run_connect_handlers(socket: &Rc<LocalSocket>) {
    let context = ConnectContext { socket: socket.socket() };
    for handler in socket.setup().connect.clone() {
        let this = Rc::clone(socket);
        let within = || {
            if spans::are_on() {
                let span = socket.shared.namespace.spans().processing_connection(&socket.shared.id);
                spans::run_within(span, || handler(&context))
            } else {
                handler(&context)
            }
        };
        run(&socket.session, within, move |ended| {
            if let Err(error) = ended {
                this.thread.count(Count::HandlerErrors);
                this.notify_error(&SocketError::handler(&ByteString::from_static("connect"), error));
            }
        });
    }
}

impl Connected for Client {
    /// A socket has left.
    fn forget(&self, socket: &Rc<LocalSocket>) {
        if self.sockets.borrow_mut().remove(socket) {
            self.session.let_go(cost(socket.shared.namespace.name(), socket.shared.auth()));
        }
    }

    /// Takes the client out of all its namespaces and closes its connection.
    fn close(&self) {
        for socket in self.sockets() {
            socket.leave(DisconnectReason::ServerNamespaceDisconnect, true);
        }
        self.session.close();
    }
}

/// A namespace that is being asked; a second request for it is a fault of the client until this is dropped.
struct Connecting<'a> {
    client: &'a Client,
    name: &'a ByteString,
    /// What is kept for it.
    cost: Cell<usize>,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.client.session.let_go(self.cost.get());
        let mut connecting = self.client.connecting.borrow_mut();
        let last = connecting.as_mut().is_some_and(|connecting| connecting.remove(self.name) && connecting.is_empty());
        if last {
            // Nearly every client asks once: nothing is kept for a second time.
            *connecting = None;
        }
    }
}

/// Gives a socket up that did not get to be connected: refused, panicked in a middleware, or gone meanwhile.
struct Abandoned<'a>(&'a Rc<LocalSocket>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Connection for Client {
    #[inline]
    fn text(&self, text: ByteString) {
        let length = text.len();
        let decoded = self.decoder.borrow_mut().text(text);
        self.decoded(decoded, length);
    }

    fn binary(&self, bytes: Bytes) {
        let length = bytes.len();
        let decoded = self.decoder.borrow_mut().binary(bytes);
        self.decoded(decoded, length);
    }

    fn closed(&self, reason: CloseReason) {
        for socket in self.sockets() {
            // A socket that can't be ended must not keep the others in their rooms.
            self.session.supervise(|| socket.leave(DisconnectReason::Session(reason), false));
        }
    }

    fn resumed(&self) {
        self.sockets().iter().for_each(LocalSocket::handle_waiting);
    }

    fn overdue(&self) {
        if self.unfinished.get() > 0 {
            self.thread.count(Count::PacketsOverdue);
            tracing::debug!(target: "sociable::parser", sid = %self.session.id().shortened(), "attachments overdue: session closed");
            self.session.close();
        } else if !self.joined.get() {
            self.session.close();
        }
    }
}
