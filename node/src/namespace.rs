//! Namespaces: the state that all threads share.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use sociable_adapter::{Operation, Room, Target, own_room};
use sociable_engine::layer::{EngineState, after};
use sociable_protocol::maps::Map;
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Args, Body, Encoding, Frames, Id, Packet, Parser};
use tokio::time::Instant;

use crate::ack::{AckReply, BroadcastAckError};
use crate::broadcast::{BroadcastOperator, IntoRooms};
use crate::cluster::questions::ServerAckError;
use crate::emit::{EmitArgs, EmitError, check_name};
use crate::handler::registry::{HandlerRegistry, Handlers, listeners};
use crate::namespace_limits::Charge;
use crate::parent_namespace::ParentNamespace;
use crate::recovery::registry::Recoveries;
use crate::remote_socket::{FetchError, RemoteSocket};
use crate::server::Server;
use crate::server_state::ServerState;
use crate::socket::Socket;
use crate::stats::{AllCounters, Count};
use crate::thread::count_on;
use crate::trace;

/// A namespace. Clones are cheap and share the same namespace.
///
/// Add handlers and middleware with the `on…` methods and `middleware`. A socket takes a snapshot of them when it connects.
///
/// ```
/// use sociable::{Data, Failure, Server, Socket};
///
/// let io = Server::builder().build()?;
/// let chat = io.of("/chat");
/// chat.middleware(async |socket: Socket| match socket.auth::<String>() {
///     Ok(name) => Ok(drop(socket.set_data(&name))),
///     Err(_) => Err(Failure::new("who are you?")),
/// });
/// chat.on("say", async |socket: Socket, Data(text): Data<String>| {
///     socket.namespace().emit("said", &text).ok();
/// });
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Namespace(Arc<Inner>);

struct Inner {
    server: Weak<ServerState>,
    engine: Arc<EngineState>,
    counters: Arc<AllCounters>,
    parser: Arc<dyn Parser>,
    name: ByteString,
    setup: HandlerRegistry,
    recoveries: Option<Arc<Recoveries>>,
    /// The pattern for which the namespace was created.
    parent: Option<ParentNamespace>,
    /// The charge to the client that created the namespace, for as long as clients can find it.
    charge: Mutex<Option<Charge>>,
    /// The time of creation.
    began: std::time::Instant,
    /// The next id of an acknowledgement. All sockets share the ids, so that a broadcast needs only one.
    ack_ids: AtomicU64,
    /// Held by joins that other nodes asked for and that threads have not done yet. They may create rooms.
    joins_under_way: Arc<()>,
    /// The rooms of this node, with the number of threads on which they have members.
    rooms: Mutex<Map<Room, usize>>,
    /// The number of rooms whose name could be the id of a socket.
    rooms_like_ids: AtomicUsize,
    /// The number of sockets in the namespace or entering it.
    sockets: AtomicUsize,
    /// The time until which a disconnected client may return. A task waits for it.
    awaits_lost: Mutex<Option<Instant>>,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.0.name).finish()
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Namespace {}

impl Namespace {
    pub(crate) fn new(server: &ServerState, name: ByteString, parent: Option<ParentNamespace>, charge: Option<Charge>) -> Self {
        Self(Arc::new(Inner {
            server: Weak::clone(&server.this),
            engine: Arc::clone(server.engine()),
            counters: Arc::clone(&server.counters),
            parser: Arc::clone(&server.parser),
            recoveries: server.recoveries.clone(),
            name,
            setup: parent.as_ref().map_or_else(HandlerRegistry::default, |parent| HandlerRegistry::of(parent.setup().snapshot())),
            parent,
            charge: Mutex::new(charge),
            began: std::time::Instant::now(),
            ack_ids: AtomicU64::new(0),
            joins_under_way: Arc::default(),
            rooms: Mutex::default(),
            rooms_like_ids: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            awaits_lost: Mutex::default(),
        }))
    }

    listeners!();

    /// Returns the name, which starts with a slash.
    pub fn name(&self) -> &ByteString {
        &self.0.name
    }

    /// Returns the server, or `None` if it has been dropped.
    pub fn server(&self) -> Option<Server> {
        self.0.server.upgrade().map(Server::from_inner)
    }

    /// Returns the number of rooms with members on this node, without the rooms of its sockets' own ids.
    pub fn room_count(&self) -> usize {
        self.0.rooms.lock().len()
    }

    /// Returns the number of sockets on this node, including those that are entering.
    pub fn socket_count(&self) -> usize {
        self.0.sockets.load(Ordering::Relaxed)
    }

    /// Selects all sockets.
    fn all(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.clone())
    }

    /// Selects the sockets in these rooms.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.all().to(rooms)
    }

    /// Selects the sockets in these rooms, like [`to`](Self::to). Other languages call this `in`.
    pub fn within(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.all().to(rooms)
    }

    /// Selects all sockets except those in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.all().except(rooms)
    }

    /// Selects the sockets of this node.
    pub fn local(&self) -> BroadcastOperator {
        self.all().local()
    }

    /// Selects all sockets. The next event is dropped for clients that cannot take it at once.
    pub fn volatile(&self) -> BroadcastOperator {
        self.all().volatile()
    }

    /// Selects all sockets, and sets whether the next event may be compressed for them.
    pub fn compress(&self, compress: bool) -> BroadcastOperator {
        self.all().compress(compress)
    }

    /// Selects all sockets, and sets the deadline for their acknowledgements.
    pub fn timeout(&self, timeout: Duration) -> BroadcastOperator {
        self.all().timeout(timeout)
    }

    /// Sends an event to all sockets of the cluster.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::emit`].
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        self.all().emit(event, args)
    }

    /// Sends a `message` event to all sockets.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::emit`].
    pub fn send(&self, args: impl EmitArgs) -> Result<(), EmitError> {
        self.all().send(args)
    }

    /// Sends an event to all sockets and collects their acknowledgements.
    ///
    /// The deadline is the server's [`ack_timeout`](crate::ServerBuilder::ack_timeout), 5 s by default.
    pub fn emit_with_ack(&self, event: &str, args: impl EmitArgs) -> BoxFuture<'static, Result<Vec<AckReply>, BroadcastAckError>> {
        self.all().emit_with_ack(event, args)
    }

    /// Sends an event to all sockets and returns their acknowledgements as they arrive. See [`BroadcastOperator::emit_with_ack_stream`].
    pub fn emit_with_ack_stream(&self, event: &str, args: impl EmitArgs) -> BoxStream<'static, Result<AckReply, BroadcastAckError>> {
        self.all().emit_with_ack_stream(event, args)
    }

    /// Returns all sockets of the cluster.
    ///
    /// # Errors
    ///
    /// A node did not answer in time.
    pub fn fetch_sockets(&self) -> BoxFuture<'static, Result<Vec<RemoteSocket>, FetchError>> {
        self.all().fetch_sockets()
    }

    /// Returns handles of all sockets on this node. See [`BroadcastOperator::local_sockets`].
    pub async fn local_sockets(&self) -> Vec<Socket> {
        self.all().local_sockets().await
    }

    /// Returns the handle of the socket with this id, if the socket is on this node. `to(id)` reaches it on any node.
    ///
    /// ```
    /// # async fn show(io: sociable::Server, id: sociable::Id) {
    /// if let Some(socket) = io.local_socket(id).await {
    ///     println!("{:?} is in {:?}", socket.id(), socket.rooms());
    /// }
    /// # }
    /// ```
    pub async fn local_socket(&self, id: Id) -> Option<Socket> {
        // The room of the id may have other members.
        self.to(id).local_sockets().await.into_iter().find(|socket| socket.id() == id)
    }

    /// Makes all sockets join rooms.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::sockets_join`].
    pub fn sockets_join(&self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.all().sockets_join(rooms)
    }

    /// Makes all sockets leave rooms.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::sockets_join`].
    pub fn sockets_leave(&self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.all().sockets_leave(rooms)
    }

    /// Disconnects all sockets from the namespace; with `close`, also closes their connections.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::sockets_join`].
    pub fn disconnect_sockets(&self, close: bool) -> Result<(), EmitError> {
        self.all().disconnect_sockets(close)
    }

    /// Sends an event to the application on all *other* servers of the cluster; see [`on_server_event`](Self::on_server_event).
    ///
    /// # Errors
    ///
    /// The name is reserved, the arguments cannot be encoded, or the other nodes cannot be reached.
    pub fn server_side_emit(&self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        let (name, args) = self.server_event(event, args)?;
        let (_span, trace) = self.sending(event, true);
        self.publish(trace, || (Target::default(), Operation::ServerEvent { name, args }))
    }

    /// Sends an event to the application on all other servers of the cluster, and collects their acknowledgements.
    ///
    /// The deadline is the server's [`request_timeout`](crate::ServerBuilder::request_timeout). Without other servers, the list is empty.
    ///
    /// # Errors
    ///
    /// A server did not answer in time, or the event was not sent.
    pub fn server_side_emit_with_ack(&self, event: &str, args: impl EmitArgs) -> BoxFuture<'static, Result<Vec<Args>, ServerAckError>> {
        self.ask_servers(self.server_event(event, args))
    }

    fn server_event(&self, event: &str, args: impl EmitArgs) -> Result<(ByteString, Args), EmitError> {
        check_name(event)?;
        if matches!(event, "connection" | "new_namespace") {
            return Err(EmitError::Reserved(event.to_owned()));
        }
        Ok((event.into(), args.into_args(self.encoding())?))
    }

    pub(crate) fn setup(&self) -> &HandlerRegistry {
        &self.0.setup
    }

    pub(crate) fn handlers(&self) -> Arc<Handlers> {
        self.0.setup.snapshot()
    }

    pub(crate) fn server_state(&self) -> Option<Arc<ServerState>> {
        self.0.server.upgrade()
    }

    /// Counts on this thread. Threads that are no workers share one set of counters.
    pub(crate) fn count(&self, count: Count) {
        count_on(&self.0.engine, &self.0.counters, count);
    }

    pub(crate) fn engine(&self) -> &Arc<EngineState> {
        &self.0.engine
    }

    /// Returns the state of recovery, if it is on.
    #[inline]
    pub(crate) fn recoveries(&self) -> Option<&Arc<Recoveries>> {
        self.0.recoveries.as_ref()
    }

    /// Returns the state of recovery, if each node has its own history.
    pub(crate) fn own_history(&self) -> Option<&Recoveries> {
        self.recoveries().map(|recoveries| &**recoveries).filter(|recoveries| !recoveries.history.is_shared())
    }

    pub(crate) fn parser(&self) -> &dyn Parser {
        &*self.0.parser
    }

    pub(crate) fn parent(&self) -> Option<&ParentNamespace> {
        self.0.parent.as_ref()
    }

    /// Ends the charge to the client that created the namespace.
    pub(crate) fn uncharge(&self) {
        drop(self.0.charge.lock().take());
    }

    /// Returns the time of creation. The namespace kept no event from before.
    pub(crate) fn began(&self) -> std::time::Instant {
        self.0.began
    }

    /// Returns the encoding of packet arguments.
    pub fn encoding(&self) -> Encoding {
        self.0.parser.encoding()
    }

    pub(crate) fn frames(&self, packet: &Packet) -> Frames {
        let frames = self.0.parser.encode(packet);
        trace::packet_out(packet, &frames);
        frames
    }

    pub(crate) fn event_frames(&self, name: &str, args: Args, id: Option<u64>) -> Frames {
        self.frames(&crate::ack::event(&self.0.name, name.into(), args, id))
    }

    pub(crate) fn disconnect_frames(&self) -> Frames {
        self.frames(&Packet { namespace: self.0.name.clone(), body: Body::Disconnect })
    }

    /// Decodes an event from its frames: the name, the arguments, and the id of the acknowledgement that it asks for.
    pub(crate) fn read_event(&self, frames: &Frames) -> Option<(ByteString, Args, Option<u64>)> {
        let mut decoder = self.0.parser.decoder();
        let mut packet = None;
        for payload in frames.iter() {
            packet = match payload {
                Payload::Text(text) => decoder.text(text.get(1..)?.into()).ok()?,
                Payload::Binary(bytes) => decoder.binary(bytes.to_vec().into()).ok()?,
            };
        }
        match packet?.body {
            Body::Event { name, args, id } => Some((name, args, id)),
            _ => None,
        }
    }

    pub(crate) fn next_ack_id(&self) -> u64 {
        self.0.ack_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that a room appeared on a thread or vanished from it. Returns whether the same holds for the whole node.
    pub(crate) fn room_edge(&self, room: &Room, came: bool) -> bool {
        let mut rooms = self.0.rooms.lock();
        let threads = rooms.entry(room.clone()).or_default();
        *threads = if came { *threads + 1 } else { threads.saturating_sub(1) };
        let edge = *threads == usize::from(came);
        if edge && !came {
            rooms.remove(room);
        }
        drop(rooms);
        if edge && let Some(id) = own_room(room) {
            if id.tag() != self.0.engine.tag()
                && let Some(server) = self.server_state()
            {
                // The node of that tag receives the room's events; this node has to receive them too.
                if came { server.adapter.adopt(id) } else { server.adapter.release(id) }
            }
            if came {
                self.0.rooms_like_ids.fetch_add(1, Ordering::Relaxed);
            } else {
                self.0.rooms_like_ids.fetch_sub(1, Ordering::Relaxed);
            }
        }
        edge
    }

    /// Returns a guard for a join that another node asked for. Dropping it marks the join as done.
    pub(crate) fn join_under_way(&self) -> Arc<()> {
        Arc::clone(&self.0.joins_under_way)
    }

    /// Returns whether the target may include sockets of this node.
    ///
    /// A room may exist here, or may be the id of a socket.
    pub(crate) fn may_have(&self, target: &Target) -> bool {
        let has = |room: &Room| self.0.rooms.lock().contains_key(room) || own_room(room).is_some();
        if target.rooms.is_empty() || Arc::strong_count(&self.0.joins_under_way) > 1 {
            return true;
        }
        // Pairs with the dropped guards: rooms of finished joins are visible.
        fence(Ordering::Acquire);
        target.rooms.iter().any(has)
    }

    /// Returns the only worker that can have the target, if the target is one socket by its id.
    pub(crate) fn only_worker(&self, target: &Target) -> Option<usize> {
        let [room] = &target.rooms[..] else { return None };
        let id = own_room(room)?;
        if self.0.rooms_like_ids.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let relocated = self.0.recoveries.as_ref().and_then(|recoveries| recoveries.relocated(&id));
        relocated.or_else(|| (id.tag() == self.0.engine.tag()).then(|| self.0.engine.owner_of(&id)))
    }

    /// Counts a socket that is entering.
    pub(crate) fn entered(&self) {
        self.0.sockets.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns whether the namespace has no sockets and awaits no disconnected client.
    pub(crate) fn is_empty(&self) -> bool {
        self.socket_count() == 0 && self.0.awaits_lost.lock().is_none()
    }

    /// Counts out a socket that has left or was refused. The client of a `lost` one may return.
    pub(crate) fn on_left(&self, lost: bool) {
        let server = if self.0.parent.is_some() { self.server_state() } else { None };
        if let Some(stays) = server.as_ref().and_then(|server| server.stays()).filter(|_| lost) {
            // Events of other nodes for its rooms are kept only where the namespace exists.
            let until = after(Instant::now(), stays);
            if self.0.awaits_lost.lock().replace(until).is_none() {
                actix_rt::spawn(self.clone().await_lost(until));
            }
        }
        if self.0.sockets.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(server) = server
        {
            server.clean_up(self);
        }
    }

    /// Waits until no disconnected client can return. Each further loss extends the wait.
    async fn await_lost(self, mut until: Instant) {
        loop {
            tokio::time::sleep_until(until).await;
            let mut awaited = self.0.awaits_lost.lock();
            match *awaited {
                Some(later) if later > until => until = later,
                _ => {
                    *awaited = None;
                    break;
                }
            }
        }
        if let Some(server) = self.server_state() {
            server.clean_up(&self);
        }
    }
}
