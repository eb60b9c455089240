//! A URL with its circuit breaker, its budget and its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use super::breaker::{Breaker, Change, Pass};
use super::complaints::{Complaint, Complaints};
use super::settings::Settings;
use super::target::HookUrl;

/// A URL of a backend. All namespaces that name it share it.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The index among the endpoints.
    pub(super) index: usize,
    pub(super) url: HookUrl,
    /// The URL without its query.
    pub(super) name: String,
    pub(super) breaker: Breaker,
    /// One for each request that may run.
    pub(super) permits: Semaphore,
    pub(super) queue: Arc<Budget>,
    total: Arc<Budget>,
    pub(super) counters: Counters,
    pub(super) complaints: Complaints,
    /// Set while the log says that the circuit breaker is open.
    logged_open: AtomicBool,
}

/// Bytes that may wait.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// Notified when nothing waits.
    idle: Notify,
}

/// Bytes that wait, of the budgets of a URL and of all. Dropping this returns them.
#[derive(Debug)]
pub(super) struct Charge {
    budgets: [Arc<Budget>; 2],
    bytes: usize,
}

/// The outcome of a webhook, as a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The backend answered.
    Delivered,
    /// The backend refused a socket.
    Refused,
    /// The backend answered with another status or with nonsense, or all attempts failed.
    Failed,
    /// The deadline passed.
    Expired,
    /// The circuit breaker was open.
    BreakerOpen,
    /// A queue was full, or the node stopped.
    Dropped,
}

impl Outcome {
    pub(super) const ALL: [(Self, &str); 6] = [
        (Self::Delivered, "delivered"),
        (Self::Refused, "refused"),
        (Self::Failed, "failed"),
        (Self::Expired, "expired"),
        (Self::BreakerOpen, "breaker_open"),
        (Self::Dropped, "dropped"),
    ];
}

/// The result of one request, as a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptResult {
    Answered,
    /// A status that is no success.
    Status,
    Timeout,
    /// The connection failed.
    Connection,
    /// The answer was too long, or was no answer.
    Nonsense,
}

impl AttemptResult {
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::Answered, "answered"),
        (Self::Status, "status"),
        (Self::Timeout, "timeout"),
        (Self::Connection, "connection"),
        (Self::Nonsense, "nonsense"),
    ];
}

/// The counters of a URL.
#[derive(Debug, Default)]
pub(super) struct Counters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    attempts: [AtomicU64; AttemptResult::ALL.len()],
    pub(super) retries: AtomicU64,
    pub(super) breaker_opened: AtomicU64,
    /// Parts of answers that could not be applied.
    pub(super) unapplied: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_many(&self, outcome: Outcome, number: usize) {
        self.outcomes[outcome as usize].fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(super) fn attempted(&self, result: AttemptResult) {
        self.attempts[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL.iter().map(|(outcome, name)| (*name, self.outcomes[*outcome as usize].load(Ordering::Relaxed)))
    }

    pub(super) fn attempts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        AttemptResult::ALL.iter().map(|(result, name)| (*name, self.attempts[*result as usize].load(Ordering::Relaxed)))
    }
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit, idle: Notify::new() })
    }

    /// Takes bytes, unless too few are left.
    fn take(&self, bytes: usize) -> bool {
        let take = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        if self.used.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            self.idle.notify_waiters();
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Waits until nothing waits.
    pub(super) async fn empty(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // From here on, no change is missed.
            idle.as_mut().enable();
            if self.used() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Charge {
    /// Returns the charge for bytes that wait, or `None` if a budget is used up.
    fn new(budgets: [&Arc<Budget>; 2], bytes: usize) -> Option<Self> {
        let mut charge = Self { budgets: budgets.map(Arc::clone), bytes: 0 };
        charge.grow(bytes)?;
        Some(charge)
    }

    /// Takes more, up to these bytes. Returns `None` and takes nothing if a budget is used up.
    pub(super) fn grow(&mut self, bytes: usize) -> Option<()> {
        let more = bytes.saturating_sub(self.bytes);
        let [queue, total] = &self.budgets;
        if !queue.take(more) {
            return None;
        }
        if !total.take(more) {
            queue.give_back(more);
            return None;
        }
        self.bytes += more;
        Some(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budgets.iter().for_each(|budget| budget.give_back(self.bytes));
    }
}

impl Endpoint {
    pub(super) fn new(index: usize, url: HookUrl, settings: &Settings, total: &Arc<Budget>) -> Self {
        Self {
            index,
            name: url.name(),
            url,
            breaker: Breaker::new(settings.breaker_failures, settings.backoff, settings.breaker_open),
            permits: Semaphore::new(settings.concurrency.min(Semaphore::MAX_PERMITS)),
            queue: Budget::new(settings.queue_bytes),
            total: Arc::clone(total),
            counters: Counters::default(),
            complaints: Complaints::default(),
            logged_open: AtomicBool::new(false),
        }
    }

    /// Returns the charge for bytes that wait, or `None` if a budget is used up.
    pub(super) fn charge(&self, bytes: usize) -> Option<Charge> {
        Charge::new([&self.queue, &self.total], bytes)
    }

    /// Notes the outcome of a request, with the cause if it failed.
    pub(super) fn settle(&self, pass: Pass<'_>, works: bool, cause: &str) {
        match if works { pass.succeeded() } else { pass.failed() } {
            // The warning of the opening may have been suppressed.
            Change::None if !works && !self.breaker.is_closed() => self.warn_of_open_breaker(cause),
            Change::None => {}
            Change::Opened => {
                self.counters.breaker_opened.fetch_add(1, Ordering::Relaxed);
                self.warn_of_open_breaker(cause);
            }
            Change::Closed if self.logged_open.swap(false, Ordering::AcqRel) => {
                tracing::info!(target: "sociable::webhooks", url = self.name, "backend available; circuit breaker closed");
            }
            Change::Closed => {}
        }
    }

    /// Warns of an open circuit breaker, unless the log says so already.
    fn warn_of_open_breaker(&self, cause: &str) {
        if !self.logged_open.load(Ordering::Acquire)
            && let Some(suppressed) = self.complaints.admit(Complaint::Open)
        {
            self.logged_open.store(true, Ordering::Release);
            tracing::warn!(target: "sociable::webhooks", url = self.name, cause, suppressed, "backend unavailable; circuit breaker open");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charge_is_refused_when_a_budget_is_used_up() {
        let (queue, total) = (Budget::new(10), Budget::new(15));
        let charge = |bytes| Charge::new([&queue, &total], bytes);
        let first = charge(10).unwrap();
        assert!(charge(1).is_none());
        drop(first);
        let other = Budget::new(10);
        let second = Charge::new([&other, &total], 10).unwrap();
        assert!(charge(6).is_none(), "the budget of all");
        assert_eq!((queue.used(), total.used()), (0, 10));
        drop(second);
        assert_eq!(total.used(), 0);
    }

    #[test]
    fn charge_grows_up_to_the_budgets() {
        let (queue, total) = (Budget::new(10), Budget::new(8));
        let mut charge = Charge::new([&queue, &total], 4).unwrap();
        assert!(charge.grow(9).is_none());
        assert_eq!((queue.used(), total.used()), (4, 4));
        charge.grow(8).unwrap();
        charge.grow(2).unwrap();
        assert_eq!((queue.used(), total.used()), (8, 8));
        drop(charge);
        assert_eq!((queue.used(), total.used()), (0, 0));
    }

    #[test]
    fn labels_stand_in_the_order_of_their_values() {
        assert!(Outcome::ALL.iter().enumerate().all(|(index, (outcome, _))| *outcome as usize == index));
        assert!(AttemptResult::ALL.iter().enumerate().all(|(index, (result, _))| *result as usize == index));
    }
}
