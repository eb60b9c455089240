//! The memory budgets of a process: one for inbound data of clients, one for outbound data of slow clients.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The number of bytes of one client that are not worth counting.
pub(crate) const SMALL: usize = 4096;
/// The divisor of a client's share of the free budget. However many clients take theirs, some is free for the next.
const SHARE: usize = 16;

/// The budgets of all sessions of a process: bytes held for clients, and bytes that wait for slow clients.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    used: AtomicUsize,
    /// The limit of bytes that wait for slow clients.
    most_unread: usize,
    unread: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(limit: usize, most_unread: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), most_unread, unread: AtomicUsize::new(0) }
    }

    /// Takes more bytes for a holder of `held` bytes, if they fit into its share. Returns false if they do not.
    pub(crate) fn acquire(&self, held: usize, bytes: usize) -> bool {
        let fits = |used: usize| {
            let left = self.limit.saturating_sub(used.saturating_sub(held));
            (held.saturating_add(bytes) <= left / SHARE).then_some(used.saturating_add(bytes))
        };
        self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    /// Takes bytes that are held already, even beyond the limit.
    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Returns bytes to the budget.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    /// Returns the number of bytes held.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Updates the bytes that wait for a slow client from `before` to `now`. Returns false if they grew beyond the client's share.
    pub(crate) fn count_unread(&self, before: usize, now: usize) -> bool {
        if now <= before {
            self.unread.fetch_sub(before - now, Relaxed);
            return true;
        }
        let others = self.unread.fetch_add(now - before, Relaxed).saturating_sub(before);
        now <= self.share(others)
    }

    /// Returns whether a client may let so many more bytes wait.
    pub(crate) fn may_leave_unread(&self, bytes: usize) -> bool {
        bytes <= self.share(self.unread())
    }

    /// Returns the number of bytes that wait for slow clients.
    pub fn unread(&self) -> usize {
        self.unread.load(Relaxed)
    }

    fn share(&self, others: usize) -> usize {
        self.most_unread.saturating_sub(others) / SHARE
    }

    /// Returns whether the budget admits another session or unfinished handler. An eighth is reserved for open sessions.
    pub(crate) fn has_room(&self) -> bool {
        self.used() < self.limit - self.limit / 8
    }
}

/// Bytes of the budget that a drop returns.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    memory: &'a Memory,
    bytes: usize,
}

impl<'a> Lent<'a> {
    pub(crate) fn none(memory: &'a Memory) -> Self {
        Self { memory, bytes: 0 }
    }

    /// Grows the loan to `bytes` in all. Returns false if they do not fit.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = more == 0 || self.memory.acquire(self.bytes, more);
        if fits {
            self.bytes += more;
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
    fn memory_is_lent_up_to_the_limit() {
        let memory = Memory::new(1600, 0);
        assert!(memory.acquire(0, 60) && memory.acquire(60, 40) && !memory.acquire(100, 1) && !memory.acquire(0, usize::MAX));
        let mut lent = Lent::none(&memory);
        assert!(lent.grow_to(30) && lent.grow_to(93) && !lent.grow_to(94) && memory.has_room());
        memory.add(1300);
        assert!(!memory.has_room() && memory.acquire(0, 5) && !memory.acquire(0, 10), "a small holder gets a little");
        drop(lent);
        assert_eq!(memory.used(), 1405);
        memory.give_back(1405);
        assert!(memory.acquire(0, 100));
    }

    #[test]
    fn unread_bytes_leave_room_for_the_next_client() {
        const LIMIT: usize = 1 << 20;
        let memory = Memory::new(0, LIMIT);
        assert!(memory.count_unread(0, LIMIT / 16));
        assert!(!memory.count_unread(LIMIT / 16, LIMIT / 16 + 1));
        assert!(memory.count_unread(LIMIT / 16 + 1, 0));
        // Many clients use their whole share.
        let mut held = vec![];
        for _ in 0..1_000 {
            let share = memory.share(memory.unread());
            assert!(memory.may_leave_unread(share) && memory.count_unread(0, share));
            held.push(share);
        }
        assert!(memory.unread() <= LIMIT && held[0] == LIMIT / 16);
        // Large holders cannot grow.
        assert!(!memory.count_unread(held[0], held[0] + 1));
        assert!(memory.count_unread(held[0] + 1, 0) && memory.may_leave_unread(4096));
    }
}
