//! The memory that clients take: one budget for all sessions of a process.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that are held for clients, counted over all threads.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    used: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// Counts bytes if they fit. False if they do not.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    /// Counts bytes that are held already, beyond the limit too.
    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Gives back bytes that were counted.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// True if another session fits. An eighth is left to what living sessions need.
    pub(crate) fn has_room(&self) -> bool {
        self.used() < self.limit - self.limit / 8
    }
}

/// Bytes of the budget that are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    memory: &'a Memory,
    bytes: usize,
}

impl<'a> Lent<'a> {
    pub(crate) fn none(memory: &'a Memory) -> Self {
        Self { memory, bytes: 0 }
    }

    /// Counts more bytes if they fit. False if they do not.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let fits = self.memory.take(bytes);
        if fits {
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_lent_up_to_its_limit() {
        let memory = Memory::new(100);
        assert!(memory.take(60) && !memory.take(41) && memory.has_room());
        let mut lent = Lent::none(&memory);
        assert!(lent.grow(40) && !lent.grow(1) && !memory.has_room());
        memory.add(10);
        drop(lent);
        assert_eq!(memory.used(), 70);
        memory.give_back(70);
        assert!(memory.take(100) && !memory.take(usize::MAX));
    }
}
