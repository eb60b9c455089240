//! One worker thread: the sessions that it owns, its timers, and the hub by which other threads reach it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use parking_lot::Mutex;
use sociable_protocol::Id;
use sociable_protocol::id::IdSource;

use crate::engine::Shared;
use crate::maps::Map;
use crate::metrics::{Count, Counters};
use crate::reason::CloseReason;
use crate::session::{Ending, Session};
use crate::timers::Timers;

/// How many bytes of packets may be under way to one worker. A worker that is so far behind refuses more, and the emitter is told.
const INBOX_BYTES: usize = 64 << 20;

/// So many entries of sessions that are not on their way any more are kept at least.
const PENDING_SLACK: usize = 64;

/// How often the lag of a thread is looked at. Four times in a ping timeout, if that is more often.
const LAG_INTERVAL: Duration = Duration::from_millis(250);
const SHORTEST_LAG_INTERVAL: Duration = Duration::from_millis(20);

thread_local! {
    /// The workers of this thread: one for each engine that serves on it.
    static WORKERS: RefCell<Vec<Rc<Worker>>> = const { RefCell::new(Vec::new()) };
}

/// The part of a worker that belongs to its thread.
pub(crate) struct Worker {
    pub(crate) engine: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timers: Rc<Timers>,
    ids: RefCell<IdSource>,
    sessions: RefCell<Map<Id, Rc<Session>>>,
    /// Sessions on their way in, the oldest first. Some of them may have arrived or gone.
    pending: RefCell<VecDeque<Id>>,
    /// How many of them are still on their way.
    pending_count: Cell<usize>,
    inbox: Arc<Inbox>,
    /// It is making the calls of its inbox.
    calling: Cell<bool>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Worker {
    /// This thread's worker of the engine, if it has one.
    #[inline]
    pub(crate) fn current(engine: &Arc<Shared>) -> Option<Rc<Worker>> {
        WORKERS.try_with(|workers| workers.borrow().iter().find(|worker| Arc::ptr_eq(&worker.engine, engine)).cloned()).ok().flatten()
    }

    /// This thread's worker of the engine; made at the first call. It needs a thread on which tasks can be spawned that stay there.
    pub(crate) fn attach(engine: &Arc<Shared>) -> Rc<Worker> {
        if let Some(worker) = Self::current(engine) {
            return worker;
        }
        let counters = Arc::new(Counters::default());
        let inbox = Arc::new(Inbox::default());
        let worker = engine.register(|index| {
            let worker = Rc::new(Worker {
                engine: Arc::clone(engine),
                index,
                counters: Arc::clone(&counters),
                timers: Rc::new(Timers::new(LAG_INTERVAL.min((engine.config.ping_timeout / 4).max(SHORTEST_LAG_INTERVAL)))),
                ids: RefCell::new(IdSource::new(engine.tag)),
                sessions: RefCell::new(Map::default()),
                pending: RefCell::default(),
                pending_count: Cell::new(0),
                inbox: Arc::clone(&inbox),
                calling: Cell::new(false),
            });
            let hub = Hub(Rc::clone(&worker)).start();
            (worker, WorkerHandle { hub, counters: Arc::clone(&counters), inbox: Arc::clone(&inbox) })
        });
        actix_rt::spawn(Rc::clone(&worker.timers).run());
        actix_rt::spawn(Rc::clone(&worker.timers).measure_lag(counters));
        WORKERS.with(|workers| workers.borrow_mut().push(Rc::clone(&worker)));
        worker
    }

    /// A new id that leads to this worker, or, on a worker that came too late to own sessions, to some other.
    pub(crate) fn draw_id(&self) -> Id {
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

    /// A session is on its way in. If too many are, the oldest is closed: clients that join need a moment, and do not notice.
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
                self.counters.one(Count::PendingEvicted);
                session.end(CloseReason::ForcedServerClose, Ending::Abrupt);
            }
        }
    }

    /// A session is not on its way in any more.
    pub(crate) fn session_arrived(&self) {
        self.pending_count.set(self.pending_count.get() - 1);
    }

    /// A list of some sessions that have not begun to end, so many at most: in no order that anybody chose.
    pub(crate) fn open_sessions(&self, most: usize) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().filter(|session| session.is_open()).take(most).cloned().collect()
    }

    pub(crate) fn open_session_count(&self) -> usize {
        self.sessions.borrow().values().filter(|session| session.is_open()).count()
    }

    /// A list of all sessions, so that they may end while it is walked.
    pub(crate) fn sessions(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }
}

type Call = Box<dyn FnOnce(&Rc<Worker>) + Send>;

/// The calls of other threads that wait to be made, in their order.
///
/// The hub is woken for the first. But a worker makes all of them before it reads what a client sent: a client that has seen the effect of a
/// call on another thread, and then asks this one, must find it done here too.
#[derive(Default)]
pub(crate) struct Inbox {
    calls: Mutex<Vec<Call>>,
    /// Some are waiting. Read far more often than there are any.
    waiting: AtomicBool,
    /// What they carry.
    bytes: AtomicUsize,
}

impl Worker {
    /// Makes the calls of other threads that wait.
    #[inline]
    pub(crate) fn make_calls(self: &Rc<Self>) {
        if self.inbox.waiting.load(Ordering::Acquire) {
            self.make_waiting_calls();
        }
    }

    /// True if no call of another thread waits or is being made.
    pub(crate) fn is_idle(&self) -> bool {
        !self.calling.get() && !self.inbox.waiting.load(Ordering::Acquire)
    }

    #[cold]
    fn make_waiting_calls(self: &Rc<Self>) {
        // A call that lands here again leaves the rest to the one who is at it, so that none overtakes another.
        if self.calling.replace(true) {
            return;
        }
        let calls = {
            let mut calls = self.inbox.calls.lock();
            self.inbox.waiting.store(false, Ordering::Release);
            self.inbox.bytes.store(0, Ordering::Relaxed);
            std::mem::take(&mut *calls)
        };
        for call in calls {
            // A call that panics must not take the others with it.
            if catch_unwind(AssertUnwindSafe(|| call(self))).is_err() {
                self.counters.one(Count::TasksPanicked);
                tracing::error!(target: "sociable::worker", worker = self.index, "a call of another thread panicked");
            }
        }
        self.calling.set(false);
    }
}

/// There are calls in the inbox.
#[derive(Message)]
#[rtype(result = "()")]
struct Mail;

/// Wakes its worker for the calls of other threads.
struct Hub(Rc<Worker>);

impl Actor for Hub {
    type Context = Context<Self>;
}

impl Handler<Mail> for Hub {
    type Result = ();

    fn handle(&mut self, Mail: Mail, ctx: &mut Context<Self>) {
        self.0.make_calls();
        // A mailbox knows no budget: without this a flood of mail would starve the thread's connections and timers.
        ctx.wait(tokio::task::yield_now().into_actor(self).map(|(), _, _| ()));
    }
}

/// A worker as other threads see it.
pub(crate) struct WorkerHandle {
    hub: Addr<Hub>,
    pub(crate) counters: Arc<Counters>,
    inbox: Arc<Inbox>,
}

/// The worker's thread has ended, or its inbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable;

impl WorkerHandle {
    /// Has `call` made on the worker's thread, after all that was sent to it before. `bytes` is what it carries.
    pub(crate) fn run(&self, bytes: usize, call: impl FnOnce(&Rc<Worker>) + Send + 'static) -> Result<(), Unreachable> {
        if !self.is_alive() {
            return Err(Unreachable);
        }
        if bytes > 0 && self.is_full() {
            return Err(Unreachable);
        }
        self.run_anyhow(bytes, call);
        Ok(())
    }

    /// True if the worker is too far behind to be sent packets; it is counted.
    pub(crate) fn is_full(&self) -> bool {
        let full = self.is_alive() && self.inbox.bytes.load(Ordering::Relaxed) > INBOX_BYTES;
        if full {
            self.counters.one(Count::InboxFull);
        }
        full
    }

    /// As [`run`](Self::run), though the worker may be far behind or gone.
    pub(crate) fn run_anyhow(&self, bytes: usize, call: impl FnOnce(&Rc<Worker>) + Send + 'static) {
        let mut calls = self.inbox.calls.lock();
        self.inbox.bytes.fetch_add(bytes, Ordering::Relaxed);
        calls.push(Box::new(call));
        let first = !self.inbox.waiting.swap(true, Ordering::AcqRel);
        drop(calls);
        if first {
            self.hub.do_send(Mail);
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.hub.connected()
    }
}
