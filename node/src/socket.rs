//! The handle of a socket: one client in one namespace.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sociable_adapter::{Operation, Room, Target};
use sociable_engine::{Handshake, SendError, Session, Transport};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Args, ArgsError, Body, DecodeError, Encoding, Frames, Id, Packet};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::ack::{PendingAck, Waiter};
use crate::broadcast::{BroadcastOperator, Flags, IntoRooms};
use crate::emit::{EmitArgs, EmitError, check_name};
use crate::handler;
use crate::handler::{DisconnectContext, EventContext, ExtractError, Handler, HandlerError};
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::recovery::progress::RecoveryHandle;
use crate::socket_state::{SocketState, Stage};
use crate::stats::Count;
use crate::thread::socket::LocalSocket;
use crate::thread::{ThreadState, on_thread};

/// A client in a namespace. Cheap to clone, and usable from every thread: what is done elsewhere than on the socket's own thread happens
/// there soon, in the order in which it was asked for.
///
/// ```
/// use sociable::{Data, Server, Socket};
///
/// let io = Server::builder().build()?;
/// io.on("join", async |socket: Socket, Data(room): Data<String>| {
///     socket.join(room.as_str());
///     socket.to(room).emit("joined", socket.id().as_str()).ok();
/// });
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Socket(pub(crate) Arc<SocketState>);

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What went wrong with a socket.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum SocketError {
    /// A packet of the client could not be read; the connection is being closed.
    #[error(transparent)]
    Decode(DecodeError),
    /// A middleware refused an event.
    #[error("{message}")]
    Refused {
        /// The event.
        event: String,
        /// The text of the middleware's error.
        message: String,
    },
    /// The arguments of an event do not fit its handler.
    #[error("event \"{event}\": {error}")]
    Arguments {
        /// The event.
        event: String,
        /// What does not fit.
        error: ExtractError,
    },
    /// A handler gave an error.
    #[error("event \"{event}\": {message}")]
    Handler {
        /// The event.
        event: String,
        /// The text of the error.
        message: String,
    },
}

impl SocketError {
    pub(crate) fn refused(event: &str, error: HandlerError) -> Self {
        match error {
            HandlerError::Failed(failure) => Self::Refused { event: event.to_owned(), message: failure.message().to_owned() },
            HandlerError::Arguments(error) => Self::Arguments { event: event.to_owned(), error },
        }
    }

    pub(crate) fn handler(event: &str, error: HandlerError) -> Self {
        match error {
            HandlerError::Failed(failure) => Self::Handler { event: event.to_owned(), message: failure.message().to_owned() },
            HandlerError::Arguments(error) => Self::Arguments { event: event.to_owned(), error },
        }
    }
}

impl Socket {
    /// The socket's id. It is not the id of its session, so it may be shown to other clients; but for clients of Socket.IO 2 and before
    /// ([`allow_eio3`](crate::ServerBuilder::allow_eio3)) it is, since they take it for theirs: do not show those to others.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// The id as the client knows it: a client of Socket.IO 2 or before has another one in each namespace, `/namespace#id`. It is a room
    /// as [`id`](Self::id) is.
    pub fn client_id(&self) -> ByteString {
        let id = self.0.id.as_str();
        let main = self.0.namespace.name() == MAIN_NAMESPACE;
        if self.0.old && !main { format!("{}#{id}", self.0.namespace.name()).into() } else { id.into() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The request that opened the session.
    pub fn handshake(&self) -> &Handshake {
        self.0.handshake()
    }

    /// What the client sent to be let in; an empty object if it sent nothing.
    ///
    /// # Errors
    ///
    /// It does not fit the type.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        self.0.auth().decode(0)
    }

    /// True from when the client was told that it is connected until it has left.
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Whether the client came back after a lost connection, with its id, rooms, data and what it missed. See
    /// [`Recovery`](crate::Recovery).
    pub fn recovered(&self) -> bool {
        self.0.recovery.as_ref().is_some_and(|recovery| recovery.recovered)
    }

    /// What carries the session now. `None` elsewhere than on the socket's thread, where all its handlers run.
    pub fn transport(&self) -> Option<Transport> {
        self.here().map(|socket| socket.session.transport())
    }

    /// Attaches data, which [`fetch_sockets`](Namespace::fetch_sockets) shows to the whole cluster.
    ///
    /// # Errors
    ///
    /// The data can't be written.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), sociable_protocol::EncodeError> {
        let value = Args::encode(Encoding::MsgPack, data)?.decode(0).unwrap_or_default();
        self.0.set_data(value);
        if self.0.namespace.recoveries().is_some_and(|recoveries| recoveries.history.refresh_interval().is_some()) {
            self.run_on_owner(0, LocalSocket::changed);
        }
        Ok(())
    }

    /// The data that was attached. `None` if there is none, or if it does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        let value = self.0.data()?;
        T::deserialize(value).ok()
    }

    /// The rooms of the socket, that of its id among them. None after it has left.
    ///
    /// In a namespace's middleware: the rooms that the socket enters when it is connected.
    pub fn rooms(&self) -> Vec<Room> {
        let own = (self.is_connected() || self.recovered()).then(|| self.client_id());
        match self.0.stage() {
            Stage::Disconnected => vec![],
            _ => self.0.rooms().into_iter().chain(own).collect(),
        }
    }

    /// Joins rooms. A client that is away, and may come back ([`Recovery`](crate::Recovery)), is in them when it does.
    ///
    /// In a namespace's middleware the socket enters them when it is connected, and never if it is refused.
    pub fn join(&self, rooms: impl IntoRooms) {
        let rooms = rooms.into_rooms();
        self.order(Operation::Join(rooms.clone()), move |socket| socket.join(&rooms));
    }

    /// Leaves rooms, also for a client that is away.
    pub fn leave(&self, rooms: impl IntoRooms) {
        let rooms = rooms.into_rooms();
        self.order(Operation::Leave(rooms.clone()), move |socket| socket.leave_rooms(&rooms));
    }

    /// Puts the client out of the namespace. It does not come back by itself. One that is away can only come back as somebody new.
    ///
    /// Does nothing before the socket is connected: a namespace's middleware refuses a client by an error.
    pub fn disconnect(&self) {
        let leave = |socket: &Rc<LocalSocket>| socket.leave(DisconnectReason::ServerNamespaceDisconnect, true);
        self.order(Operation::Disconnect { close: false }, leave);
    }

    /// Puts the client out of all its namespaces and closes its connection. One that is away is put out of this namespace.
    ///
    /// Does nothing before the socket is connected, as [`disconnect`](Self::disconnect).
    pub fn disconnect_and_close(&self) {
        let close = |socket: &Rc<LocalSocket>| {
            if socket.shared.has_been_let_in() {
                socket.close();
            }
        };
        self.order(Operation::Disconnect { close: true }, close);
    }

    /// Sends an event.
    ///
    /// What does not leave at once waits in the client's outbox, which is bounded (see [`max_outbox`](crate::ServerBuilder::max_outbox)): who
    /// has much to send waits for [`ready`](Self::ready) between.
    ///
    /// # Errors
    ///
    /// The name is reserved, the arguments can't be written, the socket has left, or its client does not read. Elsewhere than on the socket's
    /// thread the last two can't be told, and are not.
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        self.emit_with(event, args, Flags::default())
    }

    /// Sends a `message` event.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit).
    pub fn send(&self, args: impl EmitArgs) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Sends an event and waits for its acknowledgement as long as it takes; see [`timeout`](Self::timeout). The event is sent at once, whether
    /// or not the acknowledgement is awaited.
    pub fn emit_with_ack(&self, event: &str, args: impl EmitArgs) -> PendingAck {
        self.emit_with_ack_and(event, args, Flags::default())
    }

    /// Waits until at most half of the client's outbox is taken.
    ///
    /// # Errors
    ///
    /// The socket has left.
    pub async fn ready(&self) -> Result<(), SendError> {
        if let Some(socket) = self.here() {
            return socket.session.ready().await;
        }
        let (tell, told) = oneshot::channel();
        self.run_on_owner(0, move |socket| {
            let session = Rc::clone(&socket.session);
            actix_rt::spawn(async move {
                let ready = session.ready().await;
                // Who asked may have stopped to wait.
                let _ = tell.send(ready);
            });
        });
        told.await.unwrap_or(Err(SendError::Closed))
    }

    /// The next event is dropped if it can't leave at once.
    pub fn volatile(&self) -> SocketEmitter<'_> {
        SocketEmitter { socket: self, flags: Flags { volatile: true, ..Flags::default() } }
    }

    /// Whether a poll response with the next event may be compressed: yes by default.
    pub fn compress(&self, compress: bool) -> SocketEmitter<'_> {
        SocketEmitter { socket: self, flags: Flags { compress, ..Flags::default() } }
    }

    /// How long the acknowledgement of the next event may take.
    pub fn timeout(&self, timeout: Duration) -> SocketEmitter<'_> {
        SocketEmitter { socket: self, flags: Flags { timeout: Some(timeout), ..Flags::default() } }
    }

    /// All sockets of the namespace but this one.
    pub fn broadcast(&self) -> BroadcastOperator {
        self.0.namespace.except(self.0.id)
    }

    /// The sockets in these rooms but this one.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// The same as [`to`](Self::to): `in` in other languages.
    pub fn within(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.to(rooms)
    }

    /// All sockets of the namespace but this one and those in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// The sockets of this node but this one.
    pub fn local(&self) -> BroadcastOperator {
        self.broadcast().local()
    }

    /// Handles an event of this client; see [`Namespace::on`]. Elsewhere than on the socket's thread it takes effect soon.
    pub fn on<Taken>(&self, event: &str, handler: impl Handler<EventContext, Taken>) {
        let (event, handler) = (ByteString::from(event), handler::erase(handler));
        self.run_on_owner(0, move |socket| socket.configure(|own| own.on(&event, handler)));
    }

    /// Removes the handlers of an event that were added to this socket.
    pub fn off(&self, event: &str) {
        let event = ByteString::from(event);
        self.run_on_owner(0, move |socket| socket.configure(|own| own.events.remove(&event)));
    }

    /// Handles this socket's being about to leave; see [`Namespace::on_disconnecting`].
    pub fn on_disconnecting<Taken>(&self, handler: impl Handler<DisconnectContext, Taken>) {
        let handler = handler::erase(handler);
        self.run_on_owner(0, move |socket| socket.configure(|own| own.disconnecting.push(handler)));
    }

    /// Handles this socket's having left.
    pub fn on_disconnect<Taken>(&self, handler: impl Handler<DisconnectContext, Taken>) {
        let handler = handler::erase(handler);
        self.run_on_owner(0, move |socket| socket.configure(|own| own.disconnect.push(handler)));
    }

    /// Asks `middleware` about each event of this client; see [`Namespace::event_middleware`]. (The JavaScript server calls this `use`.)
    pub fn middleware<Taken>(&self, middleware: impl Handler<EventContext, Taken>) {
        let middleware = handler::erase(middleware);
        self.run_on_owner(0, move |socket| socket.configure(|own| own.event_middleware.push(middleware)));
    }

    /// Is called with every event of this client, before middleware and handlers.
    pub fn on_any(&self, listener: impl Fn(&EventContext) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.any.push(Arc::new(listener))));
    }

    /// As [`on_any`](Self::on_any), before the listeners that this socket has.
    pub fn prepend_any(&self, listener: impl Fn(&EventContext) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.any.insert(0, Arc::new(listener))));
    }

    /// Removes the listeners that were added by [`on_any`](Self::on_any) and [`prepend_any`](Self::prepend_any).
    pub fn off_any(&self) {
        self.run_on_owner(0, move |socket| socket.configure(|own| std::mem::take(&mut own.any)));
    }

    /// Is called with every event that is sent to this client, those of broadcasts too; not with acknowledgements.
    pub fn on_any_outgoing(&self, listener: impl Fn(&EventContext) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.any_outgoing.push(Arc::new(listener))));
    }

    /// Removes the listeners that were added by [`on_any_outgoing`](Self::on_any_outgoing).
    pub fn off_any_outgoing(&self) {
        self.run_on_owner(0, move |socket| socket.configure(|own| std::mem::take(&mut own.any_outgoing)));
    }

    /// Is told what went wrong with this socket.
    pub fn on_error(&self, listener: impl Fn(&Socket, &SocketError) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.errors.push(Arc::new(listener))));
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.0.namespace.encoding()
    }

    fn emit_with(&self, event: &str, args: impl EmitArgs, flags: Flags) -> Result<(), EmitError> {
        check_name(event)?;
        let args = args.into_args(self.encoding())?;
        if let Some(recoveries) = self.0.namespace.recoveries().filter(|_| !flags.volatile && self.0.has_been_let_in()) {
            // A client that is away gets it when it comes back.
            let waits = |recovery: &RecoveryHandle| !recovery.void.load(Ordering::Acquire) && recoveries.history.holds(&recovery.pid);
            let may_get_it = self.is_connected() || self.0.recovery.as_deref().is_some_and(waits);
            if !may_get_it {
                return Err(SendError::Closed.into());
            }
            return self.0.namespace.send_to_socket(recoveries, self, event, &args, flags.compress);
        }
        let frames = self.0.namespace.event_frames(event, args, None);
        self.send_frames(frames, flags)
    }

    /// Has something done with the socket's session, on its thread.
    pub(crate) fn end_session(&self, act: impl FnOnce(&Session) + Send + 'static) {
        self.run_on_owner(0, move |socket| act(&socket.session));
    }

    fn send_frames(&self, frames: Frames, flags: Flags) -> Result<(), EmitError> {
        if let Some(socket) = self.here() {
            return Ok(socket.send(frames, flags.volatile, flags.compress)?);
        }
        let sent = self.run_on_owner(frames.len(), move |socket| {
            // The one who emitted is elsewhere; the loss is counted where it happens.
            let _ = socket.send(frames, flags.volatile, flags.compress);
        });
        if sent { Ok(()) } else { Err(SendError::Closed.into()) }
    }

    /// Sends a packet that is no event.
    pub(crate) fn send_packet(&self, body: Body) -> Result<(), EmitError> {
        let frames = self.0.namespace.frames(&Packet { namespace: self.0.namespace.name().clone(), body });
        if let Some(socket) = self.here() {
            return Ok(socket.session.send(frames, true)?);
        }
        let sent = self.run_on_owner(frames.len(), move |socket| {
            // The one who sent it is elsewhere.
            let _ = socket.session.send(frames, true);
        });
        if sent { Ok(()) } else { Err(SendError::Closed.into()) }
    }

    fn emit_with_ack_and(&self, event: &str, args: impl EmitArgs, flags: Flags) -> PendingAck {
        let encoded = check_name(event).and_then(|()| Ok(args.into_args(self.encoding())?));
        let args = match encoded {
            Ok(args) => args,
            Err(error) => return PendingAck::failed(error),
        };
        let id = self.0.namespace.next_ack_id();
        let frames = self.0.namespace.event_frames(event, args, Some(id));
        let (answer, answered) = oneshot::channel();
        let sent = self.run_on_owner(frames.len(), move |socket| {
            socket.await_ack(id, Waiter::One(answer));
            if socket.send(frames, flags.volatile, flags.compress).is_err() {
                socket.forget_ack(id);
            }
        });
        if sent { PendingAck::new(answered, flags.timeout, self.clone(), id) } else { PendingAck::failed(SendError::Closed.into()) }
    }

    pub(crate) fn forget_ack(&self, id: u64) {
        self.run_on_owner(0, move |socket| socket.forget_ack(id));
    }

    pub(crate) fn count(&self, count: Count) {
        self.0.namespace.count(count);
    }

    /// The socket itself, if this is its thread and it has not left.
    #[inline]
    pub(crate) fn here(&self) -> Option<Rc<LocalSocket>> {
        ThreadState::current(self.0.namespace.engine())?.socket(&self.0)
    }

    /// Has something done on the socket's thread while it is connected. If its client is away, it is ordered by the socket's id.
    fn order(&self, operation: Operation, act: impl FnOnce(&Rc<LocalSocket>) + Send + 'static) {
        let engine = self.0.namespace.engine();
        let this = self.clone();
        let act = move |local: &Rc<ThreadState>| {
            let socket = local.socket(&this.0);
            // One that is on its way out may have been saved already.
            if let Some(socket) = &socket {
                act(socket);
            }
            if this.0.recovery.as_ref().is_some_and(|recovery| recovery.lost.load(Ordering::Acquire)) {
                this.order_away(operation);
            }
        };
        // A thread that has ended has nobody left.
        let _ = engine.run_on(self.0.worker(), 0, on_thread(act));
    }

    /// Orders something of whoever has the socket's id, now or when it comes back.
    fn order_away(&self, operation: Operation) {
        let Some((recovery, recoveries)) = self.0.recovery.as_ref().zip(self.0.namespace.recoveries()) else { return };
        if matches!(operation, Operation::Disconnect { .. }) {
            recovery.void.store(true, Ordering::Release);
        }
        let target = Target { rooms: vec![self.0.id.as_str().into()], except: vec![] };
        if let Err(error) = self.0.namespace.broadcast(target, operation, !recoveries.history.is_shared(), None) {
            tracing::warn!(target: "sociable::recovery", id = %self.0.id.shortened(), %error, "a client that is away could not be given an order");
        }
    }

    /// Runs something on the socket's thread: at once if this is it. Returns false if the thread, or the socket on this one, is gone.
    fn run_on_owner(&self, bytes: usize, act: impl FnOnce(&Rc<LocalSocket>) + Send + 'static) -> bool {
        let engine = self.0.namespace.engine();
        if let Some(thread) = ThreadState::current(engine).filter(|thread| thread.worker.index() == self.0.worker()) {
            return thread.socket(&self.0).map(|socket| act(&socket)).is_some();
        }
        let shared = Arc::clone(&self.0);
        let call = on_thread(move |thread| {
            if let Some(socket) = thread.socket(&shared) {
                act(&socket);
            }
        });
        engine.call(self.0.worker(), bytes, call).is_ok()
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}

/// Sends to one socket with options; made by [`Socket::volatile`], [`Socket::compress`] and [`Socket::timeout`].
#[derive(Clone, Copy, Debug)]
#[must_use = "it sends nothing by itself: call `emit`"]
pub struct SocketEmitter<'a> {
    socket: &'a Socket,
    flags: Flags,
}

impl SocketEmitter<'_> {
    /// The event is dropped if it can't leave at once.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Whether a poll response with the event may be compressed.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// How long the acknowledgement may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Sends the event.
    ///
    /// # Errors
    ///
    /// As [`Socket::emit`].
    pub fn emit(self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        self.socket.emit_with(event, args, self.flags)
    }

    /// Sends the event and waits for its acknowledgement.
    pub fn emit_with_ack(self, event: &str, args: impl EmitArgs) -> PendingAck {
        self.socket.emit_with_ack_and(event, args, self.flags)
    }
}
