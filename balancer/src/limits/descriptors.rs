//! The bound of connections by the process's limit on file descriptors.
//!
//! Without free descriptors, listeners spin on connections that they can't accept, and health checks, log files and
//! reloads fail. So descriptors are counted. No connection is accepted that would leave fewer than [`SPARE`], or use
//! more than 95 %. Further connections wait in the system's queue.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

/// The descriptors for other uses.
pub(crate) const SPARE: usize = 64;
/// The descriptors of a connection: its own, and one to its node.
const EACH: usize = 2;
/// The folder that lists the descriptors of the process.
const LISTED: &str = "/proc/self/fd";

/// Counts the descriptors of connections. All openers of descriptors share it.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// As many as may be open.
    usable: usize,
    open: AtomicUsize,
    freed: Notify,
}

/// One descriptor, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<Descriptors>);

impl Descriptors {
    /// Raises the limit of this process as far as allowed, and counts the open descriptors.
    pub(crate) fn of_this_process() -> Arc<Self> {
        let (limit, open) = (raise_limit(), std::fs::read_dir(LISTED).map_or(0, Iterator::count));
        let descriptors = Self::new(limit, open);
        match descriptors.room() {
            0 => {
                tracing::error!(target: "sociable::balancer", limit, open, "too few open files to accept connections; raise the limit (`ulimit -n`, `LimitNOFILE=`)");
            }
            room => tracing::info!(target: "sociable::balancer", limit, open, connections = room, "limit on open files"),
        }
        descriptors
    }

    /// Returns the counts of a process with this limit, of which `open` are in use.
    pub(crate) fn new(limit: usize, open: usize) -> Arc<Self> {
        let usable = (limit - limit.div_ceil(20)).min(limit.saturating_sub(SPARE));
        Arc::new(Self { usable, open: AtomicUsize::new(open), freed: Notify::new() })
    }

    /// Returns the number of counted open descriptors.
    pub(crate) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// Returns the number of connections that still fit, each with one to its node.
    pub(crate) fn room(&self) -> usize {
        self.room_beside(self.open())
    }

    fn room_beside(&self, open: usize) -> usize {
        self.usable.saturating_sub(open) / EACH
    }

    /// Counts a descriptor in any case. Connections to nodes use this: their clients were admitted with room for them.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.open.fetch_add(1, SeqCst);
        Held(Arc::clone(self))
    }

    /// Counts one if a connection fits: for those to accept. Taken before one is accepted, so that none is closed for want of room.
    pub(crate) fn try_hold(self: &Arc<Self>) -> Option<Held> {
        let fits = |open| (self.room_beside(open) > 0).then_some(open + 1);
        self.open.fetch_update(SeqCst, SeqCst, fits).ok().map(|_| Held(Arc::clone(self)))
    }

    /// Counts a descriptor if a quarter stays free. Idle connections use this.
    pub(crate) fn hold_spare(self: &Arc<Self>) -> Option<Held> {
        let most = self.usable - self.usable / 4;
        let fits = |open| (open < most).then_some(open + 1);
        self.open.fetch_update(SeqCst, SeqCst, fits).ok().map(|_| Held(Arc::clone(self)))
    }

    /// As [`try_hold`](Self::try_hold), and waits until one fits.
    pub(crate) async fn hold_when_it_fits(self: &Arc<Self>) -> Held {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From now on no notification is missed.
            freed.as_mut().enable();
            if let Some(held) = self.try_hold() {
                return held;
            }
            freed.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let open = self.0.open.fetch_sub(1, SeqCst);
        // Nothing waits while there is room.
        if self.0.room_beside(open) == 0 {
            self.0.freed.notify_waiters();
        }
    }
}

/// Raises the limit on open files to the hard limit, and returns it.
fn raise_limit() -> usize {
    let raised = rlimit::increase_nofile_limit(u64::MAX).or_else(|error| {
        tracing::warn!(target: "sociable::balancer", %error, "raising the limit on open files failed; keeping it");
        rlimit::Resource::NOFILE.get_soft()
    });
    // Every system allows so many, if the limit is unknown.
    raised.map_or(1_024, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn descriptors_keep_a_reserve() {
        for (limit, open, room) in [
            (1_024, 0, 480),
            (1_024, 100, 430),
            (1_000_000, 0, 475_000),
            (10_000, 9_499, 0),
            (10_000, 9_498, 1),
            (66, 0, 1),
            (65, 0, 0),
            (64, 0, 0),
            (0, 0, 0),
            (10, 100, 0),
        ] {
            assert_eq!(Descriptors::new(limit, open).room(), room, "{limit}, of which {open} are open");
        }
        assert!(Descriptors::new(usize::MAX, 0).room() > 1 << 50);
    }

    #[test]
    fn descriptor_counts_until_it_is_dropped() {
        let descriptors = Descriptors::new(1_024, 0);
        let mut held = Vec::new();
        while let Some(client) = descriptors.try_hold() {
            held.push((client, descriptors.hold()));
        }
        assert_eq!((held.len(), descriptors.open(), descriptors.room()), (480, 960, 0));
        held.pop();
        assert_eq!((descriptors.open(), descriptors.room()), (958, 1));
        // Descriptors to nodes count beyond the bound.
        let more: Vec<_> = (0..10).map(|_| descriptors.hold()).collect();
        assert_eq!((descriptors.open(), descriptors.room()), (968, 0));
        drop((held, more));
        assert_eq!(descriptors.open(), 0);
        let spare: Vec<_> = std::iter::from_fn(|| descriptors.hold_spare()).collect();
        assert_eq!((spare.len(), descriptors.room()), (720, 120));
    }

    #[test]
    fn descriptors_hold_their_limit_across_threads() {
        let descriptors = Descriptors::new(1_024, 0);
        let hold_all = || std::iter::from_fn(|| descriptors.try_hold()).collect::<Vec<_>>();
        let held: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(hold_all)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        // The last connection might need a second descriptor, which is free.
        assert_eq!((held.len(), descriptors.room()), (959, 0));
    }

    #[tokio::test]
    async fn waiter_wakes_when_a_descriptor_is_freed() {
        let descriptors = Descriptors::new(68, 0);
        let first = descriptors.hold_when_it_fits().await;
        let second = descriptors.hold_when_it_fits().await;
        let third = descriptors.hold_when_it_fits().await;
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let descriptors = Arc::clone(&descriptors);
                tokio::spawn(async move { drop(descriptors.hold_when_it_fits().await) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        drop(second);
        for task in waiting {
            tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
        }
        drop((first, third));
        assert_eq!(descriptors.open(), 0);
    }

    #[test]
    fn process_has_room_for_connections() {
        let descriptors = Descriptors::of_this_process();
        let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
        assert_eq!(soft, hard);
        assert!(descriptors.open() >= 3 && descriptors.room() > 0);
    }
}
