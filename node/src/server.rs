//! The server: its options, its namespaces, and what it shares with them.

use std::any::TypeId;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use sociable_engine::{EngineService, Serve};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Args, Health};

use crate::emit::EmitError;
use crate::namespace::Namespace;
use crate::parent_namespace::{Matcher, ParentNamespace};
use crate::server_state::ServerState;
use crate::stats::Stats;

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
        self.inner.engine.service().keeping(Arc::<ServerState>::clone(&self.inner)).with_files(self.inner.client_files.clone())
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
        self.inner.engine.run(server, timeout).await
    }

    /// State that was given to the builder.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let state = Arc::clone(self.inner.states.get(&TypeId::of::<T>())?);
        state.downcast().ok()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn path(&self) -> &str {
        &self.inner.engine().config().path
    }

    /// Sessions of this node.
    pub fn session_count(&self) -> usize {
        self.inner.engine.session_count()
    }

    /// What was counted on this node since the start.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot(self.inner.engine.stats())
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
        self.inner.engine().health(self.is_connected(), self.is_keeping())
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
    /// [recovered](crate::Recovery) elsewhere is kept before, where nodes share their history. The node takes new sessions all the while, and closes them
    /// too. Ends when there are none, or when the time is over. A time of zero only says that the node is draining.
    pub async fn drain(&self, time: Duration) {
        self.inner.engine.drain(time).await;
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
