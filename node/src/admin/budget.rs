//! A number of things that may be done in each second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub(super) struct Budget {
    per_second: u32,
    start: Instant,
    /// The current second in the upper half, and what it has used in the lower one.
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, start: Instant::now(), used: AtomicU64::new(0) }
    }

    /// Uses one unit. False if the second has none left.
    pub(super) fn spend(&self) -> bool {
        let now = self.second();
        let spend = |used| self.left(used, now).then(|| if used >> 32 == now { used + 1 } else { now << 32 | 1 });
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }

    /// Returns whether the second has a unit left.
    pub(super) fn has_left(&self) -> bool {
        self.left(self.used.load(Ordering::Relaxed), self.second())
    }

    fn left(&self, used: u64, now: u64) -> bool {
        let spent = if used >> 32 == now { used as u32 } else { 0 };
        spent < self.per_second
    }

    fn second(&self) -> u64 {
        self.start.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_has_its_budget_and_no_more() {
        let budget = Budget::new(3);
        budget.used.store(u64::from(u32::MAX) << 32 | 2, Ordering::Relaxed);
        // Another second begins with the whole budget. The test may cross one.
        assert!((0..3).all(|_| budget.has_left() && budget.spend()));
        assert!(!Budget::new(0).spend() && !Budget::new(0).has_left());
    }
}
