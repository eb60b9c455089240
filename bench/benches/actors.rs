//! One message to an actor: a call, as `node` does it, or through a mailbox of `actix`; from its own thread, or from another.
//!
//! All figures are for one message. "In bursts" sends 1,000 and waits until they have been handled; "one by one" waits for each.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, Addr, Arbiter, AsyncContext, Context, Handler, Message, SystemRunner, WrapFuture};
use criterion::Criterion;
use parking_lot::Mutex;
use sociable_bench::{ActorCell, Outcome, State, criterion};

const BURST: u64 = 1_000;
const ACTORS: usize = 1_000;

fn main() {
    let mut criterion = criterion();
    let system = actix::System::new();
    same_thread(&mut criterion, &system);
    across_threads(&mut criterion, &system);
    criterion.final_summary();
}

#[derive(Message)]
#[rtype(result = "()")]
struct Add(u64);

/// An actor of `actix` on the thread of those who send to it.
struct Near {
    state: State,
    handled: Rc<Cell<u64>>,
}

impl Actor for Near {
    type Context = Context<Self>;
}

impl Handler<Add> for Near {
    type Result = ();

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) {
        self.state.total += n;
        self.handled.set(self.handled.get() + 1);
    }
}

fn same_thread(criterion: &mut Criterion, system: &SystemRunner) {
    let mut group = criterion.benchmark_group("same thread");
    let handled = Rc::new(Cell::new(0_u64));

    let cells = (0..ACTORS).map(|_| Rc::new(ActorCell::new(State::default()))).collect::<Vec<_>>();
    let call = |cell: &ActorCell<State>| {
        let outcome = cell.call(|state| {
            state.total += black_box(1);
            handled.set(handled.get() + 1);
        });
        assert!(matches!(outcome, Outcome::Done(())));
    };
    group.bench_function("a call", |bencher| bencher.iter(|| call(black_box(&cells[0]))));
    group.bench_function("calls to 1,000 actors in turn", |bencher| {
        let mut next = cells.iter().cycle();
        bencher.iter(|| next.next().map(|cell| call(black_box(cell))));
    });

    let start = || Near { state: State::default(), handled: Rc::clone(&handled) }.start();
    let actors = system.block_on(async { (0..ACTORS).map(|_| start()).collect::<Vec<_>>() });
    let send = |actors: &[Addr<Near>], messages: u64, burst: u64| {
        system.block_on(async {
            let mut next = actors.iter().cycle();
            let begin = Instant::now();
            for burst in bursts(messages, burst) {
                let until = handled.get() + burst;
                for addr in next.by_ref().take(burst as usize) {
                    addr.do_send(Add(black_box(1)));
                }
                while handled.get() < until {
                    tokio::task::yield_now().await;
                }
            }
            begin.elapsed()
        })
    };
    group.bench_function("actix, in bursts", |bencher| bencher.iter_custom(|messages| send(&actors[..1], messages, BURST)));
    group.bench_function("actix, one by one", |bencher| bencher.iter_custom(|messages| send(&actors[..1], messages, 1)));
    group.bench_function("actix, in bursts to 1,000 actors", |bencher| bencher.iter_custom(|messages| send(&actors, messages, BURST)));

    let inbox = Inbox::default();
    let worker = Worker::default();
    group.bench_function("an inbox, in bursts", |bencher| {
        bencher.iter_custom(|messages| {
            let begin = Instant::now();
            for burst in bursts(messages, BURST) {
                (0..burst).for_each(|_| drop(inbox.push(0, add)));
                inbox.make_calls(&worker);
            }
            begin.elapsed()
        });
    });
    group.finish();
}

/// What calls find on the other thread.
#[derive(Default)]
struct Worker {
    state: ActorCellOfState,
    handled: Arc<AtomicU64>,
}

struct ActorCellOfState(ActorCell<State>);

impl Default for ActorCellOfState {
    fn default() -> Self {
        Self(ActorCell::new(State::default()))
    }
}

fn add(worker: &Worker) {
    let outcome = worker.state.0.call(|state| state.total += black_box(1));
    assert!(matches!(outcome, Outcome::Done(())));
    worker.handled.fetch_add(1, Ordering::Release);
}

type Call = Box<dyn FnOnce(&Worker) + Send>;

/// The inbox of a worker, as in `node/src/worker.rs`.
#[derive(Default)]
struct Inbox {
    calls: Mutex<Vec<Call>>,
    waiting: AtomicBool,
    bytes: AtomicUsize,
}

impl Inbox {
    /// True if nobody has woken the worker yet.
    fn push(&self, bytes: usize, call: impl FnOnce(&Worker) + Send + 'static) -> bool {
        let mut calls = self.calls.lock();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        calls.push(Box::new(call));
        !self.waiting.swap(true, Ordering::AcqRel)
    }

    fn make_calls(&self, worker: &Worker) {
        if self.waiting.load(Ordering::Acquire) {
            let calls = {
                let mut calls = self.calls.lock();
                self.waiting.store(false, Ordering::Release);
                self.bytes.store(0, Ordering::Relaxed);
                std::mem::take(&mut *calls)
            };
            calls.into_iter().for_each(|call| call(worker));
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Mail;

/// Wakes the worker for its inbox.
struct Hub {
    worker: Worker,
    inbox: Arc<Inbox>,
}

impl Actor for Hub {
    type Context = Context<Self>;
}

impl Handler<Mail> for Hub {
    type Result = ();

    fn handle(&mut self, Mail: Mail, ctx: &mut Context<Self>) {
        self.inbox.make_calls(&self.worker);
        ctx.wait(tokio::task::yield_now().into_actor(self).map(|(), _, _| ()));
    }
}

/// An actor of `actix` on another thread.
struct Far(Worker);

impl Actor for Far {
    type Context = Context<Self>;
}

impl Handler<Add> for Far {
    type Result = ();

    fn handle(&mut self, Add(_): Add, _: &mut Context<Self>) {
        add(&self.0);
    }
}

fn across_threads(criterion: &mut Criterion, system: &SystemRunner) {
    let (handled, inbox) = (Arc::new(AtomicU64::new(0)), Arc::new(Inbox::default()));
    let arbiter = system.block_on(async { Arbiter::new() });
    let worker = || {
        let handled = Arc::clone(&handled);
        move || Worker { handled, ..Worker::default() }
    };
    let (of_actix, of_ours, inbox_there) = (worker(), worker(), Arc::clone(&inbox));
    let far = Far::start_in_arbiter(&arbiter.handle(), |_| Far(of_actix()));
    let hub = Hub::start_in_arbiter(&arbiter.handle(), |_| Hub { worker: of_ours(), inbox: inbox_there });

    let by_actix = || far.do_send(Add(black_box(1)));
    let by_inbox = || {
        assert!(hub.connected());
        if inbox.push(0, add) {
            hub.do_send(Mail);
        }
    };
    let mut group = criterion.benchmark_group("across threads");
    for (how, burst) in [("in bursts", BURST), ("one by one", 1)] {
        group.bench_function(format!("actix, {how}"), |bencher| {
            bencher.iter_custom(|messages| send_far(&handled, messages, burst, by_actix));
        });
        group.bench_function(format!("an inbox, {how}"), |bencher| {
            bencher.iter_custom(|messages| send_far(&handled, messages, burst, by_inbox));
        });
    }
    group.finish();
    arbiter.stop();
    arbiter.join().expect("the other thread");
}

fn send_far(handled: &AtomicU64, messages: u64, burst: u64, send: impl Fn()) -> Duration {
    let begin = Instant::now();
    for burst in bursts(messages, burst) {
        let until = handled.load(Ordering::Acquire) + burst;
        (0..burst).for_each(|_| send());
        while handled.load(Ordering::Acquire) < until {
            std::hint::spin_loop();
        }
    }
    begin.elapsed()
}

/// The sizes of the bursts in which so many messages go.
fn bursts(messages: u64, burst: u64) -> impl Iterator<Item = u64> {
    (0..messages).step_by(burst as usize).map(move |sent| burst.min(messages - sent))
}
