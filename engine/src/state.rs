//! The state that all worker threads of an engine share.

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use sociable_protocol::id::NodeTag;
use sociable_protocol::{Health, Id};
use tokio::sync::Notify;

use crate::config::Config;
use crate::connections::Connections;
use crate::counters::{Count, Counters, EngineStats};
use crate::hooks::LifecycleHooks;
use crate::memory::Memory;
use crate::reason::CloseReason;
use crate::session::{Connection, Ending, Session};
use crate::transport::Transport;
use crate::worker::{Records, Worker, WorkerHandle};

/// Creates the receiver of a session's messages.
type Accept = Box<dyn Fn(Rc<Session>) -> Rc<dyn Connection> + Send + Sync>;

/// A snapshot of the workers, by index.
pub type Workers = Guard<Arc<Vec<Arc<WorkerHandle>>>>;

/// The state that all worker threads of an engine share.
pub struct EngineState {
    pub(crate) config: Config,
    tag: NodeTag,
    accept: Accept,
    /// The workers by index. A new worker takes the index of one whose thread has ended.
    workers: ArcSwap<Vec<Arc<WorkerHandle>>>,
    /// Held while the list is replaced.
    registering: Mutex<()>,
    /// The number of workers that own sessions. Fixed by the first session, because ids lead to workers by it.
    shards: OnceLock<usize>,
    sessions: AtomicUsize,
    /// The open sessions whose transport is WebSocket.
    websockets: AtomicUsize,
    /// The budgets of all sessions together.
    pub(crate) memory: Memory,
    /// The connections of all its servers.
    pub(crate) connections: Arc<Connections>,
    draining: AtomicBool,
    closing: AtomicBool,
    all_closed: Notify,
    hooks: OnceLock<Box<dyn LifecycleHooks>>,
    /// The counters of threads that are no workers.
    counters: Counters,
}

impl fmt::Debug for EngineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineState").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EngineState {
    pub(crate) fn new(config: Config, tag: NodeTag, accept: Accept) -> Self {
        Self {
            memory: Memory::new(config.max_session_memory, config.max_unread),
            connections: Arc::default(),
            config,
            tag,
            accept,
            workers: ArcSwap::default(),
            registering: Mutex::new(()),
            shards: OnceLock::new(),
            sessions: AtomicUsize::new(0),
            websockets: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            all_closed: Notify::new(),
            hooks: OnceLock::new(),
            counters: Counters::default(),
        }
    }

    /// Returns the options.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the name of this process in ids.
    pub fn tag(&self) -> NodeTag {
        self.tag
    }

    /// Returns the budgets of all sessions together.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the number of open connections of its servers.
    pub fn open_connections(&self) -> usize {
        self.connections.held()
    }

    /// Adds the worker that `make` returns for an index. A successor keeps the counters and the record of deaths of its predecessor.
    pub(crate) fn register<T>(&self, make: impl FnOnce(usize, Records) -> (T, WorkerHandle)) -> T {
        let _registering = self.registering.lock();
        let mut workers = Vec::clone(&self.workers.load());
        let index = workers.iter().position(|worker| !worker.is_alive()).unwrap_or(workers.len());
        let records = workers.get(index).map(|worker| worker.records()).unwrap_or_default();
        let (worker, handle) = make(index, records);
        if index < workers.len() {
            workers[index] = Arc::new(handle);
        } else {
            workers.push(Arc::new(handle));
        }
        self.workers.store(Arc::new(workers));
        worker
    }

    pub(crate) fn shards(&self) -> usize {
        *self.shards.get_or_init(|| self.workers.load().len().max(1))
    }

    /// Returns the index of the worker that owns the session or socket of this id.
    pub fn owner_of(&self, id: &Id) -> usize {
        id.shard(self.shards())
    }

    /// Returns the workers by index, without a lock or a copy.
    #[inline]
    pub fn workers(&self) -> Workers {
        self.workers.load()
    }

    pub(crate) fn accept(&self, session: Rc<Session>) -> Rc<dyn Connection> {
        (self.accept)(session)
    }

    /// Returns whether one more session may be opened.
    pub fn has_room(&self) -> bool {
        self.sessions.load(Ordering::Relaxed) < self.config.max_sessions && self.memory.has_room() && self.connections.has_room()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Returns whether this process has begun to drain or to close.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.is_closing()
    }

    pub(crate) fn begin_drain(&self) {
        if !self.draining.swap(true, Ordering::Relaxed)
            && let Some(hooks) = self.hooks.get()
        {
            hooks.draining();
        }
    }

    /// Returns the state of the layer above for a new worker thread.
    pub(crate) fn thread_state(&self, worker: &Rc<Worker>) -> Option<Rc<dyn Any>> {
        self.hooks.get().and_then(|hooks| hooks.thread_state(worker))
    }

    /// Notifies the layer above that a worker thread is about to serve.
    pub(crate) fn worker_started(&self) {
        if let Some(hooks) = self.hooks.get() {
            hooks.started();
        }
    }

    /// Resolves when the layer above has saved the open sessions, if it can.
    pub(crate) async fn saved(&self) {
        if let Some(hooks) = self.hooks.get() {
            hooks.saved().await;
        }
    }

    /// Returns the report that load balancers poll. `connected` and `keeps` are the states of the cluster and of the shared history.
    pub fn health(&self, connected: bool, keeps: bool) -> Health {
        // Load balancers recognize a full node by its number of sessions.
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

    /// Returns the number of open sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn session_opened(&self, transport: Transport) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        if transport == Transport::WebSocket {
            self.websockets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a WebSocket carries a session that was polling.
    pub(crate) fn session_upgraded(&self) {
        self.websockets.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session_closed(&self, transport: Transport) {
        if transport == Transport::WebSocket {
            self.websockets.fetch_sub(1, Ordering::Relaxed);
        }
        if self.sessions.fetch_sub(1, Ordering::Relaxed) == 1 && self.is_closing() {
            self.all_closed.notify_waiters();
        }
    }

    /// Counts on this thread. Threads that are no workers share one set of counters.
    pub fn count(self: &Arc<Self>, count: Count) {
        match Worker::current(self) {
            Some(worker) => worker.counters.increment(count),
            None => self.counters.increment(count),
        }
    }

    /// Returns the counters since the start, over all threads.
    pub fn stats(&self) -> EngineStats {
        let (sessions, websockets) = (self.session_count() as u64, self.websockets.load(Ordering::Relaxed) as u64);
        let mut stats = EngineStats { sessions, websockets: websockets.min(sessions), ..EngineStats::default() };
        stats.add(&self.counters);
        for worker in self.workers.load().iter() {
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
        if let Some(hooks) = self.hooks.get() {
            hooks.closed().await;
        }
    }

    pub(crate) fn set_hooks(&self, hooks: Box<dyn LifecycleHooks>) {
        drop(self.hooks.set(hooks));
    }

    fn end_all(self: &Arc<Self>, ending: Ending) {
        let end = move |worker: &Rc<Worker>| {
            for session in worker.sessions() {
                session.end(CloseReason::ServerShuttingDown, ending);
            }
        };
        for handle in self.workers().iter() {
            // A worker whose thread has ended has no sessions.
            let _ = handle.call(0, end);
        }
    }
}
