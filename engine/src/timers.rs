//! The timer wheel of a worker: two deadlines of a session cost two entries, not two tasks.

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

/// The lag from which a thread counts as having stood still.
const STANDSTILL: Duration = Duration::from_millis(100);

/// The longest wait that the wheel supports.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Returns the instant after `time`, bounded by the longest wait.
pub fn after(from: Instant, time: Duration) -> Instant {
    from + time.min(LONGEST)
}

/// A deadline of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// A ping is due.
    Ping,
    /// The pong is overdue.
    Pong,
    /// The layer above has not accepted the client in time.
    Connect,
    /// The client has not fetched the end of its session.
    Close,
}

/// Milliseconds in four bytes: each session has two entries.
type Millis = u32;

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// The owner of deadlines.
pub(crate) trait Expires {
    /// Handles a deadline. `stood` is the length of standstills meanwhile, `left` the time by which more may postpone the deadline.
    fn on_deadline(&self, deadline: Deadline, stood: Duration, left: Duration);
}

/// A deadline of an `S`.
#[derive(Debug)]
struct Entry<S> {
    owner: Weak<S>,
    deadline: Deadline,
    /// The time by which standstills may postpone the deadline in all.
    grace: Millis,
    /// The value of [`Timers::stood`] when the deadline was scheduled.
    stood: Millis,
}

/// The timer wheel of a thread, for owners of one type.
#[derive(Debug)]
pub(crate) struct Timers<S> {
    queue: RefCell<DelayQueue<Entry<S>>>,
    /// The time of the next measurement of the lag, and the interval between two.
    look: Cell<Instant>,
    every: Duration,
    /// The length of all standstills of the thread, up to the last measurement.
    stood: Cell<Millis>,
    /// The lag of the thread's event loop.
    pub(crate) lag: Latency,
}

impl<S: Expires> Timers<S> {
    /// Returns the timers of a thread that measures its lag at this interval.
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            queue: RefCell::new(DelayQueue::new()),
            look: Cell::new(Instant::now() + every),
            every,
            stood: Cell::default(),
            lag: Latency::default(),
        }
    }

    /// Schedules a deadline of an owner. `grace` is the time by which standstills may postpone it in all.
    pub(crate) fn schedule(&self, owner: Weak<S>, deadline: Deadline, grace: Duration, at: Instant) -> Key {
        self.queue.borrow_mut().insert_at(Entry { owner, deadline, grace: millis(grace), stood: self.stood() }, at)
    }

    pub(crate) fn cancel(&self, key: &Key) {
        self.queue.borrow_mut().try_remove(key);
    }

    /// Handles a deadline that has passed before the timer fired.
    pub(crate) fn expire(&self, key: &Key) {
        let expired = self.queue.borrow_mut().try_remove(key);
        if let Some(expired) = expired {
            self.call(expired.into_inner());
        }
    }

    /// Handles deadlines as they pass, until the worker's thread ends.
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

    /// Measures the lag of the thread's event loop periodically, until the thread ends.
    pub(crate) async fn measure_lag(self: Rc<Self>) {
        loop {
            self.look.set(Instant::now() + self.every);
            sleep_until(self.look.get()).await;
            self.lag.observe(self.look.get().elapsed());
            self.stood.set(self.stood());
        }
    }

    /// Returns the length of all standstills of the thread since its start, never too little.
    fn stood(&self) -> Millis {
        let late = self.look.get().elapsed();
        // The standstill may have started before the last measurement.
        let stood = if late > STANDSTILL.min(self.every) { millis(late.saturating_add(self.every)) } else { 0 };
        self.stood.get().saturating_add(stood)
    }

    /// Returns the output of a future within a time. Standstills of the thread extend the time, up to its double.
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
