//! The deadlines of a worker's connections, without a timer for each.
//!
//! A connection stores the second by which it has to make progress. Once a second the worker scans all deadlines and
//! wakes the expired ones. A deadline may come up to a second late. Draining uses the same table.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use slab::Slab;

/// The status of a connection, for when it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The deadline is still to come.
    Active,
    /// The deadline has passed.
    Expired,
    /// The balancer drains: the connection is to end as soon as it can without harm.
    Draining,
}

/// The pace of a drain that has fewer connections than seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One connection at each call, so that all end soon.
    Early,
    /// None at first, so that connections stay as long as they may.
    Late,
}

/// The deadlines of all connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct DeadlineTable {
    entries: RefCell<Slab<Rc<Entry>>>,
    /// Seconds since the start of the worker.
    now: Cell<u32>,
}

#[derive(Debug)]
struct Entry {
    /// The second from which on the connection has expired.
    expires_at: Cell<u32>,
    draining: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl DeadlineTable {
    /// Returns the seconds since the start of the worker.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Registers a connection that expires after `patience`.
    pub(crate) fn register(self: &Rc<Self>, patience: Duration) -> Deadline {
        let entry = Rc::new(Entry { expires_at: Cell::new(0), draining: Cell::new(false), waker: RefCell::new(None) });
        let key = self.entries.borrow_mut().insert(Rc::clone(&entry));
        let deadline = Deadline { deadlines: Rc::clone(self), key, entry };
        deadline.extend(patience);
        deadline
    }

    /// Counts a second, and wakes the connections that have expired.
    pub(crate) fn tick(&self) {
        self.now.set(self.now.get().saturating_add(1));
        let late = |entry: &Entry| entry.expires_at.get() <= self.now.get();
        // A woken task runs later, when nothing is borrowed.
        self.entries.borrow().iter().filter(|(_, entry)| late(entry)).for_each(|(_, entry)| entry.wake());
    }

    /// Starts to drain one part of `parts` of the connections, so that all drain after as many calls.
    pub(crate) fn begin_drain(&self, parts: u64, pace: Pace) {
        let entries = self.entries.borrow();
        let staying = || entries.iter().filter(|(_, entry)| !entry.draining.get());
        let (all, parts) = (staying().count() as u64, parts.max(1));
        let part = if pace == Pace::Early { all.div_ceil(parts) } else { all / parts };
        for (_, entry) in staying().take(usize::try_from(part).unwrap_or(usize::MAX)) {
            entry.draining.set(true);
            entry.wake();
        }
    }
}

impl Entry {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The deadline of one connection. A drop removes it from the table.
pub(crate) struct Deadline {
    deadlines: Rc<DeadlineTable>,
    key: usize,
    entry: Rc<Entry>,
}

impl Deadline {
    /// Sets the deadline to `patience` from now.
    pub(crate) fn extend(&self, patience: Duration) {
        self.extend_from(self.deadlines.now(), patience);
    }

    /// Sets the deadline to `patience` from that second.
    pub(crate) fn extend_from(&self, begin: u32, patience: Duration) {
        let seconds = u32::try_from(patience.as_secs()).unwrap_or(u32::MAX);
        // Part of the current second has passed.
        self.entry.expires_at.set(begin.saturating_add(seconds).saturating_add(1));
    }

    /// The seconds since the start of the worker.
    pub(crate) fn now(&self) -> u32 {
        self.deadlines.now()
    }

    /// Returns the status, and wakes the task when it changes.
    pub(crate) fn status(&self, cx: &Context<'_>) -> Status {
        let waker = &self.entry.waker;
        if !waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker.borrow_mut() = Some(cx.waker().clone());
        }
        if self.entry.expires_at.get() <= self.deadlines.now() {
            Status::Expired
        } else if self.entry.draining.get() {
            Status::Draining
        } else {
            Status::Active
        }
    }

    /// Returns true if the connection is to end as soon as it can.
    pub(crate) fn is_draining(&self) -> bool {
        self.entry.draining.get()
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.deadlines.entries.borrow_mut().try_remove(self.key);
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn table_wakes_only_connections_that_expired() {
        let table = Rc::new(DeadlineTable::default());
        let (slow, busy) = (table.register(Duration::from_secs(2)), table.register(Duration::from_secs(2)));
        let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let wakers = woken.clone().map(Waker::from);
        let contexts = [Context::from_waker(&wakers[0]), Context::from_waker(&wakers[1])];
        for _ in 0..3 {
            assert_eq!((slow.status(&contexts[0]), busy.status(&contexts[1])), (Status::Active, Status::Active));
            table.tick();
            busy.extend(Duration::from_secs(2));
        }
        assert_eq!((slow.status(&contexts[0]), busy.status(&contexts[1])), (Status::Expired, Status::Active));
        assert_eq!(woken.map(|woken| woken.0.load(Relaxed)), [1, 0]);
        drop(slow);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn drain_reaches_each_connection_once() {
        let drained = |many: usize, seconds: u64, pace| {
            let table = Rc::new(DeadlineTable::default());
            let deadlines: Vec<_> = (0..many).map(|_| table.register(Duration::from_secs(9))).collect();
            let leaving = || deadlines.iter().filter(|deadline| deadline.is_draining()).count();
            (1..=seconds).rev().map(|parts| (table.begin_drain(parts, pace), leaving()).1).collect::<Vec<_>>()
        };
        assert_eq!((drained(5, 3, Pace::Early), drained(5, 3, Pace::Late)), (vec![2, 4, 5], vec![1, 3, 5]));
        assert_eq!((drained(1, 3, Pace::Early), drained(1, 3, Pace::Late)), (vec![1, 1, 1], vec![0, 0, 1]));
    }
}
