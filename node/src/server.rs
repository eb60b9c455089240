//! The server handle: namespaces, services, health and shutdown.

use std::any::TypeId;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use sociable_adapter::Member;
use sociable_engine::{EngineService, Serve};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Args, Health, NodeTag};

use crate::emit::EmitError;
use crate::namespace::Namespace;
use crate::parent_namespace::{Matcher, ParentNamespace};
use crate::server_state::ServerState;
use crate::stats::Stats;

/// A Socket.IO server. Clones are cheap and share the same server.
///
/// A server dereferences to its main namespace, `/`, so every method of [`Namespace`] works on it.
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
    pub(crate) inner: Arc<ServerState>,
    main: Namespace,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Server {
    pub(crate) fn from_inner(inner: Arc<ServerState>) -> Self {
        let main = inner.of(ByteString::from_static(MAIN_NAMESPACE));
        Self { inner, main }
    }

    /// Returns the namespace of this name, and creates it at the first call. A missing leading slash is added.
    ///
    /// A new namespace whose name matches a pattern takes over the handlers of the pattern.
    pub fn of(&self, name: &str) -> Namespace {
        let name = if name.starts_with('/') { name.into() } else { format!("/{name}").into() };
        self.inner.of(name)
    }

    /// Returns the namespace of this name, and does not create it. `None` if no namespace can have the name. A missing leading slash is added.
    ///
    /// The namespaces of a pattern may exist on other nodes alone. For the name of such a namespace, a handle is returned that reaches the sockets
    /// of the whole cluster. The handle adds nothing to this node, so names may come from outside. Take a new one for each use. A function of
    /// [`of_dynamic`](Self::of_dynamic) may accept any name.
    ///
    /// ```
    /// let io = sociable::Server::builder().build()?;
    /// io.of_pattern(regex::Regex::new("^/document-[0-9]+$")?);
    /// assert!(io.find("/document-7").is_some() && io.find("/picture-7").is_none());
    /// assert_eq!(io.namespaces().len(), 1, "only the main namespace");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(&self, name: &str) -> Option<Namespace> {
        let name = if name.starts_with('/') { name.into() } else { format!("/{name}").into() };
        self.inner.find(name)
    }

    /// Returns the namespaces whose names match a pattern. Each is created when the first client asks for it.
    ///
    /// In this crate's patterns `\d` matches the digits of every script, and `\w` and `(?i)` go beyond ASCII, too. In JavaScript they are ASCII: write
    /// `[0-9]` or `(?-u:\d)`.
    ///
    /// ```
    /// use sociable::{Server, Socket};
    ///
    /// let io = Server::builder().build()?;
    /// let documents = io.of_pattern(regex::Regex::new("^/document-[0-9]+$")?);
    /// documents.on_connect(async |socket: Socket| println!("{} opened {}", socket.id(), socket.namespace().name()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_pattern(&self, pattern: regex::Regex) -> ParentNamespace {
        self.add_parent(Matcher::Pattern(pattern))
    }

    /// Returns the namespaces that a function accepts, given their name and the client's `auth` payload.
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

    /// Calls `listener` with every new namespace other than `/`.
    pub fn on_new_namespace(&self, listener: impl Fn(&Namespace) + Send + Sync + 'static) -> &Self {
        self.inner.new_namespace.write().push(Arc::new(listener));
        self
    }

    /// Returns the service for an actix-web `App`. The service answers polling, and WebSockets where the `App` runs in a plain `HttpServer`.
    pub fn service(&self) -> EngineService {
        self.inner.engine.service().keeping(Arc::<ServerState>::clone(&self.inner)).with_files(self.inner.client_files.clone())
    }

    /// Returns a server that hands WebSockets over to this one as raw streams, with the `App` beside it. See [`Serve`].
    pub fn serve<F>(&self, app: F) -> Serve<F> {
        self.inner.engine.serve(app)
    }

    /// Serves a plain `HttpServer` until SIGINT or SIGTERM, then closes every client and stops the server within `timeout`.
    ///
    /// An `HttpServer` that stops by itself waits the whole timeout for open WebSockets and sends them no close. Disable its own signal handling with
    /// [`disable_signals`](actix_web::HttpServer::disable_signals).
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
        self.inner.engine.run(server, timeout).await
    }

    /// Returns the state of this type that the builder registered.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let state = Arc::clone(self.inner.states.get(&TypeId::of::<T>())?);
        state.downcast().ok()
    }

    /// Returns the path of all requests, as [`path`](crate::ServerBuilder::path) sets it.
    pub fn path(&self) -> &str {
        &self.inner.engine().config().path
    }

    /// Returns the number of sessions of this node.
    pub fn session_count(&self) -> usize {
        self.inner.engine.session_count()
    }

    /// Returns the counters of this node since the start.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot(self.inner.engine.stats())
    }

    /// Returns the size of the recovery history: the events and sessions kept. Zero where recovery is off.
    pub fn recovery_usage(&self) -> sociable_adapter::Usage {
        self.inner.recoveries.as_ref().map(|recoveries| recoveries.history.usage()).unwrap_or_default()
    }

    /// Returns the number of live nodes, this one included.
    pub async fn server_count(&self) -> usize {
        self.inner.cluster().server_count().await
    }

    /// Returns the other living nodes, as far as this one knows.
    ///
    /// A node that was killed is listed until its silence is noticed.
    pub fn other_nodes(&self) -> Vec<Member> {
        self.inner.cluster().other_nodes()
    }

    /// Returns the tag of this node, the first part of all its ids.
    pub fn tag(&self) -> NodeTag {
        self.inner.engine().tag()
    }

    /// Returns whether the other nodes can be reached, as far as this node has noticed.
    ///
    /// While they cannot, the node still serves its own clients. The load balancer decides whether it gets new ones.
    pub fn is_connected(&self) -> bool {
        self.inner.adapter.is_connected()
    }

    /// Returns whether the shared history accepts new entries. A full history refuses them.
    ///
    /// Events are then delivered without being persisted, and a client that loses its connection cannot be recovered.
    pub fn is_keeping(&self) -> bool {
        self.inner.adapter.persists()
    }

    /// Returns whether the nodes share their history, as with JetStream. [`flushed`](Self::flushed) is then a promise.
    pub fn shares_history(&self) -> bool {
        self.inner.recoveries.as_ref().is_some_and(|recoveries| recoveries.history.is_shared())
    }

    /// Returns the report that load balancers poll, for instance as `GET /healthz`. The application may add a name.
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
        self.inner.engine().health(self.is_connected(), self.is_keeping())
    }

    /// Waits until every worker thread has run.
    ///
    /// A blocked thread delays this for as long as it is blocked, for instance by a deadlock in a handler. A liveness check on a thread of its
    /// own bounds the wait. A thread that has ended, or whose inbox is full, counts as having run.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// async fn is_alive(io: &sociable::Server) -> bool {
    ///     tokio::time::timeout(Duration::from_secs(60), io.workers_run()).await.is_ok()
    /// }
    /// ```
    pub async fn workers_run(&self) {
        let engine = Arc::clone(self.inner.engine());
        for index in 0..engine.workers().len() {
            let _ = engine.ask(index, |_| std::future::ready(())).await;
        }
    }

    /// Waits until all recoverable changes of this node so far are persisted.
    ///
    /// These are events, and the rooms and data of sockets.
    ///
    /// With JetStream, a NATS server has then confirmed them. Without a shared history, the future resolves at once. A handler that acknowledges an
    /// event afterwards can promise that its work outlives this node.
    ///
    /// ```
    /// # use sociable::{Ack, Data, Server, Socket};
    /// # let io = Server::builder().build()?;
    /// io.on("order", async |socket: Socket, Data(order): Data<String>, ack: Ack| {
    ///     let io = socket.namespace().server().ok_or("server stopped")?;
    ///     io.to("kitchen").emit("ordered", &order)?;
    ///     io.flushed().await?;
    ///     Ok::<_, Box<dyn std::error::Error>>(ack.send("it will be cooked")?)
    /// });
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Some changes could not be persisted in time, and do not reach other nodes.
    pub async fn flushed(&self) -> Result<(), EmitError> {
        self.inner.flushed().await
    }

    /// Returns the namespace of this name, if it exists on this node. A missing leading slash is added.
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        let namespaces = self.inner.namespaces.read();
        if name.starts_with('/') { namespaces.get(name).cloned() } else { namespaces.get(format!("/{name}").as_str()).cloned() }
    }

    /// Returns the namespaces of this node.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.inner.namespaces.read().values().cloned().collect()
    }

    /// Closes the sessions in batches spread over `time`, to avoid a reconnect storm. Call it before [`close`](Self::close).
    ///
    /// The node first announces the drain in its [report](Self::health) and to its cluster. The first batch follows after one second, or after a
    /// quarter of `time` if that is less. Where nodes share their history, the state that a client needs for its [recovery](crate::Recovery) is
    /// persisted before. The node still takes new sessions meanwhile, and closes them too.
    ///
    /// Resolves when no session is left, or when `time` is over. A `time` of zero only announces the drain.
    pub async fn drain(&self, time: Duration) {
        self.inner.engine.drain(time).await;
    }

    /// Closes the server: every socket leaves with the reason `server shutting down`, and new clients are refused.
    ///
    /// Resolves when every client has its close packet, or after `grace`; the rest is then cut off. Afterwards the node leaves the cluster. The HTTP
    /// server keeps running.
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
