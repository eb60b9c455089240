//! One client: the sockets of a session, and the packets between them.

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
use crate::handler::run::{notify, run, spawn_rest};
use crate::handler::{ConnectContext, EventContext, Failure};
use crate::namespace::Namespace;
use crate::namespace_limits::Made;
use crate::reason::DisconnectReason;
use crate::recovery::registry::Claimed;
use crate::server_state::{NoEntry, ServerState};
use crate::socket::{Socket, SocketError};
use crate::socket_state::Stage;
use crate::spans;
use crate::stats::Count;
use crate::thread::ThreadState;
use crate::thread::socket::{Connected, LocalSocket};
use crate::thread::sockets::Sockets;
use crate::trace;

/// The limit of namespaces per client, connected or pending. Each costs memory before any middleware has accepted it.
const MAX_NAMESPACES: usize = 1000;
/// The longest name of a namespace, in bytes. A name is kept as long as its namespace.
const MAX_NAME: usize = 1024;

/// The memory of a message besides its bytes while its packet is incomplete.
const MESSAGE_COST: usize = 64;
/// The memory of a client's namespace besides its name and its `auth` payload.
const NAMESPACE_COST: usize = 1024;

/// Returns the memory that a client takes for one namespace, in bytes.
fn cost(name: &str, auth: &Args) -> usize {
    NAMESPACE_COST + name.len() + auth.encoded_len()
}

const INVALID_NAMESPACE: &str = "Invalid namespace";
const TOO_MANY_NAMESPACES: &str = "Too many namespaces";

/// The connection of a client, on top of its session.
#[derive(Debug)]
pub(crate) struct Client {
    this: Weak<Client>,
    server: ArcWeak<ServerState>,
    session: Rc<Session>,
    thread: Rc<ThreadState>,
    decoder: RefCell<Box<dyn Decoder>>,
    sockets: RefCell<Sockets<LocalSocket>>,
    /// The namespaces that the client asked for and that have not decided yet.
    connecting: RefCell<Option<Box<Set<ByteString>>>>,
    /// The number of namespaces that the client created.
    made: OnceCell<Made>,
    /// True once the client has joined a namespace.
    joined: Cell<bool>,
    /// The memory of a packet whose attachments are incomplete.
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
        if let Some(listener) = &server.on_session {
            notify(&client.session, || listener(&client.session));
        }
        if client.is_old() {
            // Such a client is in the main namespace from the start, without asking.
            client.connect(ByteString::from_static(MAIN_NAMESPACE), None);
        }
        client
    }

    /// Returns whether the client speaks Socket.IO 2 or before.
    fn is_old(&self) -> bool {
        self.session.version().is_v3()
    }

    /// Handles the decoder's result for a message of this length.
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

    /// Accounts for a packet that awaits attachments. The next has to come in time, and their memory is bounded.
    fn awaits_attachments(&self, length: usize) {
        let cost = length + MESSAGE_COST;
        if !self.session.keep(cost) {
            return self.session.end_over_budget();
        }
        self.unfinished.set(self.unfinished.get() + cost);
        // Before it joins, the client has the shorter connect timeout.
        if self.joined.get() {
            self.expect_attachments();
        }
    }

    fn expect_attachments(&self) {
        if let Some(server) = self.server.upgrade() {
            self.session.expect_within(server.packet_timeout);
        }
    }

    /// Ends the accounting of a packet whose attachments are complete.
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

    /// Moves the `auth` payload of an old client out of the query behind the name of the namespace.
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

    /// Returns whether the client waits for this namespace's decision.
    fn asks(&self, namespace: &ByteString) -> bool {
        self.connecting.borrow().as_ref().is_some_and(|connecting| connecting.contains(namespace))
    }

    /// Asks a namespace to accept the client.
    fn connect(&self, name: ByteString, auth: Option<Args>) {
        let (Some(this), Some(server)) = (self.this.upgrade(), self.server.upgrade()) else { return self.session.close() };
        if name.len() > MAX_NAME {
            return self.refuse(&server, name, &Failure::new(INVALID_NAMESPACE));
        }
        if self.sockets.borrow().len() + self.connecting.borrow().as_ref().map_or(0, |connecting| connecting.len()) >= MAX_NAMESPACES {
            return self.refuse(&server, name, &Failure::new(TOO_MANY_NAMESPACES));
        }
        // Copied: name and payload are kept as long as the socket, and must not hold the whole message.
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
            // A middleware that panicked has refused the client.
            if let Err(failure) = joined.unwrap_or_else(|| Err(Failure::new("Internal server error"))) {
                this.refuse(&server, name, &failure);
            }
        };
        // Not at once: as with the JavaScript server, a client that sends packets before the answer is at fault itself.
        spawn_rest(&self.session, 0, join(), settle);
    }

    fn refuse(&self, server: &ServerState, name: ByteString, failure: &Failure) {
        self.thread.count(Count::ConnectionsRefused);
        tracing::debug!(target: "sociable::namespace", sid = %self.session.id().shortened(), namespace = %trace::plain(&name), why = failure.message(), "connection refused");
        let encoding = server.parser.encoding();
        let bare = self.is_old() && failure.message() != INVALID_NAMESPACE;
        let payload = if bare { failure.bare_payload(encoding) } else { failure.payload(encoding) };
        let packet = Packet { namespace: name, body: Body::ConnectError(payload) };
        // A closed session needs no answer.
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
        // The client may have disconnected meanwhile.
        if !self.session.is_open() {
            return Ok(());
        }
        // Nothing awaits from here on, so messages of others come before all this or after it.
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
        // From now on the connected socket holds the memory.
        connecting.cost.set(0);
        self.sockets.borrow_mut().add(Rc::clone(&socket));
        let (rooms, chosen) = resume(&socket, back, &known);
        socket.connected(&rooms, &chosen);
        if !socket.shared.is_connected() {
            // A listener of rooms has disconnected the socket.
            return Ok(());
        }
        let _ = self.session.send(server.connect_frames(namespace, &socket.shared, self.is_old()), true);
        tracing::debug!(target: "sociable::namespace", namespace = %trace::plain(namespace.name()), id = %socket.shared.id.shortened(), "socket connected");
        run_connect_handlers(&socket);
        Ok(())
    }

    /// Takes the session that a client returns to, with its missed packets. If they cannot be sent, the connection ends.
    fn take_missed(&self, socket: &LocalSocket, mut claimed: Claimed) -> Result<Return, Unsendable> {
        let (missed, session) = (claimed.missed(), claimed.take_session());
        let missed = missed.map(|missed| (socket.packets(&missed), missed));
        match (missed, session) {
            // All namespaces of a client are recovered together and share its outbox. If the packets do not fit, none is sent.
            (Some((packets, missed)), Some(session)) if self.session.has_room_for(packets.iter().map(Frames::len)) => {
                Ok(Return { session, missed, packets })
            }
            (_, session) => {
                if let (Some(recoveries), Some(session)) = (socket.shared.namespace.recoveries(), session) {
                    recoveries.history.forget(&session.pid);
                }
                // The history has lost the session meanwhile, or it has grown too large. The client reconnects as a new one.
                self.session.end(CloseReason::ForcedClose, Ending::Graceful);
                Err(Unsendable)
            }
        }
    }
}

/// The session that a client returns to, with its missed packets.
struct Return {
    session: SavedSession,
    missed: Missed,
    packets: Vec<Frames>,
}

/// The missed packets do not fit into the outbox.
struct Unsendable;

/// Runs the namespace's middleware for a socket. Returns the rooms of its session: middleware sees them and may leave them.
async fn ask_middleware(socket: &Rc<LocalSocket>, claimed: Option<&mut Claimed>) -> Result<Set<Room>, Failure> {
    let missed = claimed.as_ref().and_then(|claimed| claimed.missed());
    let rooms = missed.into_iter().flat_map(|missed| missed.rooms).map(|(room, _)| room);
    let known: Set<Room> = rooms.filter(|room| !socket.shared.is_own_room(room)).collect();
    socket.shared.choose_rooms(known.iter().cloned());
    let context = ConnectContext { socket: socket.socket() };
    for middleware in &socket.setup().middleware {
        if let Err(error) = middleware(&context).await {
            // A refused client loses its session.
            claimed.map(Claimed::discard);
            return Err(error.into_failure());
        }
    }
    Ok(known)
}

/// Starts a socket where its session ended, or at the present. Returns the recovered rooms, and those that middleware chose.
fn resume(socket: &LocalSocket, back: Option<Return>, known: &Set<Room>) -> (Vec<Room>, Vec<Room>) {
    let mut chosen = socket.shared.take_rooms();
    let Some(Return { session, mut missed, packets }) = back else {
        socket.start_fresh();
        return (vec![], chosen);
    };
    let kept: Set<&Room> = chosen.iter().collect();
    // Until now the session was in the rooms that middleware left.
    let left = missed.rooms.extract_if(.., |(room, _)| known.contains(room) && !kept.contains(room));
    left.for_each(|(room, from)| missed.left_rooms.add(LeftRoom { room, from, to: missed.head }));
    chosen.retain(|room| !known.contains(room));
    socket.resume(&session, &missed, packets);
    (missed.rooms.into_iter().map(|(room, _)| room).collect(), chosen)
}

fn run_connect_handlers(socket: &Rc<LocalSocket>) {
    let context = ConnectContext { socket: socket.socket() };
    for handler in socket.take_connect_handlers() {
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
    fn forget(&self, socket: &Rc<LocalSocket>) {
        if self.sockets.borrow_mut().remove(socket) {
            self.session.let_go(cost(socket.shared.namespace.name(), socket.shared.auth()));
        }
    }

    fn close(&self) {
        for socket in self.sockets() {
            socket.leave(DisconnectReason::ServerNamespaceDisconnect, true);
        }
        self.session.close();
    }

    fn all(&self) -> Vec<Socket> {
        self.sockets().iter().map(|socket| socket.socket()).collect()
    }
}

/// A namespace that has not decided yet. A second request for it meanwhile is an error of the client.
struct Connecting<'a> {
    client: &'a Client,
    name: &'a ByteString,
    /// The memory charged for the request.
    cost: Cell<usize>,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.client.session.let_go(self.cost.get());
        let mut connecting = self.client.connecting.borrow_mut();
        let last = connecting.as_mut().is_some_and(|connecting| connecting.remove(self.name) && connecting.is_empty());
        if last {
            // Nearly every client asks once, so no memory is held for later requests.
            *connecting = None;
        }
    }
}

/// Abandons a socket that was not connected: refused, panicked in a middleware, or disconnected meanwhile.
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
            // A socket whose end panics must not keep the others in their rooms.
            self.session.supervise(|| socket.leave(DisconnectReason::Session(reason), false));
        }
    }

    fn resumed(&self) {
        self.sockets().iter().for_each(LocalSocket::handle_waiting);
    }

    fn overdue(&self) {
        if self.unfinished.get() > 0 {
            self.thread.count(Count::PacketsOverdue);
            tracing::debug!(target: "sociable::parser", sid = %self.session.id().shortened(), "attachments overdue; session closed");
            self.session.close();
        } else if !self.joined.get() {
            self.session.close();
        }
    }
}
