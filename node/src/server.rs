//! The server: its options, its namespaces, and what it shares with them.

use std::any::{Any, TypeId};
use std::cell::OnceCell;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::{RwLock, RwLockWriteGuard};
use sociable_adapter::{Adapter, SingleNodeAdapter as Alone};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Args, Body, Frames, Health, JsonParser, NodeTag, Packet, Parser, Value};

use crate::client::Client;
use crate::config::{Config, ConfigError, engine_options};
use crate::drain;
use crate::dynamic::{Charge, Dynamic, Made};
use crate::emit::EmitError;
use crate::engine::{Connection, Engine, Session, Shared};
use crate::handshake::Handshake;
use crate::http::{ClientFiles, EngineService};
use crate::local::Local;
use crate::maps::{ByType, Map};
use crate::metrics::{Count, Stats};
use crate::namespace::Namespace;
use crate::parent::{Matcher, ParentNamespace};
use crate::reason::CloseReason;
use crate::recovery::{Recoveries, Recovery};
use crate::rooms::PrivateRooms;
use crate::serve::Serve;
use crate::serve::stop::{self, Stop};
use crate::server_events::{Departing, Inbound};
use crate::socket::SocketInner;
use crate::trace;

/// A Socket.IO server. Cheap to clone; every clone is the same server.
///
/// It is its main namespace, `/`, and more: all that a [`Namespace`] can, it can.
///
/// ```no_run
/// use actix_web::{App, HttpServer};
/// use sociable::{Ack, Data, Server, Socket};
///
/// #[actix_web::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let io = Server::builder().build()?;
///     io.on_connect(async |socket: Socket| println!("{} is here", socket.id()));
///     io.on("echo", async |Data(text): Data<String>, ack: Ack| {
///         ack.send(&text).ok();
///     });
///     HttpServer::new(move || App::new().service(io.service())).bind("127.0.0.1:3000")?.run().await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<ServerInner>,
    main: Namespace,
}

type NamespaceListener = Arc<dyn Fn(&Namespace) + Send + Sync>;

pub(crate) struct ServerInner {
    engine: Engine,
    pub(crate) parser: Arc<dyn Parser>,
    pub(crate) adapter: Arc<dyn Adapter>,
    joined: Once,
    /// There are no other nodes, so nothing is published.
    pub(crate) alone: bool,
    pub(crate) recoveries: Option<Arc<Recoveries>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) packet_timeout: Duration,
    pub(crate) max_auth_bytes: usize,
    pub(crate) ack_timeout: Duration,
    pub(crate) request_timeout: Duration,
    dynamic: Dynamic,
    pub(crate) private_rooms: PrivateRooms,
    /// How long a lost client may come back, if it may.
    max_away: Option<Duration>,
    pub(crate) answer_errors: bool,
    client_files: Option<Arc<ClientFiles>>,
    /// What the handshake of a client shows that sent nothing.
    pub(crate) no_auth: Args,
    states: ByType<Arc<dyn Any + Send + Sync>>,
    this: Weak<ServerInner>,
    pub(crate) namespaces: RwLock<Map<ByteString, Namespace>>,
    parents: RwLock<Vec<ParentNamespace>>,
    new_namespace: RwLock<Vec<NamespaceListener>>,
}

impl fmt::Debug for ServerInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("engine", &self.engine).field("namespaces", &self.namespaces.read().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

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
    dynamic: Dynamic,
    max_private_rooms: usize,
    answer_errors: bool,
    client_files: Option<PathBuf>,
    states: ByType<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).field("parser", &self.parser).finish_non_exhaustive()
    }
}

impl ServerBuilder {
    engine_options!();

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
        let files = self.client_files.as_deref().map(ClientFiles::read).transpose();
        let (config, files) = ConfigError::both(self.config.check(), files)?;
        let encoding = self.parser.encoding();
        let alone = self.adapter.is_none();
        let adapter = self.adapter.unwrap_or_else(|| Arc::new(Alone));
        let tag = adapter.tag().unwrap_or_else(NodeTag::random);
        let max_away = self.recovery.as_ref().map(|options| options.limits(Duration::ZERO, 0).session_age);
        let recoveries = self.recovery.map(|options| {
            let history = adapter.history(options.limits(config.ping_interval.saturating_add(config.ping_timeout), config.max_outbox));
            Arc::new(Recoveries::new(&options, history))
        });
        let inner = Arc::new_cyclic(|this: &Weak<ServerInner>| {
            let server = Weak::clone(this);
            let engine = Engine::new(config, tag, move |session| -> Rc<dyn Connection> {
                match server.upgrade() {
                    Some(server) => Client::open(&server, session),
                    None => Rc::new(Refuse(session)),
                }
            });
            ServerInner {
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
                client_files: files.map(Arc::new),
                no_auth: Args::encode(encoding, &Value::Object(vec![])).unwrap_or_else(|_| Args::null(encoding)),
                states: self.states,
                this: Weak::clone(this),
                namespaces: RwLock::default(),
                parents: RwLock::default(),
                new_namespace: RwLock::default(),
            }
        });
        Departing::watch(&inner);
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

impl Server {
    /// A server with the options of the JavaScript one, which are then changed. Its path is `/socket.io/`.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            config: Config::with_path("/socket.io"),
            parser: Arc::new(JsonParser::default()),
            adapter: None,
            recovery: None,
            connect_timeout: Duration::from_secs(45),
            packet_timeout: Duration::from_secs(30),
            max_auth_bytes: 16 * 1024,
            ack_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            dynamic: Dynamic::default(),
            max_private_rooms: 0,
            answer_errors: false,
            client_files: None,
            states: ByType::default(),
        }
    }

    pub(crate) fn from_inner(inner: Arc<ServerInner>) -> Self {
        let main = inner.of(ByteString::from_static(MAIN_NAMESPACE));
        Self { inner, main }
    }

    /// The namespace of this name; made at the first call. A leading slash is added if it is missing.
    ///
    /// A name that fits a pattern gets what listens on the pattern.
    pub fn of(&self, name: &str) -> Namespace {
        let name = if name.starts_with('/') { name.into() } else { format!("/{name}").into() };
        self.inner.of(name)
    }

    /// All namespaces in whose names the pattern is found, made when a first client asks for them.
    ///
    /// ```
    /// use sociable::{Server, Socket};
    ///
    /// let io = Server::builder().build()?;
    /// let documents = io.of_pattern(regex::Regex::new(r"^/document-\d+$")?);
    /// documents.on_connect(async |socket: Socket| println!("{} opened {}", socket.id(), socket.namespace().name()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_pattern(&self, pattern: regex::Regex) -> ParentNamespace {
        self.add_parent(Matcher::Pattern(pattern))
    }

    /// All namespaces for whose names, and for what the client sent to be let in, the function says yes.
    pub fn of_dynamic<F, Fut>(&self, matches: F) -> ParentNamespace
    where
        F: Fn(ByteString, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + 'static,
    {
        self.add_parent(Matcher::Function(Arc::new(move |name, auth| Box::pin(matches(name, auth)))))
    }

    fn add_parent(&self, matcher: Matcher) -> ParentNamespace {
        let parent = ParentNamespace::new(&self.inner.this, matcher);
        self.inner.parents.write().push(parent.clone());
        parent
    }

    /// Is told of every new namespace but `/`.
    pub fn on_new_namespace(&self, listener: impl Fn(&Namespace) + Send + Sync + 'static) -> &Self {
        self.inner.new_namespace.write().push(Arc::new(listener));
        self
    }

    /// The service for an actix-web `App`: it answers polling, and WebSockets where the `App` runs in a plain `HttpServer`.
    pub fn service(&self) -> EngineService {
        self.inner.engine.service().keeping(Arc::clone(&self.inner)).with_files(self.inner.client_files.clone())
    }

    /// A server that hands WebSockets over to this one as raw streams, with the `App` beside it. See [`Serve`].
    pub fn serve<F>(&self, app: F) -> Serve<F> {
        self.inner.engine.serve(app)
    }

    /// Runs a plain `HttpServer` until SIGINT or SIGTERM. Then every client gets a clean close, and the server is stopped: within `timeout`,
    /// which its own stop would wait out for open WebSockets without telling them anything.
    ///
    /// The server has to leave the signals alone: build it with [`disable_signals`](actix_web::HttpServer::disable_signals).
    ///
    /// ```no_run
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use actix_web::{App, HttpServer};
    ///
    /// let io = sociable::Server::builder().build()?;
    /// let service = io.service();
    /// let http = HttpServer::new(move || App::new().service(service.clone()))
    ///     .on_connect(sociable::on_connect)
    ///     .h1_allow_half_closed(false)
    ///     .disable_signals()
    ///     .bind("127.0.0.1:3000")?;
    /// io.run(http.run(), std::time::Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The server ended with an error.
    pub async fn run(&self, server: actix_web::dev::Server, timeout: Duration) -> std::io::Result<()> {
        stop::run(self.inner.shared(), server, Stop { drain: Duration::ZERO, timeout, signals: true }).await
    }

    /// State that was given to the builder.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let state = Arc::clone(self.inner.states.get(&TypeId::of::<T>())?);
        state.downcast().ok()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn path(&self) -> &str {
        &self.inner.shared().config.path
    }

    /// Sessions of this node.
    pub fn session_count(&self) -> usize {
        self.inner.engine.session_count()
    }

    /// What was counted on this node since the start.
    pub fn stats(&self) -> Stats {
        self.inner.engine.stats()
    }

    /// What is kept for clients that may come back. Nothing where recovery is off.
    pub fn recovery_usage(&self) -> sociable_adapter::Usage {
        self.inner.recoveries.as_ref().map(|recoveries| recoveries.history.usage()).unwrap_or_default()
    }

    /// The number of nodes that live, this one included.
    pub async fn server_count(&self) -> usize {
        self.inner.cluster().server_count().await
    }

    /// False while the other nodes can't be reached, as far as is known. Its own clients are served meanwhile; whether it should get new ones is
    /// for whoever places them to decide.
    pub fn is_connected(&self) -> bool {
        self.inner.adapter.is_connected()
    }

    /// False while the store that the nodes share refuses what it is given, since it is full. Events go on without being kept, and clients that lose
    /// their connection begin anew.
    pub fn is_keeping(&self) -> bool {
        self.inner.adapter.persists()
    }

    /// How this node is, for those who send clients to it: the answer to the `GET /healthz` of a balancer. A name is for the application to fill in.
    ///
    /// ```
    /// use actix_web::{App, web};
    /// use sociable::Server;
    ///
    /// let io = Server::builder().build()?;
    /// let (service, health) = (io.service(), io.clone());
    /// let app = App::new().service(service).route("/healthz", web::get().to(move || std::future::ready(web::Json(health.health()))));
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn health(&self) -> Health {
        self.inner.shared().health(self.is_connected(), self.is_keeping())
    }

    /// Ends when all that was done on this node before, of what can be recovered (events, and the rooms and data of sockets), is kept by those who
    /// survive it: with JetStream, when a NATS server has confirmed it. Without, there is nobody to wait for. A handler that acknowledges an event only
    /// then can promise that what it did is not lost with this node.
    ///
    /// ```
    /// # use sociable::{Ack, Data, Server, Socket};
    /// # let io = Server::builder().build()?;
    /// io.on("order", async |socket: Socket, Data(order): Data<String>, ack: Ack| {
    ///     let io = socket.namespace().server().ok_or("the server is gone")?;
    ///     io.to("kitchen").emit("ordered", &order)?;
    ///     io.flushed().await?;
    ///     Ok::<_, Box<dyn std::error::Error>>(ack.send("it will be cooked")?)
    /// });
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Some of it could not be kept in time, and does not reach other nodes.
    pub async fn flushed(&self) -> Result<(), EmitError> {
        self.inner.flushed().await
    }

    /// The namespaces of this node.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.inner.namespaces.read().values().cloned().collect()
    }

    /// Closes the sessions a few at a time, spread over `time`, so that their clients come back to other nodes without falling upon them together.
    /// To be called before [`close`](Self::close).
    ///
    /// From now on the node [says](Self::health) that it is draining, also to the others of its cluster; after a second, or a quarter of the time if that is less, the first sessions are closed. What a client needs to be
    /// [recovered](Recovery) elsewhere is kept before, where nodes share their history. The node takes new sessions all the while, and closes them
    /// too. Ends when there are none, or when the time is over. A time of zero only says that the node is draining.
    pub async fn drain(&self, time: Duration) {
        drain::drain(self.inner.shared(), time).await;
    }

    /// Closes the server: every socket leaves with the reason `server shutting down`, every client gets a close packet, and new ones are
    /// refused. Ends when all have got it, or after `grace`; what is left is cut off then. Then the node takes leave of the cluster. The HTTP server goes on.
    pub async fn close(&self, grace: Duration) {
        self.inner.engine.close(grace).await;
    }
}

/// The main namespace.
impl Deref for Server {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.main
    }
}

impl ServerInner {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.engine.0
    }

    /// The other nodes, of which this one is a member from here on.
    pub(crate) fn cluster(&self) -> &Arc<dyn Adapter> {
        self.joined.call_once(|| self.adapter.start(Arc::new(Inbound(Weak::clone(&self.this)))));
        &self.adapter
    }

    pub(crate) async fn flushed(&self) -> Result<(), EmitError> {
        let Some(recoveries) = &self.recoveries else { return Ok(()) };
        if recoveries.history.refresh_interval().is_some() {
            self.save_sockets().await;
        }
        Ok(recoveries.history.flushed().await?)
    }

    /// Has the threads save what has changed of their sockets.
    async fn save_sockets(&self) {
        let (saved, mut all_saved) = tokio::sync::mpsc::channel::<()>(1);
        for worker in self.shared().workers() {
            let saved = saved.clone();
            // A thread that has ended has no sockets.
            let _ = worker.run(0, move |worker| {
                Local::of(worker).save_changed();
                drop(saved);
            });
        }
        drop(saved);
        // It ends when the last has dropped its end.
        all_saved.recv().await;
    }

    fn of(&self, name: ByteString) -> Namespace {
        if let Some(known) = self.namespaces.read().get(&name) {
            return known.clone();
        }
        let parent = self.parents.read().iter().find(|parent| parent.matches_name(&name)).cloned();
        self.create(self.namespaces.write(), &name, parent, None)
    }

    /// The namespace, made if it is not there.
    fn create(
        &self,
        mut namespaces: RwLockWriteGuard<'_, Map<ByteString, Namespace>>,
        name: &ByteString,
        parent: Option<ParentNamespace>,
        charge: Option<Charge>,
    ) -> Namespace {
        if let Some(known) = namespaces.get(name) {
            return known.clone();
        }
        // A client's name is part of the message that it came in.
        let name = ByteString::from(&**name);
        let namespace = Namespace::new(&self.this, self.shared(), &self.parser, self.recoveries.as_ref(), name.clone(), parent, charge);
        namespaces.insert(name, namespace.clone());
        drop(namespaces);
        if namespace.name() != MAIN_NAMESPACE {
            self.new_namespace.read().clone().iter().for_each(|listener| listener(&namespace));
        }
        namespace
    }

    /// Looks for the namespace that a client asks for, and counts the client in.
    pub(crate) async fn enter(
        &self,
        name: &ByteString,
        auth: &Args,
        made: &OnceCell<Made>,
        handshake: &Handshake,
    ) -> Result<Namespace, NoEntry> {
        if let Some(known) = self.enter_known(name) {
            return Ok(known);
        }
        let parents = self.parents.read().clone();
        for parent in parents {
            if parent.matches(name, auth).await {
                self.make_dynamic(name, parent, made, handshake)?;
                return self.enter_known(name).ok_or(NoEntry::TooMany);
            }
        }
        Err(NoEntry::Invalid)
    }

    /// Makes a namespace for a pattern, if the client that asks for it may.
    fn make_dynamic(
        &self,
        name: &ByteString,
        parent: ParentNamespace,
        made: &OnceCell<Made>,
        handshake: &Handshake,
    ) -> Result<(), NoEntry> {
        // The hook is called before anything is locked.
        let charge = self.dynamic.charge(made.get_or_init(Made::default), handshake);
        let mut evicted = vec![];
        let mut namespaces = self.namespaces.write();
        if namespaces.len() >= self.dynamic.max && charge.is_some() && !namespaces.contains_key(name) && self.dynamic.may_sweep() {
            evicted = evict(&mut namespaces);
        }
        let (limit, whole) = (self.dynamic.max, namespaces.len() >= self.dynamic.max);
        if namespaces.contains_key(name) || charge.is_some() && !whole {
            self.create(namespaces, name, Some(parent), charge);
        } else {
            drop(namespaces);
            self.shared().count(Count::NamespacesRefused);
            tracing::debug!(target: "sociable::namespace", whole, limit, "a client made no further namespace");
            return Err(NoEntry::TooMany);
        }
        for namespace in evicted {
            self.shared().count(Count::NamespacesEvicted);
            tracing::debug!(target: "sociable::namespace", namespace = %trace::plain(namespace.name()), "empty namespace made room");
            namespace.uncharge();
        }
        Ok(())
    }

    fn enter_known(&self, name: &ByteString) -> Option<Namespace> {
        // Under the lock: a namespace that is being cleaned up is not entered.
        let namespaces = self.namespaces.read();
        let namespace = namespaces.get(name)?;
        namespace.entered();
        Some(namespace.clone())
    }

    /// How long a namespace that was made for a pattern has to stay for a client that was lost, if it would go otherwise.
    pub(crate) fn stays(&self) -> Option<Duration> {
        self.max_away.filter(|_| self.dynamic.cleanup)
    }

    /// Drops a namespace that was made for a pattern, if it is empty and that is wanted.
    pub(crate) fn clean_up(&self, namespace: &Namespace) {
        if self.dynamic.cleanup {
            let mut namespaces = self.namespaces.write();
            if namespace.is_empty() && namespaces.get(namespace.name()).is_some_and(|known| known == namespace) {
                namespaces.remove(namespace.name());
                drop(namespaces);
                namespace.uncharge();
                tracing::debug!(target: "sociable::namespace", namespace = %trace::plain(namespace.name()), "empty namespace dropped");
            }
        }
    }

    /// What a client gets that is connected.
    pub(crate) fn connect_frames(&self, namespace: &Namespace, socket: &SocketInner, old: bool) -> Frames {
        #[derive(serde::Serialize)]
        struct Connected<'a> {
            sid: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            pid: Option<&'a str>,
        }
        let pid = socket.ticket.as_ref().map(|ticket| ticket.pid.as_str());
        // Old clients make the id up by themselves, of that of the session.
        let payload = if old { None } else { Args::encode(self.parser.encoding(), &Connected { sid: socket.id.as_str(), pid }).ok() };
        self.parser.encode(&Packet { namespace: namespace.name().clone(), body: Body::Connect(payload) })
    }
}

/// Why a client is in no namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// There is none of that name.
    Invalid,
    /// It would have to be made, and there are too many.
    TooMany,
}

/// Takes out the empty namespaces that were made for patterns; those that wait for lost clients only if there are no others.
///
/// They are dropped when nothing is locked: that may run users' code.
fn evict(namespaces: &mut Map<ByteString, Namespace>) -> Vec<Namespace> {
    let unused: Vec<_> = namespaces.extract_if(|_, namespace| namespace.parent().is_some() && namespace.is_empty()).collect();
    let gone = if unused.is_empty() {
        namespaces.extract_if(|_, namespace| namespace.parent().is_some() && namespace.socket_count() == 0).collect()
    } else {
        unused
    };
    gone.into_iter().map(|(_, namespace)| namespace).collect()
}
