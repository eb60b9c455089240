//! The limit of connections, derived from the file descriptors that the process may open.
//!
//! A process without free descriptors cannot answer probes, reach NATS, or reload files. So connections, WebSockets included, are counted from accept
//! to close, and some descriptors stay in reserve.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The smallest reserve of descriptors: for administration, NATS, files, and connections that are being refused.
const RESERVE: usize = 96;
/// The largest limit: more connections than a process can serve.
const MOST: usize = 1 << 20;
/// The directory that lists the descriptors of the process.
const LISTED: &str = "/proc/self/fd";

/// The count of connections, over all threads.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: AtomicUsize,
    held: AtomicUsize,
    /// The number of refused connections that linger.
    pub(crate) lingering: AtomicUsize,
}

impl Default for Connections {
    fn default() -> Self {
        Self { limit: AtomicUsize::new(usize::MAX), held: AtomicUsize::new(0), lingering: AtomicUsize::new(0) }
    }
}

impl Connections {
    /// Sets the limit: `most`, or as many as the process has descriptors for. Returns it.
    pub(crate) fn limit_to(&self, most: usize) -> usize {
        // The usual soft limit, where the system does not report one.
        let files = rlimit::Resource::NOFILE.get_soft().map_or(1024, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let open = std::fs::read_dir(LISTED).map_or(0, Iterator::count);
        let limit = fitting(files, open).min(most);
        match limit {
            0 => {
                tracing::error!(target: "sociable::serve", files, open, "no file descriptors left for connections: raise the limit on open files (`ulimit -n`, `LimitNOFILE=`)");
            }
            connections => tracing::info!(target: "sociable::serve", files, open, connections, "limit on connections"),
        }
        self.limit.store(limit, Relaxed);
        limit
    }

    /// Returns whether new sessions may open. Some connections are reserved for existing sessions.
    pub(crate) fn has_room(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        self.held() <= limit - limit / 16
    }

    /// Returns the number of open connections.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(crate) fn try_hold(self: &Arc<Self>) -> Option<Held> {
        let fits = |held: usize| (held < self.limit.load(Relaxed)).then_some(held + 1);
        self.held.fetch_update(Relaxed, Relaxed, fits).ok().map(|_| Held(Arc::clone(self)))
    }
}

/// Returns how many connections fit into a limit of `files` descriptors, of which some are open.
fn fitting(files: usize, open: usize) -> usize {
    files.saturating_sub((files / 20).max(RESERVE)).saturating_sub(open).min(MOST)
}

/// Returns how many connections may wait to be accepted. All of them may be accepted at once beyond the limit.
pub(crate) fn backlog(limit: usize) -> usize {
    (limit / 40).max(32)
}

/// A counted connection. Dropping this ends the count.
#[derive(Debug)]
pub(crate) struct Held(Arc<Connections>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_reserved() {
        for (files, open, connections) in [(1024, 0, 928), (1024, 20, 908), (100_000, 0, 95_000), (96, 0, 0), (0, 0, 0), (100, 90, 0)] {
            assert_eq!(fitting(files, open), connections, "{files}, of which {open} are open");
        }
        assert_eq!(fitting(usize::MAX, 0), MOST);
    }

    #[test]
    fn connections_are_counted_until_they_close() {
        let connections = Arc::new(Connections { limit: AtomicUsize::new(32), ..Connections::default() });
        let mut held: Vec<_> = std::iter::from_fn(|| connections.try_hold()).collect();
        assert_eq!((held.len(), connections.has_room()), (32, false));
        held.truncate(30);
        assert!(connections.has_room());
        drop(held);
        assert_eq!(connections.held(), 0);
    }
}
