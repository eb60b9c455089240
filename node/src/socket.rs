//! The handle of a socket: one client in one namespace.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytestring::ByteString;
use serde::de::DeserializeOwned;
use sociable_adapter::{Operation, Room, Target};
use sociable_engine::{Handshake, SendError};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{ArgsError, Body, DecodeError, Encoding, Frames, Id, Packet};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::ack::{PendingAck, Waiter};
use crate::broadcast::{BroadcastOperator, Flags, IntoRooms};
use crate::emit::{EmitArgs, EmitError, check_name};
use crate::handler::{ExtractError, HandlerError};
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::recovery::progress::RecoveryHandle;
use crate::socket_state::{SocketState, Stage};
use crate::stats::Count;
use crate::thread::socket::LocalSocket;
use crate::thread::{ThreadState, on_thread};

/// A client in a namespace. Clones are cheap and may be used on every thread.
///
/// A call on another thread than the socket's own takes effect soon. Such calls keep their order.
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

/// An error of a socket, as listeners of [`Socket::on_error`] get it.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum SocketError {
    /// A packet of the client could not be decoded; the connection is being closed.
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
        /// The argument that does not fit.
        error: ExtractError,
    },
    /// A handler returned an error.
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
    /// Returns the socket's id.
    ///
    /// The id is not that of the session, so other clients may see it. For clients of Socket.IO 2 and before
    /// ([`allow_eio3`](crate::ServerBuilder::allow_eio3)) it is: keep those ids secret.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// Returns the id as the client sees it, which is a room too, as [`id`](Self::id) is.
    ///
    /// A client of Socket.IO 2 or before has another id in each namespace, `/namespace#id`.
    pub fn client_id(&self) -> ByteString {
        let id = self.0.id.as_str();
        let main = self.0.namespace.name() == MAIN_NAMESPACE;
        if self.0.old && !main { format!("{}#{id}", self.0.namespace.name()).into() } else { id.into() }
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// Returns the request that opened the session.
    pub fn handshake(&self) -> &Handshake {
        self.0.handshake()
    }

    /// Returns the client's `auth` payload; an empty object if the client sent none.
    ///
    /// # Errors
    ///
    /// The payload does not fit the type.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        self.0.auth().decode(0)
    }

    /// Returns true from the moment when the connection is confirmed to the client until the socket has left.
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Returns whether the client was recovered after a disconnection, with its id, rooms, data and missed events. See [`Recovery`](crate::Recovery).
    pub fn recovered(&self) -> bool {
        self.0.recovery.as_ref().is_some_and(|recovery| recovery.recovered)
    }

    /// Returns the rooms of the socket, with that of its id. Empty after the socket has left.
    ///
    /// In a namespace's middleware: the rooms that the socket joins once it is connected.
    pub fn rooms(&self) -> Vec<Room> {
        let own = ((self.is_connected() || self.recovered()) && !self.0.has_left_own_room()).then(|| self.client_id());
        match self.0.stage() {
            Stage::Disconnected => vec![],
            _ => self.0.rooms().into_iter().chain(own).collect(),
        }
    }

    /// Joins rooms. A disconnected client that [returns](crate::Recovery) is then in them.
    ///
    /// In a namespace's middleware the socket joins them once it is connected, and never if it is refused.
    pub fn join(&self, rooms: impl IntoRooms) {
        let rooms = rooms.into_rooms();
        self.order(Operation::Join(rooms.clone()), move |socket| socket.join(&rooms));
    }

    /// Leaves rooms, also for a disconnected client that may return.
    ///
    /// A socket that leaves the room of its own id gets no more broadcasts to its id. Its own [`emit`](Self::emit) still reaches it, but is not
    /// [recovered](crate::Recovery).
    pub fn leave(&self, rooms: impl IntoRooms) {
        let rooms = rooms.into_rooms();
        self.order(Operation::Leave(rooms.clone()), move |socket| socket.leave_rooms(&rooms));
    }

    /// Disconnects the client from the namespace. The client does not reconnect by itself.
    ///
    /// A client that has lost its connection can then no longer be recovered. Before the socket is connected this does nothing: return an error from
    /// the middleware instead.
    pub fn disconnect(&self) {
        let leave = |socket: &Rc<LocalSocket>| socket.leave(DisconnectReason::ServerNamespaceDisconnect, true);
        self.order(Operation::Disconnect { close: false }, leave);
    }

    /// Disconnects the client from all its namespaces and closes its connection.
    ///
    /// A client that has lost its connection can then no longer be recovered in this namespace. Before the socket is connected this does nothing, as
    /// [`disconnect`](Self::disconnect).
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
    /// Frames that cannot leave at once wait in the client's bounded outbox (see [`max_outbox`](crate::ServerBuilder::max_outbox)). Await
    /// [`ready`](Self::ready) between many events.
    ///
    /// # Errors
    ///
    /// The name is reserved, the arguments cannot be encoded, the socket has left, or the client is too slow. On other threads than the socket's own,
    /// the last two are not reported.
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

    /// Sends an event and returns its pending acknowledgement, which has no deadline; see [`timeout`](Self::timeout).
    ///
    /// The event is sent at once, even if the acknowledgement is never awaited.
    pub fn emit_with_ack(&self, event: &str, args: impl EmitArgs) -> PendingAck {
        self.emit_with_ack_and(event, args, Flags::default())
    }

    /// Waits until at most half of the client's outbox is used.
    ///
    /// # Errors
    ///
    /// The socket has left.
    pub async fn ready(&self) -> Result<(), SendError> {
        if let Some(socket) = self.here() {
            return socket.session.ready().await;
        }
        let (sender, receiver) = oneshot::channel();
        self.run_on_owner(0, move |socket| {
            let session = Rc::clone(&socket.session);
            actix_rt::spawn(async move {
                let ready = session.ready().await;
                // The caller may have stopped waiting.
                let _ = sender.send(ready);
            });
        });
        receiver.await.unwrap_or(Err(SendError::Closed))
    }

    /// Marks the next event as volatile: it is dropped if it cannot leave at once.
    pub fn volatile(&self) -> SocketEmitter<'_> {
        SocketEmitter { socket: self, flags: Flags { volatile: true, ..Flags::default() } }
    }

    /// Sets whether the next event may be compressed for its receivers: yes by default.
    pub fn compress(&self, compress: bool) -> SocketEmitter<'_> {
        SocketEmitter { socket: self, flags: Flags { compress, ..Flags::default() } }
    }

    /// Sets the deadline for the acknowledgement of the next event.
    pub fn timeout(&self, timeout: Duration) -> SocketEmitter<'_> {
        SocketEmitter { socket: self, flags: Flags { timeout: Some(timeout), ..Flags::default() } }
    }

    /// Selects all sockets of the namespace except this one.
    pub fn broadcast(&self) -> BroadcastOperator {
        self.0.namespace.except(self.0.id)
    }

    /// Selects the sockets in these rooms except this one.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Selects the sockets in these rooms, like [`to`](Self::to). Other languages call this `in`.
    pub fn within(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.to(rooms)
    }

    /// Selects all sockets of the namespace except this one and those in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Selects the sockets of this node except this one.
    pub fn local(&self) -> BroadcastOperator {
        self.broadcast().local()
    }

    /// Changes the handlers of this socket alone, soon.
    #[cfg(feature = "admin")]
    pub(crate) fn configure(&self, change: impl FnOnce(&mut crate::handler::registry::Handlers) + Send + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(change));
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.0.namespace.encoding()
    }

    fn emit_with(&self, event: &str, args: impl EmitArgs, flags: Flags) -> Result<(), EmitError> {
        check_name(event)?;
        let args = args.into_args(self.encoding())?;
        if let Some(recoveries) =
            self.0.namespace.recoveries().filter(|_| !flags.volatile && self.0.has_been_let_in() && !self.0.has_left_own_room())
        {
            // A disconnected client gets the event when it returns.
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

    fn send_frames(&self, frames: Frames, flags: Flags) -> Result<(), EmitError> {
        if let Some(socket) = self.here() {
            return Ok(socket.send(frames, flags.volatile, flags.compress)?);
        }
        let sent = self.run_on_owner(frames.len(), move |socket| {
            // The caller is on another thread. A failure is counted where it happens.
            let _ = socket.send(frames, flags.volatile, flags.compress);
        });
        if sent { Ok(()) } else { Err(SendError::Closed.into()) }
    }

    /// Sends a packet other than an event.
    pub(crate) fn send_packet(&self, body: Body) -> Result<(), EmitError> {
        let frames = self.0.namespace.frames(&Packet { namespace: self.0.namespace.name().clone(), body });
        if let Some(socket) = self.here() {
            return Ok(socket.session.send(frames, true)?);
        }
        let sent = self.run_on_owner(frames.len(), move |socket| {
            // The caller is on another thread.
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

    /// Returns the socket's local state, if this is its thread and it has not left.
    #[inline]
    pub(crate) fn here(&self) -> Option<Rc<LocalSocket>> {
        ThreadState::current(self.0.namespace.engine())?.socket(&self.0)
    }

    /// Acts on a connected socket on its thread. For a disconnected client, the operation waits under the socket's id.
    fn order(&self, operation: Operation, act: impl FnOnce(&Rc<LocalSocket>) + Send + 'static) {
        let engine = self.0.namespace.engine();
        let this = self.clone();
        let act = move |local: &Rc<ThreadState>| {
            let socket = local.socket(&this.0);
            // A socket that is leaving may have been saved already.
            if let Some(socket) = &socket {
                act(socket);
            }
            if this.0.recovery.as_ref().is_some_and(|recovery| recovery.lost.load(Ordering::Acquire)) {
                this.order_away(operation);
            }
        };
        // A thread that has ended has no sockets.
        let _ = engine.run_on(self.0.worker(), 0, on_thread(act));
    }

    /// Orders an operation for whichever client has the socket's id, now or when it returns.
    fn order_away(&self, operation: Operation) {
        let Some((recovery, recoveries)) = self.0.recovery.as_ref().zip(self.0.namespace.recoveries()) else { return };
        if matches!(operation, Operation::Disconnect { .. }) {
            recovery.void.store(true, Ordering::Release);
        }
        let target = Target { rooms: vec![self.0.id.as_str().into()], except: vec![] };
        if let Err(error) = self.0.namespace.broadcast(target, operation, !recoveries.history.is_shared(), None) {
            tracing::warn!(target: "sociable::recovery", id = %self.0.id.shortened(), %error, "order for a disconnected client not kept");
        }
    }

    /// Acts on the socket on its thread: at once if this is it. Returns false if the thread has ended or the socket has left this one.
    pub(crate) fn run_on_owner(&self, bytes: usize, act: impl FnOnce(&Rc<LocalSocket>) + Send + 'static) -> bool {
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

/// Options for the next event to one socket; made by [`Socket::volatile`], [`Socket::compress`] and [`Socket::timeout`].
#[derive(Clone, Copy, Debug)]
#[must_use = "it sends nothing by itself: call `emit`"]
pub struct SocketEmitter<'a> {
    socket: &'a Socket,
    flags: Flags,
}

impl SocketEmitter<'_> {
    /// Marks the event as volatile: it is dropped if it cannot leave at once.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Sets whether the event may be compressed for its receiver.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// Sets the deadline for the acknowledgement.
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

    /// Sends a `message` event.
    ///
    /// # Errors
    ///
    /// As [`Socket::emit`].
    pub fn send(self, args: impl EmitArgs) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Sends the event and returns its pending acknowledgement.
    pub fn emit_with_ack(self, event: &str, args: impl EmitArgs) -> PendingAck {
        self.socket.emit_with_ack_and(event, args, self.flags)
    }
}
