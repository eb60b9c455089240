//! The Engine.IO layer as a server of its own: sessions with messages, without namespaces.
//!
//! [`Server`](crate::Server) stands on it. Use it directly for a protocol of your own over Engine.IO clients.

use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use sociable_protocol::id::NodeTag;
use sociable_protocol::{Health, Id};
use tokio::sync::Notify;

use crate::config::{Config, ConfigError, engine_options};
use crate::drain;
pub use crate::http::EngineRequest;
use crate::http::EngineService;
use crate::memory::Memory;
use crate::metrics::{Count, Counters, Stats};
use crate::reason::CloseReason;
use crate::serve::{Connections, Serve};
use crate::session::Ending;
pub use crate::session::{Connection, SendError, Session};
use crate::worker::{Unreachable, Worker, WorkerHandle};

/// An Engine.IO server. Cheap to clone; every clone is the same server.
///
/// Sessions are spread over the worker threads that serve it when the first is opened. It may be served by several HTTP servers, as long as
/// those that served it at the beginning go on: with the threads of one that stops, its share of new sessions would be lost.
///
/// ```
/// use std::rc::Rc;
/// use bytes::Bytes;
/// use bytestring::ByteString;
/// use sociable::CloseReason;
/// use sociable::engine::{Connection, Engine, Session};
///
/// struct Echo(Rc<Session>);
///
/// impl Connection for Echo {
///     fn text(&self, text: ByteString) {
///         self.0.send_text(&text).ok();
///     }
///     fn binary(&self, bytes: Bytes) {
///         self.0.send_binary(&bytes).ok();
///     }
///     fn closed(&self, reason: CloseReason) {
///         println!("{} ended: {reason}", self.0.id());
///     }
/// }
///
/// let engine = Engine::builder().build(Echo)?;
/// let app = actix_web::App::new().service(engine.service());
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Shared>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("path", &self.0.config.path).finish_non_exhaustive()
    }
}

/// Sets the options of an [`Engine`].
#[derive(Clone, Debug)]
pub struct EngineBuilder {
    config: Config,
}

impl EngineBuilder {
    engine_options!();

    /// The engine. `accept` is called with each new session, on the session's thread, and gives what gets its messages.
    ///
    /// # Errors
    ///
    /// The options that can't work, all of them.
    pub fn build<C: Connection>(self, accept: impl Fn(Rc<Session>) -> C + Send + Sync + 'static) -> Result<Engine, ConfigError> {
        Ok(Engine::new(self.config.check()?, NodeTag::random(), move |session| -> Rc<dyn Connection> { Rc::new(accept(session)) }))
    }
}

impl Engine {
    /// An engine with the options of the JavaScript one, which are then changed. Its path is `/engine.io/`.
    pub fn builder() -> EngineBuilder {
        EngineBuilder { config: Config::with_path("/engine.io") }
    }

    pub(crate) fn new(config: Config, tag: NodeTag, accept: impl Fn(Rc<Session>) -> Rc<dyn Connection> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            memory: Memory::new(config.max_session_memory, config.max_unread),
            connections: Arc::default(),
            config,
            tag,
            accept: Box::new(accept),
            workers: RwLock::default(),
            shards: OnceLock::new(),
            sessions: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            all_closed: Notify::new(),
            above: OnceLock::new(),
            counters: Counters::default(),
        }))
    }

    /// The service for an actix-web `App`: it answers polling, and WebSockets where the `App` runs in a plain `HttpServer`.
    pub fn service(&self) -> EngineService {
        EngineService::new(Arc::clone(&self.0))
    }

    /// A server that hands WebSockets over to this engine as raw streams, with the `App` beside it. See [`Serve`].
    pub fn serve<F>(&self, app: F) -> Serve<F> {
        Serve::new(Arc::clone(&self.0), app)
    }

    /// Sessions that are open, over all threads.
    pub fn session_count(&self) -> usize {
        self.0.session_count()
    }

    /// What was counted since the start.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// How this process is, for those who send clients to it: see [`Server::health`](crate::Server::health).
    pub fn health(&self) -> Health {
        self.0.health(true, true)
    }

    /// Closes the sessions a few at a time, spread over `time`, while new ones are still taken: see [`Server::drain`](crate::Server::drain).
    pub async fn drain(&self, time: Duration) {
        drain::drain(&self.0, time).await;
    }

    /// Closes all sessions, and refuses new ones from now on. Ends when every client has got its close packet, or after `grace`; what is
    /// left is cut off then.
    pub async fn close(&self, grace: Duration) {
        self.0.close(grace).await;
    }
}

/// What the layer above has to do when this process is going.
pub(crate) trait Above: Send + Sync {
    /// Has those know who place sessions.
    fn announce(&self);

    /// Ends when the sessions that are open could go on elsewhere.
    fn saved(&self) -> BoxFuture<'static, ()>;

    /// Takes leave: all sessions are closed.
    fn leave(&self) -> BoxFuture<'static, ()>;
}

/// What all threads of an engine share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Names this process in ids.
    pub(crate) tag: NodeTag,
    accept: Box<dyn Fn(Rc<Session>) -> Rc<dyn Connection> + Send + Sync>,
    /// By index. A worker whose thread has ended is replaced by the next that starts.
    workers: RwLock<Vec<Arc<WorkerHandle>>>,
    /// How many workers own sessions. It is settled by the first session, since ids lead to workers by it.
    shards: OnceLock<usize>,
    sessions: AtomicUsize,
    /// What all sessions take.
    pub(crate) memory: Memory,
    /// The connections of its servers.
    pub(crate) connections: Arc<Connections>,
    draining: AtomicBool,
    closing: AtomicBool,
    all_closed: Notify,
    above: OnceLock<Box<dyn Above>>,
    /// Counts of threads that are no workers.
    pub(crate) counters: Counters,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Shared {
    /// Adds a worker: `make` is told its index.
    pub(crate) fn register<T>(&self, make: impl FnOnce(usize) -> (T, WorkerHandle)) -> T {
        let mut workers = self.workers.write();
        let index = workers.iter().position(|worker| !worker.is_alive()).unwrap_or(workers.len());
        let (worker, handle) = make(index);
        if index < workers.len() {
            workers[index] = Arc::new(handle);
        } else {
            workers.push(Arc::new(handle));
        }
        worker
    }

    pub(crate) fn shards(&self) -> usize {
        *self.shards.get_or_init(|| self.workers.read().len().max(1))
    }

    /// The worker that owns the session or socket of this id.
    pub(crate) fn home(&self, id: &Id) -> usize {
        id.shard(self.shards())
    }

    /// Has `call` made on a worker's thread.
    pub(crate) fn run_on(&self, index: usize, bytes: usize, call: impl FnOnce(&Rc<Worker>) + Send + 'static) -> Result<(), Unreachable> {
        let worker = self.workers.read().get(index).cloned().ok_or(Unreachable)?;
        worker.run(bytes, call)
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.workers.read().len()
    }

    /// The workers that run now, by index.
    pub(crate) fn workers(&self) -> Vec<Arc<WorkerHandle>> {
        self.workers.read().clone()
    }

    pub(crate) fn accept(&self, session: Rc<Session>) -> Rc<dyn Connection> {
        (self.accept)(session)
    }

    /// True if a session more may be opened.
    pub(crate) fn has_room(&self) -> bool {
        self.sessions.load(Ordering::Relaxed) < self.config.max_sessions && self.memory.has_room() && self.connections.has_room()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// True from when it is known that this process is going.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.is_closing()
    }

    pub(crate) fn begin_to_drain(&self) {
        if !self.draining.swap(true, Ordering::Relaxed)
            && let Some(above) = self.above.get()
        {
            above.announce();
        }
    }

    /// Ends when the sessions that are open could go on elsewhere, if the layer above can see to that.
    pub(crate) async fn saved(&self) {
        if let Some(above) = self.above.get() {
            above.saved().await;
        }
    }

    /// How this process is; `connected` to others like it, or alone; with a store that `keeps`.
    pub(crate) fn health(&self, connected: bool, keeps: bool) -> Health {
        // Load balancers know a node that is full by its sessions.
        let (sessions, most) = (self.session_count(), self.config.max_sessions);
        let max_sessions = if self.has_room() { most } else { most.min(sessions) };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Health {
            tag: self.tag,
            name: String::new(),
            sessions,
            max_sessions: Some(max_sessions),
            draining: self.is_draining(),
            cut_off: !connected,
            store_refuses: !keeps,
            ping_interval: Some(millis(self.config.ping_interval)),
            ping_timeout: Some(millis(self.config.ping_timeout)),
            max_payload: Some(self.config.max_payload() as u64),
        }
    }

    pub(crate) fn session_count(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn session_opened(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session_closed(&self) {
        if self.sessions.fetch_sub(1, Ordering::Relaxed) == 1 && self.is_closing() {
            self.all_closed.notify_waiters();
        }
    }

    /// Counts for a worker's thread or, elsewhere, for all others.
    pub(crate) fn count(self: &Arc<Self>, count: Count) {
        match Worker::current(self) {
            Some(worker) => worker.counters.one(count),
            None => self.counters.one(count),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats { sessions: self.session_count() as u64, ..Stats::default() };
        stats.add(&self.counters);
        for worker in self.workers.read().iter() {
            stats.add(&worker.counters);
        }
        stats
    }

    pub(crate) async fn close(self: &Arc<Self>, grace: Duration) {
        self.closing.store(true, Ordering::Relaxed);
        let all_closed = self.all_closed.notified();
        tokio::pin!(all_closed);
        all_closed.as_mut().enable();
        self.end_all(Ending::Graceful);
        if self.session_count() > 0 && tokio::time::timeout(grace, all_closed).await.is_err() {
            self.end_all(Ending::Abrupt);
        }
        if let Some(above) = self.above.get() {
            above.leave().await;
        }
    }

    /// Names the layer above. Only the first call counts.
    pub(crate) fn stand_below(&self, above: impl Above + 'static) {
        drop(self.above.set(Box::new(above)));
    }

    fn end_all(self: &Arc<Self>, ending: Ending) {
        let end = move |worker: &Rc<Worker>| {
            for session in worker.sessions() {
                session.end(CloseReason::ServerShuttingDown, ending);
            }
        };
        for handle in self.workers() {
            // A worker whose thread has ended has no sessions.
            let _ = handle.run(0, end);
        }
    }
}
