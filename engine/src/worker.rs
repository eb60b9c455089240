//! One worker thread: its sessions, its timers, and the inbox for calls of other threads.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor as _, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use sociable_protocol::id::IdSource;
use sociable_protocol::maps::Map;
use sociable_protocol::{Id, Times};
use thiserror::Error;

use crate::actor::{ActorKind, panic_text};
use crate::counters::{Count, Counters};
use crate::inbox::Inbox;
use crate::reason::CloseReason;
use crate::session::{Ending, Session};
use crate::state::EngineState;
use crate::supervision::{ActorLog, DeathRecord, Directive};
use crate::timers::Timers;

/// The number of outdated entries of pending sessions that are always tolerated.
const PENDING_SLACK: usize = 64;

/// The longest name of an actor in its record, in bytes.
const MAX_NAME: usize = 256;

/// The interval between two measurements of a thread's lag, unless a quarter of the ping timeout is shorter.
const LAG_INTERVAL: Duration = Duration::from_millis(250);
const SHORTEST_LAG_INTERVAL: Duration = Duration::from_millis(20);

thread_local! {
    /// The workers of this thread: one for each engine that serves on it.
    static WORKERS: RefCell<Vec<Attached>> = const { RefCell::new(Vec::new()) };
}

/// A worker, attached to its thread until that ends.
struct Attached(Rc<Worker>);

impl Drop for Attached {
    fn drop(&mut self) {
        // The state refers back to the worker.
        drop(self.0.layer.take());
    }
}

/// The part of a worker that belongs to its thread.
pub struct Worker {
    pub(crate) engine: Arc<EngineState>,
    index: usize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timers: Rc<Timers<Session>>,
    ids: RefCell<IdSource>,
    sessions: RefCell<Map<Id, Rc<Session>>>,
    /// Pending sessions, the oldest first. Some of them may have arrived or ended.
    pending: RefCell<VecDeque<Id>>,
    /// The number of sessions that are still pending.
    pending_count: Cell<usize>,
    inbox: Arc<Inbox<Worker>>,
    actors: Arc<ActorLog>,
    /// The longest recorded calls of actors.
    longest_calls: RefCell<Vec<(ActorKind, Duration)>>,
    /// True while the calls of the inbox run.
    calling: Cell<bool>,
    /// The state of the layer above on this thread.
    layer: RefCell<Option<Rc<dyn Any>>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Worker {
    /// Returns this thread's worker of the engine, if it has one.
    #[inline]
    pub fn current(engine: &Arc<EngineState>) -> Option<Rc<Worker>> {
        WORKERS
            .try_with(|workers| {
                workers.borrow().iter().find(|worker| Arc::ptr_eq(&worker.0.engine, engine)).map(|worker| Rc::clone(&worker.0))
            })
            .ok()
            .flatten()
    }

    /// Returns this thread's worker of the engine, and creates it at the first call. The thread needs a `LocalSet` for tasks.
    pub(crate) fn attach(engine: &Arc<EngineState>) -> Rc<Worker> {
        if let Some(worker) = Self::current(engine) {
            return worker;
        }
        let inbox = Arc::new(Inbox::default());
        let worker = engine.register(|index, (counters, actors)| {
            let worker = Rc::new(Worker {
                engine: Arc::clone(engine),
                index,
                counters: Arc::clone(&counters),
                timers: Rc::new(Timers::new(LAG_INTERVAL.min((engine.config.ping_timeout / 4).max(SHORTEST_LAG_INTERVAL)))),
                ids: RefCell::new(IdSource::new(engine.tag())),
                sessions: RefCell::new(Map::default()),
                pending: RefCell::default(),
                pending_count: Cell::new(0),
                inbox: Arc::clone(&inbox),
                actors: Arc::clone(&actors),
                longest_calls: RefCell::default(),
                calling: Cell::new(false),
                layer: RefCell::new(None),
            });
            let waker = InboxWaker(Rc::clone(&worker)).start();
            (worker, WorkerHandle { waker, counters: Arc::clone(&counters), inbox: Arc::clone(&inbox), actors: Arc::clone(&actors) })
        });
        actix_rt::spawn(Rc::clone(&worker.timers).run());
        actix_rt::spawn(Rc::clone(&worker.timers).measure_lag());
        *worker.layer.borrow_mut() = engine.thread_state(&worker);
        WORKERS.with(|workers| workers.borrow_mut().push(Attached(Rc::clone(&worker))));
        worker
    }

    /// Returns the state that all worker threads of the engine share.
    pub fn engine(&self) -> &Arc<EngineState> {
        &self.engine
    }

    /// Returns its index among the workers, to which ids lead.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the state of the layer above on this thread, as its [hook](crate::layer::LifecycleHooks::thread_state) created it.
    ///
    /// `None` if the state is of another type, or if the thread is ending.
    #[inline]
    pub fn layer<T: 'static>(&self) -> Option<Rc<T>> {
        self.layer.borrow().as_ref().and_then(|layer| Rc::clone(layer).downcast().ok())
    }

    /// Returns the state of the layer above on this thread, if the thread is a worker of the engine.
    #[inline]
    pub fn layer_here<T: 'static>(engine: &Arc<EngineState>) -> Option<Rc<T>> {
        WORKERS.try_with(|workers| workers.borrow().iter().find(|worker| Arc::ptr_eq(&worker.0.engine, engine))?.0.layer()).ok().flatten()
    }

    /// Returns the lag of the thread's event loop.
    pub fn lag(&self) -> Times {
        self.timers.lag.times()
    }

    /// Returns the counters of this thread.
    #[inline]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Draws a new id that leads to this worker. A worker that started too late to own sessions draws ids of others.
    pub fn draw_id(&self) -> Id {
        let shards = self.engine.shards();
        let mut ids = self.ids.borrow_mut();
        if self.index < shards { ids.draw_for(self.index, shards) } else { ids.draw() }
    }

    pub(crate) fn session(&self, id: &Id) -> Option<Rc<Session>> {
        self.sessions.borrow().get(id).cloned()
    }

    pub(crate) fn insert(&self, session: Rc<Session>) {
        self.sessions.borrow_mut().insert(session.id(), session);
    }

    pub(crate) fn remove(&self, id: &Id) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.remove(id).is_some() && sessions.len() < sessions.capacity() / 8 {
            sessions.shrink_to_fit();
        }
    }

    /// Adds a pending session. Beyond the limit, the oldest is closed; clients that join within a moment are not affected.
    pub(crate) fn pending_session(&self, id: Id) {
        self.pending_count.set(self.pending_count.get() + 1);
        let mut pending = self.pending.borrow_mut();
        if pending.len() > 2 * self.pending_count.get() + PENDING_SLACK {
            let sessions = self.sessions.borrow();
            pending.retain(|id| sessions.get(id).is_some_and(|session| session.is_pending()));
        }
        pending.push_back(id);
        drop(pending);
        let most = self.engine.config.max_pending_sessions.div_ceil(self.engine.shards());
        while self.pending_count.get() > most {
            let Some(oldest) = self.pending.borrow_mut().pop_front() else { return };
            if let Some(session) = self.session(&oldest).filter(|session| session.is_pending()) {
                self.counters.increment(Count::PendingEvicted);
                session.end(CloseReason::ForcedServerClose, Ending::Abrupt);
            }
        }
    }

    /// Counts out a session that is no longer pending.
    pub(crate) fn session_arrived(&self) {
        self.pending_count.set(self.pending_count.get() - 1);
    }

    /// Returns some open sessions, at most `most`, in no particular order.
    pub(crate) fn open_sessions(&self, most: usize) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().filter(|session| session.is_open()).take(most).cloned().collect()
    }

    pub(crate) fn open_session_count(&self) -> usize {
        self.sessions.borrow().values().filter(|session| session.is_open()).count()
    }

    /// Returns the number of sessions of this worker.
    pub fn session_count(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Returns a list of all sessions, so that they may end while the caller iterates.
    pub fn sessions(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }
}

/// The actors of this thread.
impl Worker {
    /// Records the death of an actor, with its supervisor's directive.
    pub fn actor_died(&self, kind: ActorKind, name: String, cause: String, directive: Directive) {
        self.counters.increment(Count::ActorsDied);
        if directive == Directive::Restart {
            self.counters.increment(Count::ActorsRestarted);
        }
        let name = name[..name.floor_char_boundary(MAX_NAME)].to_owned();
        self.actors.death(DeathRecord { kind, name, cause, directive, at: Instant::now() });
    }

    /// Records the duration of an actor's call, if it is the longest of its kind.
    #[inline]
    pub fn actor_called(&self, kind: ActorKind, time: Duration) {
        let mut longest = self.longest_calls.borrow_mut();
        match longest.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, longest)) if *longest >= time => return,
            Some((_, longest)) => *longest = time,
            None => longest.push((kind, time)),
        }
        self.actors.long_call(kind, time);
    }
}

/// The calls of other threads.
impl Worker {
    /// Runs the waiting calls of other threads.
    #[inline]
    pub fn make_calls(self: &Rc<Self>) {
        if self.inbox.is_waiting() {
            self.make_waiting_calls();
        }
    }

    /// Returns whether no call of another thread waits or runs.
    pub fn is_idle(&self) -> bool {
        !self.calling.get() && !self.inbox.is_waiting()
    }

    #[cold]
    fn make_waiting_calls(self: &Rc<Self>) {
        // A nested run leaves the rest to the outer one, so that no call overtakes another.
        if self.calling.replace(true) {
            return;
        }
        let started = Instant::now();
        for call in self.inbox.drain() {
            // A call that panics must not prevent the others.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(self))) {
                self.counters.increment(Count::TasksPanicked);
                self.actor_died(ActorKind::WORKER, self.index.to_string(), panic_text(&*panic), Directive::Restart);
            }
        }
        self.actor_called(ActorKind::WORKER, started.elapsed());
        self.calling.set(false);
    }
}

/// The message that the inbox has calls.
#[derive(Message)]
#[rtype(result = "()")]
struct Wake;

/// The actor that wakes its worker for the calls of other threads.
struct InboxWaker(Rc<Worker>);

impl actix::Actor for InboxWaker {
    type Context = Context<Self>;
}

impl Drop for InboxWaker {
    /// Records the loss: without this actor, no call of another thread is run any more.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cause = "inbox waker panicked".to_owned();
            self.0.actor_died(ActorKind::WORKER, self.0.index.to_string(), cause, Directive::Stop);
        }
    }
}

impl Handler<Wake> for InboxWaker {
    type Result = ();

    fn handle(&mut self, Wake: Wake, ctx: &mut Context<Self>) {
        self.0.make_calls();
        // An actor's mailbox has no budget. Without this yield, a flood of messages would starve the thread's connections and timers.
        ctx.wait(tokio::task::yield_now().into_actor(self).map(|(), _, _| ()));
    }
}

/// The counters and the record of a worker.
pub(crate) type Records = (Arc<Counters>, Arc<ActorLog>);

/// A worker, as other threads see it.
pub struct WorkerHandle {
    waker: Addr<InboxWaker>,
    pub(crate) counters: Arc<Counters>,
    inbox: Arc<Inbox<Worker>>,
    actors: Arc<ActorLog>,
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle").field("alive", &self.is_alive()).finish_non_exhaustive()
    }
}

/// A worker that cannot be called: its thread has ended, or its inbox is full.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("worker thread ended or overloaded: retry later")]
pub struct Unreachable;

impl WorkerHandle {
    /// Queues `call` for the worker's thread, after all earlier calls. `bytes` is the size of its packets.
    ///
    /// # Errors
    ///
    /// The thread has ended, or the call carries bytes and the inbox is full.
    pub fn call(&self, bytes: usize, call: impl FnOnce(&Rc<Worker>) + Send + 'static) -> Result<(), Unreachable> {
        if !self.is_alive() || bytes > 0 && self.is_full() {
            return Err(Unreachable);
        }
        self.force(bytes, call);
        Ok(())
    }

    /// Queues a call as [`call`](Self::call) does, even if the worker is overloaded or has ended.
    pub fn force(&self, bytes: usize, call: impl FnOnce(&Rc<Worker>) + Send + 'static) {
        if self.inbox.push(bytes, Box::new(call)) {
            self.waker.do_send(Wake);
        }
    }

    pub(crate) fn records(&self) -> Records {
        (Arc::clone(&self.counters), Arc::clone(&self.actors))
    }

    /// Returns the record of the thread's actors.
    pub fn actors(&self) -> &ActorLog {
        &self.actors
    }

    /// Returns whether the worker is too overloaded for packets, and counts it.
    pub fn is_full(&self) -> bool {
        let full = self.is_alive() && self.inbox.is_full();
        if full {
            self.counters.increment(Count::InboxFull);
        }
        full
    }

    /// Returns true until the worker's thread has ended.
    pub fn is_alive(&self) -> bool {
        self.waker.connected()
    }
}
