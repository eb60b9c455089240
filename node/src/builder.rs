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
use crate::server_state::ServerState;
use crate::spans::TracePropagator;
use crate::thread::private_rooms::PrivateRooms;

/// Sets the options of a [`Server`]. The defaults are those of the JavaScript server, but where an option says otherwise.
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
            propagator: None,
            client_files: None,
            states: ByType::default(),
        }
    }

    sociable_engine::engine_options!();

    /// How packets are written: [`JsonParser`] by default. Clients have to use the same.
    pub fn parser(mut self, parser: impl Parser) -> Self {
        self.parser = Arc::new(parser);
        self
    }

    /// What carries messages to the other nodes. By default the node is alone.
    ///
    /// The others know of this node, and tell and ask it what they tell and ask all, when its first worker thread runs: before that it could not
    /// answer. One that sends them something, asks them, or counts them before it serves is known from then on.
    pub fn adapter(mut self, adapter: impl Adapter) -> Self {
        self.adapter = Some(Arc::new(adapter));
        self
    }

    /// Lets clients whose connections were lost come back as the sockets that they were, with what they missed: off by default.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = Some(recovery);
        self
    }

    /// How long a connection may be in no namespace after it was opened: 45 s by default. It is closed then.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long each attachment of a packet may take to come after the one before: 30 s by default. The connection is closed then.
    pub fn packet_timeout(mut self, timeout: Duration) -> Self {
        self.packet_timeout = timeout;
        self
    }

    /// How many bytes a client may send to be let into a namespace (`auth`), as they are encoded: 16 KiB by default. Beyond it the client gets a connect
    /// error. They are kept as long as the socket.
    pub fn max_auth_bytes(mut self, bytes: usize) -> Self {
        self.max_auth_bytes = bytes;
        self
    }

    /// How long the acknowledgements of a broadcast are waited for where nothing else is said: 5 s by default.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.ack_timeout = timeout;
        self
    }

    /// How long the answers of other nodes are waited for where nothing else is said: 5 s by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Whether a namespace that was made for a pattern goes when its last socket has left: yes by default, unlike in JavaScript. With
    /// [`recovery`](Self::recovery) it stays for as long as the client of one that was lost may come back.
    pub fn cleanup_empty_child_namespaces(mut self, clean_up: bool) -> Self {
        self.dynamic.cleanup = clean_up;
        self
    }

    /// How many namespaces this node has at most when a client asks for a new one: 100,000 by default. Beyond it empty namespaces that were made for
    /// patterns go, those that wait for lost clients last. If there is none, the client is refused.
    pub fn max_dynamic_namespaces(mut self, namespaces: usize) -> Self {
        self.dynamic.max = namespaces;
        self
    }

    /// How many namespaces one session may make for patterns: 100 by default. Those that are gone do not count, nor do those that were there before.
    /// Beyond it the client is refused.
    pub fn max_dynamic_namespaces_of_session(mut self, namespaces: usize) -> Self {
        self.dynamic.of_session = namespaces;
        self
    }

    /// How many namespaces all clients of one [address](Self::client_address) may make for patterns: 10,000 by default.
    pub fn max_dynamic_namespaces_of_address(mut self, namespaces: usize) -> Self {
        self.dynamic.of_address = namespaces;
        self
    }

    /// Tells the address of a client, for the limits that hold for one. `None` if it is not known. By default it is the other end of the connection,
    /// unless that is a private address: then it is that of a proxy. A network of IPv6 with a prefix of 64 bits counts as one address.
    ///
    /// Behind balancers of Sociable it is the last address in `X-Forwarded-For`, if nobody else reaches the node:
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

    /// How often sockets of this node may be in a room that is named like the id of *another* socket: never by default, unlike in JavaScript.
    ///
    /// Who is in such a room gets all that is sent to that socket alone. Where rooms are named by clients, anybody could listen to anybody. Each such
    /// room costs a subscription of NATS. A join beyond the limit does nothing; it is counted as `private_joins_refused`, and logged.
    ///
    /// An id has 20 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`. Put something before names of your own that look so: `doc:…`.
    pub fn max_private_rooms(mut self, rooms: usize) -> Self {
        self.max_private_rooms = rooms;
        self
    }

    /// Serves the files of the official client, for browsers, beside the clients' requests: `/socket.io/socket.io.js` and the others that the
    /// folder `dist` of the npm package `socket.io-client` holds. Off by default.
    ///
    /// The files are read and compressed once, by [`build`](Self::build).
    ///
    /// ```no_run
    /// let io = sociable::Server::builder().serve_client("node_modules/socket.io-client/dist").build()?;
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn serve_client(mut self, folder: impl Into<PathBuf>) -> Self {
        self.client_files = Some(folder.into());
        self
    }

    /// Whether a client that waits for an acknowledgement is told why there is none: when the arguments of its event do not fit or are not
    /// [valid](crate::Validate), when middleware refuses the event, and when a handler ends with an error before it sent the acknowledgement. No by
    /// default, as in JavaScript: then the client waits until its own timeout.
    ///
    /// The acknowledgement is one object, `{"error":{"message":"…","data":…}}`; without data that field is not there. Arguments that do not fit have the
    /// data `{"code":"E_ARGUMENTS","argument":0}`.
    pub fn answer_errors(mut self, answer: bool) -> Self {
        self.answer_errors = answer;
        self
    }

    /// Sets the tie between spans and those of other processes: none by default. The request of a handshake may name a span (`traceparent`), and
    /// events between nodes bring one.
    pub fn trace_propagator(mut self, propagator: impl TracePropagator) -> Self {
        self.propagator = Some(Arc::new(propagator));
        self
    }

    /// Adds state that handlers take by [`State<T>`](crate::State). There is one of each type.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(TypeId::of::<T>(), Arc::new(state));
        self
    }

    /// The server.
    ///
    /// # Errors
    ///
    /// The options that can't work, all of them.
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
            }
        });
        inner.engine.set_hooks(ServerHooks::new(&inner));
        Ok(Server::from_inner(inner))
    }
}

/// The layer above a session that comes while its server is being dropped.
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
