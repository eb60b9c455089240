//! One timer wheel a worker: two deadlines a session cost two entries in it, not two tasks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, ready};
use std::time::Duration;

use sociable_protocol::Latency;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// A thread that is later than this stood still.
const STANDSTILL: Duration = Duration::from_millis(100);

/// Nothing waits longer than this: the wheel has an end.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// So long after `from`.
pub fn after(from: Instant, time: Duration) -> Instant {
    from + time.min(LONGEST)
}

/// What a session does when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Send a ping.
    Ping,
    /// The pong is missing.
    Pong,
    /// The layer above has seen no sign of life.
    Connect,
    /// The client did not fetch the end of its session.
    Close,
}

/// Milliseconds: there are two entries for each session.
type Millis = u32;

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// The owner of deadlines.
pub(crate) trait Expires {
    /// Handles a deadline that has come. `stood` is how long the thread stood still meanwhile, `left` how long it may be put off again.
    fn on_deadline(&self, deadline: Deadline, stood: Duration, left: Duration);
}

/// A deadline of an `S`.
#[derive(Debug)]
struct Entry<S> {
    owner: Weak<S>,
    deadline: Deadline,
    /// How long standstills may put it off in all.
    grace: Millis,
    /// What [`Timers::stood`] was when it was scheduled.
    stood: Millis,
}

/// The timer wheel of a thread, for owners of one type.
#[derive(Debug)]
pub(crate) struct Timers<S> {
    queue: RefCell<DelayQueue<Entry<S>>>,
    /// When the thread looks at its lag next, and how often it does.
    look: Cell<Instant>,
    every: Duration,
    /// How long the thread has stood still, up to the last look.
    stood: Cell<Millis>,
    /// How late the thread was with what was due.
    pub(crate) lag: Latency,
}

impl<S: Expires> Timers<S> {
    /// Timers of a thread that looks at its lag so often.
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            queue: RefCell::new(DelayQueue::new()),
            look: Cell::new(Instant::now() + every),
            every,
            stood: Cell::default(),
            lag: Latency::default(),
        }
    }

    /// Calls a session at a time. `grace` is how long standstills may put that off in all.
    pub(crate) fn schedule(&self, owner: Weak<S>, deadline: Deadline, grace: Duration, at: Instant) -> Key {
        self.queue.borrow_mut().insert_at(Entry { owner, deadline, grace: millis(grace), stood: self.stood() }, at)
    }

    pub(crate) fn cancel(&self, key: &Key) {
        self.queue.borrow_mut().try_remove(key);
    }

    /// Calls a session whose time has come, though the timer has not told yet.
    pub(crate) fn expire(&self, key: &Key) {
        let expired = self.queue.borrow_mut().try_remove(key);
        if let Some(expired) = expired {
            self.call(expired.into_inner());
        }
    }

    /// Calls the sessions when their time has come. It ends with the worker's thread.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            let expired = poll_fn(|cx| match ready!(self.queue.borrow_mut().poll_expired(cx)) {
                Some(expired) => Poll::Ready(expired.into_inner()),
                // The next entry wakes this task.
                None => Poll::Pending,
            })
            .await;
            self.call(expired);
        }
    }

    fn call(&self, entry: Entry<S>) {
        if let Some(owner) = entry.owner.upgrade() {
            let stood = self.stood().saturating_sub(entry.stood).min(entry.grace);
            let [stood, left] = [stood, entry.grace - stood].map(|time| Duration::from_millis(time.into()));
            owner.on_deadline(entry.deadline, stood, left);
        }
    }

    /// Looks from time to time how late the thread is with what is due: the lag of its event loop. It ends with the thread.
    pub(crate) async fn measure_lag(self: Rc<Self>) {
        loop {
            self.look.set(Instant::now() + self.every);
            sleep_until(self.look.get()).await;
            self.lag.observe(self.look.get().elapsed());
            self.stood.set(self.stood());
        }
    }

    /// Returns how long the thread has stood still since it began: stopped, blocked, or starved. It never counts too little.
    fn stood(&self) -> Millis {
        let late = self.look.get().elapsed();
        // It may have stood still since the look before.
        let stood = if late > STANDSTILL.min(self.every) { millis(late.saturating_add(self.every)) } else { 0 };
        self.stood.get().saturating_add(stood)
    }

    /// Returns what the future gives in this time. The time in which the thread stood still does not count, but for as long again at most.
    pub(crate) async fn timeout<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let (mut stood, mut given, mut left) = (self.stood(), time, time);
        loop {
            if let Ok(output) = timeout(given, &mut future).await {
                return Some(output);
            }
            let now = self.stood();
            given = Duration::from_millis(now.saturating_sub(stood).into()).min(left);
            if given.is_zero() {
                return None;
            }
            left -= given;
            stood = now;
        }
    }
}
