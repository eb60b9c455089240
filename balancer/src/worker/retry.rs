//! The budget for retries: requests that may be tried at another node.

use std::cell::Cell;

/// The requests per allowed retry, and the burst. If all nodes fail, retries make it worse.
const PER_RETRY: u32 = 5;
const RETRIES_AT_ONCE: u32 = 20;

/// The budget of retries. Each request to a node earns a part of one.
#[derive(Debug)]
pub(crate) struct RetryBudget(Cell<u32>);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Cell::new(RETRIES_AT_ONCE * PER_RETRY))
    }
}

impl RetryBudget {
    pub(crate) fn earn(&self) {
        self.0.set((self.0.get() + 1).min(RETRIES_AT_ONCE * PER_RETRY));
    }

    pub(crate) fn spend(&self) -> bool {
        let left = self.0.get().checked_sub(PER_RETRY);
        self.0.set(left.unwrap_or(self.0.get()));
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_earned_by_requests() {
        let budget = RetryBudget::default();
        let spent = || (0..1_000).take_while(|_| budget.spend()).count();
        assert_eq!(spent(), 20);
        (0..11).for_each(|_| budget.earn());
        assert_eq!(spent(), 2);
        (0..100_000).for_each(|_| budget.earn());
        assert_eq!(spent(), 20);
    }
}
