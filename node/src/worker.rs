//! One worker thread: the sessions that it owns, its timers, and the hub by which other threads reach it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use rustc_hash::FxHashMap;
use sociable_protocol::Id;
use sociable_protocol::id::IdSource;

use crate::engine::Shared;
use crate::metrics::{Count, Counters};
use crate::session::Session;
use crate::timers::Timers;

/// After so many tasks from other threads the hub lets the thread do something else: a mailbox has no such budget of its own.
const TASKS_IN_A_ROW: u32 = 64;
/// How many bytes of packets may be under way to one worker. A worker that is so far behind refuses more, and the emitter is told.
const INBOX_BYTES: usize = 64 << 20;

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
    sessions: RefCell<FxHashMap<Id, Rc<Session>>>,
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
        let inbox = Arc::new(AtomicUsize::new(0));
        let worker = engine.register(|index| {
            let worker = Rc::new(Worker {
                engine: Arc::clone(engine),
                index,
                counters: Arc::clone(&counters),
                timers: Rc::new(Timers::default()),
                ids: RefCell::new(IdSource::new(engine.tag)),
                sessions: RefCell::new(FxHashMap::default()),
            });
            let hub = Hub { worker: Rc::clone(&worker), inbox: Arc::clone(&inbox), in_a_row: 0 }.start();
            (worker, WorkerHandle { hub, counters: Arc::clone(&counters), inbox: Arc::clone(&inbox) })
        });
        actix_rt::spawn(Rc::clone(&worker.timers).run());
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

    /// A list of all sessions, so that they may end while it is walked.
    pub(crate) fn sessions(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }
}

type Call = Box<dyn FnOnce(&Rc<Worker>) + Send>;

/// A call of another thread, and how many bytes it carries.
#[derive(Message)]
#[rtype(result = "()")]
struct Task(Call, usize);

/// Makes the calls of other threads, in their order, on its worker's thread.
struct Hub {
    worker: Rc<Worker>,
    inbox: Arc<AtomicUsize>,
    in_a_row: u32,
}

impl Actor for Hub {
    type Context = Context<Self>;
}

impl Handler<Task> for Hub {
    type Result = ();

    fn handle(&mut self, Task(call, bytes): Task, ctx: &mut Context<Self>) {
        self.inbox.fetch_sub(bytes, Ordering::Relaxed);
        // A hub that died would take the worker's mail with it.
        if catch_unwind(AssertUnwindSafe(|| call(&self.worker))).is_err() {
            self.worker.counters.one(Count::TasksPanicked);
            tracing::error!(target: "sociable::worker", worker = self.worker.index, "a task from another thread panicked");
        }
        self.in_a_row += 1;
        if self.in_a_row == TASKS_IN_A_ROW {
            self.in_a_row = 0;
            ctx.wait(tokio::task::yield_now().into_actor(self).map(|(), _, _| ()));
        }
    }
}

/// A worker as other threads see it.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    hub: Addr<Hub>,
    pub(crate) counters: Arc<Counters>,
    /// Bytes under way to the worker.
    inbox: Arc<AtomicUsize>,
}

/// The worker's thread has ended, or its inbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable;

impl WorkerHandle {
    /// Has `call` made on the worker's thread, after all that was sent to it before.
    pub(crate) fn run(&self, bytes: usize, call: impl FnOnce(&Rc<Worker>) + Send + 'static) -> Result<(), Unreachable> {
        if self.inbox.fetch_add(bytes, Ordering::Relaxed) > INBOX_BYTES {
            self.inbox.fetch_sub(bytes, Ordering::Relaxed);
            self.counters.one(Count::InboxFull);
            return Err(Unreachable);
        }
        if !self.is_alive() {
            return Err(Unreachable);
        }
        self.hub.do_send(Task(Box::new(call), bytes));
        Ok(())
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.hub.connected()
    }
}
