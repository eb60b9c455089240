//! The budget for buffered bytes: for slow readers, and for incomplete heads. All connections share it.
//!
//! A full budget closes no connection. Reads shrink as the budget does, so the rest stays with the sender.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use prometheus_client::metrics::gauge::Gauge;

/// The most that one read takes, and so the most that a connection holds for a slow reader.
pub(crate) const BUFFER: usize = 64 * 1024;
/// One read takes this part of the rest, so that a part always stays for the next.
const SHARE: usize = 16;
/// The least that one read takes.
const LEAST: usize = 1024;

/// Bytes that wait, and their bound.
#[derive(Debug)]
pub(crate) struct WaitingBudget {
    limit: AtomicUsize,
    waiting: Gauge,
}

impl WaitingBudget {
    pub(crate) fn new(limit: usize, waiting: Gauge) -> Self {
        Self { limit: AtomicUsize::new(limit), waiting }
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// Returns the most that one read may take.
    #[inline]
    pub(crate) fn read_size(&self) -> usize {
        (self.remaining() / SHARE).clamp(LEAST, BUFFER)
    }

    /// Returns how many more bytes may wait.
    pub(crate) fn remaining(&self) -> usize {
        let waiting = usize::try_from(self.waiting.get()).unwrap_or(0);
        self.limit.load(Relaxed).saturating_sub(waiting)
    }

    /// Replaces a count of bytes.
    pub(crate) fn adjust(&self, before: usize, now: usize) {
        adjust(&self.waiting, before, now);
    }
}

/// The bytes of one connection that wait. They count until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct WaitingBytes {
    waiting: Option<Gauge>,
    bytes: usize,
}

impl WaitingBytes {
    /// Counts the bytes that wait now.
    #[inline]
    pub(crate) fn set(&mut self, budget: &WaitingBudget, bytes: usize) {
        if bytes != self.bytes {
            adjust(self.waiting.get_or_insert_with(|| budget.waiting.clone()), self.bytes, bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for WaitingBytes {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            adjust(waiting, self.bytes, 0);
        }
    }
}

fn adjust(waiting: &Gauge, before: usize, now: usize) {
    waiting.inc_by(now as i64 - before as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_shrink_when_many_bytes_wait() {
        let budget = WaitingBudget::new(4 << 20, Gauge::default());
        assert_eq!(budget.read_size(), BUFFER);
        let mut waiting = 0;
        for _ in 0..10_000 {
            let piece = budget.read_size();
            budget.adjust(0, piece);
            waiting += piece;
        }
        assert_eq!(budget.read_size(), LEAST);
        assert!(waiting < (4 << 20) + 10_000 * LEAST, "{waiting}");
        budget.adjust(waiting, 0);
        assert_eq!((budget.read_size(), budget.remaining()), (BUFFER, 4 << 20));
    }
}
