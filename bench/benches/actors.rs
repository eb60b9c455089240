//! One message to an actor: a call, as `engine` does it, or through a mailbox of `actix`; from its own thread, or from another.
//!
//! All figures are for one message. "In bursts" sends 1,000 and waits until they have been handled; "one by one" waits for each. Another
//! thread is either busy until the whole burst waits for it, or asleep: then it has to be woken, which costs more than all the rest.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, Addr, Arbiter, AsyncContext, Context, Handler, Message, SystemRunner, WrapFuture};
use criterion::Criterion;
use parking_lot::Mutex;
use sociable_bench::{Increment, State, criterion};
use sociable_engine::actor::{ActorCell, Outcome};

const BURST: u64 = 1_000;
const ACTORS: usize = 1_000;
/// After so long a pause the other thread is asleep.
const PAUSE: Duration = Duration::from_micros(30);

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
        assert!(matches!(cell.send(Increment(black_box(1))), Outcome::Done(())));
        handled.set(handled.get() + 1);
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
    let worker = Worker::new(&Arc::default());
    group.bench_function("an inbox, in bursts", |bencher| {
        bencher.iter_custom(|messages| {
            let begin = Instant::now();
            for burst in bursts(messages, BURST) {
                (0..burst).for_each(|_| {
                    inbox.push(0, call_to_add(black_box(1)));
                });
                inbox.make_calls(&worker);
            }
            begin.elapsed()
        });
    });
    group.finish();
}

/// The state on the other thread that calls find.
struct Worker {
    state: ActorCell<State>,
    handled: Arc<AtomicU64>,
}

impl Worker {
    fn new(handled: &Arc<AtomicU64>) -> Self {
        Self { state: ActorCell::new(State::default()), handled: Arc::clone(handled) }
    }
}

fn add(worker: &Worker, n: u64) {
    assert!(matches!(worker.state.send(Increment(n)), Outcome::Done(())));
    worker.handled.fetch_add(1, Ordering::Release);
}

fn call_to_add(n: u64) -> impl FnOnce(&Worker) + Send {
    move |worker| add(worker, n)
}

type Call = Box<dyn FnOnce(&Worker) + Send>;

/// The inbox of a worker, as in `engine/src/inbox.rs`.
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

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) {
        add(&self.0, n);
    }
}

fn across_threads(criterion: &mut Criterion, system: &SystemRunner) {
    let (handled, inbox) = (Arc::new(AtomicU64::new(0)), Arc::new(Inbox::default()));
    let arbiter = system.block_on(async { Arbiter::new() });
    let there = Arc::clone(&handled);
    let far = Far::start_in_arbiter(&arbiter.handle(), move |_| Far(Worker::new(&there)));
    let (there, its_inbox) = (Arc::clone(&handled), Arc::clone(&inbox));
    let hub = Hub::start_in_arbiter(&arbiter.handle(), move |_| Hub { worker: Worker::new(&there), inbox: its_inbox });

    let by_actix = || far.do_send(Add(black_box(1)));
    let by_inbox = || {
        assert!(hub.connected());
        if inbox.push(0, call_to_add(black_box(1))) {
            hub.do_send(Mail);
        }
    };
    let gate = Gate::default().start_on(&arbiter);
    let mut group = criterion.benchmark_group("across threads");
    group.bench_function("actix, in bursts to a busy thread", |bencher| {
        bencher.iter_custom(|messages| send_to_busy(&gate, &handled, messages, by_actix));
    });
    group.bench_function("an inbox, in bursts to a busy thread", |bencher| {
        bencher.iter_custom(|messages| send_to_busy(&gate, &handled, messages, by_inbox));
    });
    group.bench_function("actix, to a sleeping thread", |bencher| {
        bencher.iter_custom(|messages| send_to_sleeping(&handled, messages, by_actix));
    });
    group.bench_function("an inbox, to a sleeping thread", |bencher| {
        bencher.iter_custom(|messages| send_to_sleeping(&handled, messages, by_inbox));
    });
    group.finish();
    arbiter.stop();
    arbiter.join().expect("the other thread");
}

fn send_to_busy((addr, gate): &(Addr<Gate>, Gate), handled: &AtomicU64, messages: u64, send: impl Fn()) -> Duration {
    let begin = Instant::now();
    for burst in bursts(messages, BURST) {
        let until = handled.load(Ordering::Acquire) + burst;
        addr.do_send(Hold);
        wait_until(|| gate.0.load(Ordering::Acquire));
        (0..burst).for_each(|_| send());
        gate.0.store(false, Ordering::Release);
        wait_until(|| handled.load(Ordering::Acquire) >= until);
    }
    begin.elapsed()
}

/// Counts the time from a message being sent to its being handled, not the pause before, in which the other thread goes to sleep.
fn send_to_sleeping(handled: &AtomicU64, messages: u64, send: impl Fn()) -> Duration {
    let one = |_| {
        let before = handled.load(Ordering::Acquire);
        let pause = Instant::now();
        wait_until(|| pause.elapsed() > PAUSE);
        let begin = Instant::now();
        send();
        wait_until(|| handled.load(Ordering::Acquire) > before);
        begin.elapsed()
    };
    (0..messages).map(one).sum()
}

/// Waits without sleeping, but lets others have the processor.
fn wait_until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

/// Keeps the other thread busy from a [`Hold`] on, as long as this is true.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

#[derive(Message)]
#[rtype(result = "()")]
struct Hold;

impl Gate {
    fn start_on(self, arbiter: &Arbiter) -> (Addr<Self>, Self) {
        let there = self.clone();
        (Self::start_in_arbiter(&arbiter.handle(), move |_| there), self)
    }
}

impl Actor for Gate {
    type Context = Context<Self>;
}

impl Handler<Hold> for Gate {
    type Result = ();

    fn handle(&mut self, Hold: Hold, _: &mut Context<Self>) {
        self.0.store(true, Ordering::Release);
        wait_until(|| !self.0.load(Ordering::Acquire));
    }
}

/// The sizes of the bursts in which so many messages go.
fn bursts(messages: u64, burst: u64) -> impl Iterator<Item = u64> {
    (0..messages).step_by(burst as usize).map(move |sent| burst.min(messages - sent))
}
