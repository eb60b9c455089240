//! All connections of a worker, and how long each may go on.
//!
//! There is no timer for each connection. Each writes down until when it may do without progress, which costs a store, and once a second
//! the worker looks through all of them and wakes those whose time is over. So a time may be up to a second longer than it was given.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use slab::Slab;

/// What a connection has to know when it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing: it goes on.
    Stays,
    /// Its time is over.
    Late,
    /// It is to end as soon as it can without harm: the balancer goes.
    Leaves,
}

/// Where connections are too few to be told one by one over the whole time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One at each call, so that all is over soon.
    Early,
    /// None at first, so that they stay as long as they may.
    Late,
}

/// The connections.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    entries: RefCell<Slab<Rc<Entry>>>,
    /// Seconds since the start.
    now: Cell<u32>,
}

#[derive(Debug)]
struct Entry {
    /// The second from which on it is late.
    deadline: Cell<u32>,
    leaves: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Roll {
    /// The seconds since the start.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Enters a connection. It is late after `patience`.
    pub(crate) fn enter(self: &Rc<Self>, patience: Duration) -> Place {
        let entry = Rc::new(Entry { deadline: Cell::new(0), leaves: Cell::new(false), waker: RefCell::new(None) });
        let key = self.entries.borrow_mut().insert(Rc::clone(&entry));
        let place = Place { roll: Rc::clone(self), key, entry };
        place.give(patience);
        place
    }

    /// A second has passed: wakes who is late.
    pub(crate) fn tick(&self) {
        self.now.set(self.now.get().saturating_add(1));
        let late = |entry: &Entry| entry.deadline.get() <= self.now.get();
        // Whoever is woken runs later, when nothing is borrowed.
        self.entries.borrow().iter().filter(|(_, entry)| late(entry)).for_each(|(_, entry)| entry.wake());
    }

    /// Tells one part of `parts` of those who stay that they are to leave, so that all have been told after so many calls.
    pub(crate) fn dismiss(&self, parts: u64, pace: Pace) {
        let entries = self.entries.borrow();
        let staying = || entries.iter().filter(|(_, entry)| !entry.leaves.get());
        let (all, parts) = (staying().count() as u64, parts.max(1));
        let part = if pace == Pace::Early { all.div_ceil(parts) } else { all / parts };
        for (_, entry) in staying().take(usize::try_from(part).unwrap_or(usize::MAX)) {
            entry.leaves.set(true);
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

/// The entry of a connection, which leaves the roll with it.
pub(crate) struct Place {
    roll: Rc<Roll>,
    key: usize,
    entry: Rc<Entry>,
}

impl Place {
    /// It is late after `patience` from now.
    pub(crate) fn give(&self, patience: Duration) {
        self.until(self.roll.now(), patience);
    }

    /// It is late after `patience` from that second.
    pub(crate) fn until(&self, begin: u32, patience: Duration) {
        let seconds = u32::try_from(patience.as_secs()).unwrap_or(u32::MAX);
        // A part of a second is gone already.
        self.entry.deadline.set(begin.saturating_add(seconds).saturating_add(1));
    }

    /// The seconds since the start of the worker.
    pub(crate) fn now(&self) -> u32 {
        self.roll.now()
    }

    /// What has become of it. The task is woken when that changes.
    pub(crate) fn fate(&self, cx: &Context<'_>) -> Fate {
        let waker = &self.entry.waker;
        if !waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker.borrow_mut() = Some(cx.waker().clone());
        }
        if self.entry.deadline.get() <= self.roll.now() {
            Fate::Late
        } else if self.entry.leaves.get() {
            Fate::Leaves
        } else {
            Fate::Stays
        }
    }

    /// True if it is to leave.
    pub(crate) fn leaves(&self) -> bool {
        self.entry.leaves.get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roll.entries.borrow_mut().try_remove(self.key);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.key).finish()
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
    fn who_is_late_is_woken_and_who_made_progress_is_not() {
        let roll = Rc::new(Roll::default());
        let (slow, busy) = (roll.enter(Duration::from_secs(2)), roll.enter(Duration::from_secs(2)));
        let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let wakers = woken.clone().map(Waker::from);
        let contexts = [Context::from_waker(&wakers[0]), Context::from_waker(&wakers[1])];
        for _ in 0..3 {
            assert_eq!((slow.fate(&contexts[0]), busy.fate(&contexts[1])), (Fate::Stays, Fate::Stays));
            roll.tick();
            busy.give(Duration::from_secs(2));
        }
        assert_eq!((slow.fate(&contexts[0]), busy.fate(&contexts[1])), (Fate::Late, Fate::Stays));
        assert_eq!(woken.map(|woken| woken.0.load(Relaxed)), [1, 0]);
        drop(slow);
        assert_eq!(roll.len(), 1);
    }

    #[test]
    fn some_are_told_to_leave_each_once() {
        let told = |many: usize, seconds: u64, pace| {
            let roll = Rc::new(Roll::default());
            let places: Vec<_> = (0..many).map(|_| roll.enter(Duration::from_secs(9))).collect();
            let leaving = || places.iter().filter(|place| place.leaves()).count();
            (1..=seconds).rev().map(|parts| (roll.dismiss(parts, pace), leaving()).1).collect::<Vec<_>>()
        };
        assert_eq!((told(5, 3, Pace::Early), told(5, 3, Pace::Late)), (vec![2, 4, 5], vec![1, 3, 5]));
        assert_eq!((told(1, 3, Pace::Early), told(1, 3, Pace::Late)), (vec![1, 1, 1], vec![0, 0, 1]));
    }
}
