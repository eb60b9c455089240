//! The builder of a server: its options and their defaults.

use std::any::{Any, TypeId};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::RwLock;
use sociable_adapter::{Adapter, SingleNodeAdapter};
use sociable_engine::layer::Config;
use sociable_engine::{CloseReason, ConfigError, Connection, Engine, Handshake, Session};
use sociable_protocol::maps::ByType;
use sociable_protocol::{Args, JsonParser, NodeTag, Parser, Value};

use crate::client_files;
use crate::cluster::hooks::ServerHooks;
use crate::cluster::node::ClusterNode;
use crate::connection::Client;
use crate::namespace_limits::NamespaceLimits;
use crate::recovery::options::Recovery;
use crate::recovery::registry::Recoveries;
use crate::server::Server;
use crate::server_state::{ServerState, SessionListener};
use crate::spans::TracePropagator;
use crate::thread::private_rooms::PrivateRooms;

/// A builder of a [`Server`]. The defaults are those of the JavaScript server, unless an option says otherwise.
#[must_use = "call `build`"]
pub struct ServerBuilder {
    config: Config,
    parser: Arc<dyn Parser>,
    adapter: Option<Arc<dyn Adapter>>,
    recovery: Option<Recovery>,
    connect_timeout: Duration,
    packet_timeout: Duration,
    max_auth_bytes: usize,
    ack_timeout: Duration,
    request_timeout: Duration,
    dynamic: NamespaceLimits,
    max_private_rooms: usize,
    answer_errors: bool,
    on_session: Option<SessionListener>,
    propagator: Option<Arc<dyn TracePropagator>>,
    client_files: Option<PathBuf>,
    states: ByType<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).field("parser", &self.parser).finish_non_exhaustive()
    }
}

impl Server {
    /// Returns a builder with the defaults of the JavaScript server. Its path is `/socket.io/`.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }
}

impl ServerBuilder {
    fn new() -> Self {
        Self {
            config: Config::with_path("/socket.io"),
            parser: Arc::new(JsonParser::default()),
            adapter: None,
            recovery: None,
            connect_timeout: Duration::from_secs(45),
            packet_timeout: Duration::from_secs(30),
            max_auth_bytes: 16 * 1024,
            ack_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            dynamic: NamespaceLimits::default(),
            max_private_rooms: 0,
            answer_errors: false,
            on_session: None,
            propagator: None,
            client_files: None,
            states: ByType::default(),
        }
    }

    sociable_engine::engine_options!();

    /// Sets how packets are encoded: [`JsonParser`] by default. Clients have to use the same parser.
    pub fn parser(mut self, parser: impl Parser) -> Self {
        self.parser = Arc::new(parser);
        self
    }

    /// Sets the adapter that connects this node to the others. By default there are no others.
    ///
    /// The node joins the cluster when its first worker thread runs, because it could not answer before. If it emits to the other nodes, asks them or
    /// counts them earlier, it joins then.
    pub fn adapter(mut self, adapter: impl Adapter) -> Self {
        self.adapter = Some(Arc::new(adapter));
        self
    }

    /// Enables connection state recovery: a disconnected client returns as the same socket, with its missed events. Off by default.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = Some(recovery);
        self
    }

    /// Sets how long a connection may stay outside of any namespace before it is closed: 45 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long each attachment of a packet may take after the one before: 30 s by default. Then the connection is closed.
    pub fn packet_timeout(mut self, timeout: Duration) -> Self {
        self.packet_timeout = timeout;
        self
    }

    /// Sets the maximum size of a client's `auth` payload, in encoded bytes: 16 KiB by default.
    ///
    /// A client with a larger one gets a connect error. The payload is kept as long as the socket.
    pub fn max_auth_bytes(mut self, bytes: usize) -> Self {
        self.max_auth_bytes = bytes;
        self
    }

    /// Sets the default deadline for the acknowledgements of a broadcast: 5 s unless set.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.ack_timeout = timeout;
        self
    }

    /// Sets the default deadline for the answers of other nodes: 5 s unless set.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets whether a pattern's namespace is dropped with its last socket: yes by default, unlike in JavaScript.
    ///
    /// With [`recovery`](Self::recovery) it stays for as long as one of its disconnected clients may return.
    pub fn cleanup_empty_child_namespaces(mut self, clean_up: bool) -> Self {
        self.dynamic.cleanup = clean_up;
        self
    }

    /// Sets the number of namespaces beyond which clients cannot create another one: 100,000 by default.
    ///
    /// At the limit, the empty namespaces that were created for patterns are dropped; those that await disconnected clients go last. If none is
    /// empty, the client is refused.
    pub fn max_dynamic_namespaces(mut self, namespaces: usize) -> Self {
        self.dynamic.max = namespaces;
        self
    }

    /// Sets how many namespaces one session may create for patterns: 100 by default. A client that asks for more is refused.
    ///
    /// Namespaces that were dropped, or that existed before, do not count.
    pub fn max_dynamic_namespaces_of_session(mut self, namespaces: usize) -> Self {
        self.dynamic.of_session = namespaces;
        self
    }

    /// Sets how many namespaces the clients of one address may create for patterns: 10,000 by default.
    ///
    /// See [`client_address`](Self::client_address).
    pub fn max_dynamic_namespaces_of_address(mut self, namespaces: usize) -> Self {
        self.dynamic.of_address = namespaces;
        self
    }

    /// Sets how the address of a client is found, for the limits per address. `None` stands for an unknown address.
    ///
    /// By default it is the peer address of the connection, unless that is private and so belongs to a proxy. An IPv6 network with a prefix of 64
    /// bits counts as one address.
    ///
    /// Behind balancers of Sociable, use the last address in `X-Forwarded-For`, provided that only they reach the node:
    ///
    /// ```
    /// let io = sociable::Server::builder()
    ///     .client_address(|request| request.header("x-forwarded-for")?.rsplit(',').next()?.trim().parse().ok())
    ///     .build()?;
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn client_address(mut self, address: impl Fn(&Handshake) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.dynamic.address_of = Arc::new(address);
        self
    }

    /// Sets how many memberships in rooms named like the id of *another* socket are allowed.
    ///
    /// The default is none, unlike in JavaScript.
    ///
    /// The members of such a room receive everything that is sent to that socket alone. If clients choose the names of rooms, any client could then
    /// listen to any other. Each such room costs a NATS subscription. A join beyond the limit does nothing; it is logged, and counted as
    /// `private_joins_refused`.
    ///
    /// An id has 20 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`. Prefix room names of your own that look so: `doc:…`.
    pub fn max_private_rooms(mut self, rooms: usize) -> Self {
        self.max_private_rooms = rooms;
        self
    }

    /// Serves the official client's files to browsers: `/socket.io/socket.io.js` and its siblings. Off by default.
    ///
    /// `folder` is the folder `dist` of the npm package `socket.io-client`. [`build`](Self::build) reads and compresses the files once.
    ///
    /// ```no_run
    /// let io = sociable::Server::builder().serve_client("node_modules/socket.io-client/dist").build()?;
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn serve_client(mut self, folder: impl Into<PathBuf>) -> Self {
        self.client_files = Some(folder.into());
        self
    }

    /// Sets whether a client that waits for an acknowledgement gets the error that prevented it. No by default, as in JavaScript.
    ///
    /// Such errors are arguments that do not fit or are not [valid](crate::Validate), and refusals by middleware. A handler that fails before it
    /// acknowledges is another. By default the client waits until its own timeout.
    ///
    /// The acknowledgement is one object, `{"error":{"message":"…","data":…}}`. The field `data` is left out if there is none. For arguments that do
    /// not fit, the data is `{"code":"E_ARGUMENTS","argument":0}`.
    pub fn answer_errors(mut self, answer: bool) -> Self {
        self.answer_errors = answer;
        self
    }

    /// Calls `listener` with each new session, on its thread, before the client is in any namespace. A second call replaces the first.
    ///
    /// The JavaScript server calls this the event `connection` of the engine. See [`Session::on_event`] for the events of a session.
    ///
    /// ```
    /// use sociable::SessionEvent;
    ///
    /// let io = sociable::Server::builder()
    ///     .on_session(|session| {
    ///         session.on_event(|session, event| {
    ///             if let SessionEvent::Heartbeat = event {
    ///                 println!("{:?} lives", session.handshake().peer_addr());
    ///             }
    ///         });
    ///     })
    ///     .build()?;
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn on_session(mut self, listener: impl Fn(&Rc<Session>) + Send + Sync + 'static) -> Self {
        self.on_session = Some(Arc::new(listener));
        self
    }

    /// Sets the tie between spans and those of other processes: none by default. The request of a handshake may name a span (`traceparent`), and
    /// events between nodes bring one.
    pub fn trace_propagator(mut self, propagator: impl TracePropagator) -> Self {
        self.propagator = Some(Arc::new(propagator));
        self
    }

    /// Registers state that handlers take as [`State<T>`](crate::State). A second value of the same type replaces the first.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(TypeId::of::<T>(), Arc::new(state));
        self
    }

    /// Returns the server.
    ///
    /// # Errors
    ///
    /// All options that cannot work.
    pub fn build(self) -> Result<Server, ConfigError> {
        let files = self.client_files.as_deref().map(client_files::read).transpose();
        let files = files.map_err(|error| ConfigError::single(format!("serve_client: {error}")));
        let (config, files) = ConfigError::both(self.config.check(), files)?;
        let encoding = self.parser.encoding();
        let alone = self.adapter.is_none();
        let adapter = self.adapter.unwrap_or_else(|| Arc::new(SingleNodeAdapter));
        let tag = adapter.tag().unwrap_or_else(NodeTag::random);
        let max_away = self.recovery.as_ref().map(|options| options.limits(Duration::ZERO, 0).session_age);
        let recoveries = self.recovery.map(|options| {
            let history = adapter.history(options.limits(config.ping_interval.saturating_add(config.ping_timeout), config.max_outbox));
            Arc::new(Recoveries::new(&options, history))
        });
        let inner = Arc::new_cyclic(|this: &Weak<ServerState>| {
            let server = Weak::clone(this);
            let engine = Engine::new(config, tag, move |session| -> Rc<dyn Connection> {
                match server.upgrade().zip(session.worker().layer()) {
                    Some((server, thread)) => Client::open(&server, session, thread),
                    None => Rc::new(Refuse(session)),
                }
            });
            ServerState {
                engine,
                parser: self.parser,
                alone,
                adapter,
                joined: Once::new(),
                recoveries,
                connect_timeout: self.connect_timeout,
                packet_timeout: self.packet_timeout,
                max_auth_bytes: self.max_auth_bytes,
                ack_timeout: self.ack_timeout,
                request_timeout: self.request_timeout,
                dynamic: self.dynamic,
                private_rooms: PrivateRooms::new(self.max_private_rooms),
                max_away,
                answer_errors: self.answer_errors,
                on_session: self.on_session,
                propagator: self.propagator,
                client_files: files.map(Arc::new),
                no_auth: Args::encode(encoding, &Value::Object(vec![])).unwrap_or_else(|_| Args::null(encoding)),
                states: self.states,
                this: Weak::clone(this),
                counters: Arc::default(),
                node: |server| Arc::new(ClusterNode(server)),
                namespaces: RwLock::default(),
                parents: RwLock::default(),
                new_namespace: RwLock::default(),
                #[cfg(feature = "metrics")]
                metric_sources: RwLock::default(),
            }
        });
        inner.engine.set_hooks(ServerHooks::new(&inner));
        Ok(Server::from_inner(inner))
    }
}

/// The connection of a session that opens while its server is being dropped.
struct Refuse(Rc<Session>);

impl Connection for Refuse {
    fn text(&self, _: ByteString) {
        self.0.close();
    }

    fn binary(&self, _: bytes::Bytes) {
        self.0.close();
    }

    fn closed(&self, _: CloseReason) {}
}
