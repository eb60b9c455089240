//! The bounds on logins by password. A check of bcrypt is slow on purpose, so strangers must not make a node check passwords all the time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Checks one password at a time. Few others wait, and failures have a rate.
pub(super) struct Attempts {
    turn: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
    per_minute: f64,
    left: Mutex<Left>,
}

/// The failures that are left, as of a time.
struct Left {
    failures: f64,
    at: Instant,
}

/// A login that may check its password.
pub(super) struct Turn<'a> {
    attempts: &'a Attempts,
    _permit: SemaphorePermit<'a>,
}

impl Attempts {
    pub(super) fn new(per_minute: u32, max_waiting: usize) -> Self {
        let per_minute = f64::from(per_minute);
        let left = Mutex::new(Left { failures: per_minute, at: Instant::now() });
        Self { turn: Semaphore::new(1), waiting: AtomicUsize::new(0), max_waiting, per_minute, left }
    }

    /// Waits for the turn of a login, and counts it as a failure. `None` if too many logins wait or have failed.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let _waiting = match self.turn.try_acquire() {
            Ok(permit) => return self.spend().then_some(Turn { attempts: self, _permit: permit }),
            Err(_) => Waiting::enter(self)?,
        };
        let permit = self.turn.acquire().await.ok()?;
        self.spend().then_some(Turn { attempts: self, _permit: permit })
    }

    /// Spends one failure, if there is one left.
    fn spend(&self) -> bool {
        let mut left = self.left.lock();
        let now = Instant::now();
        let gained = now.duration_since(left.at).as_secs_f64() * self.per_minute / 60.0;
        *left = Left { failures: (left.failures + gained).min(self.per_minute), at: now };
        let may = left.failures >= 1.0;
        if may {
            left.failures -= 1.0;
        }
        may
    }
}

impl Turn<'_> {
    /// Gives the failure back: the password was right.
    pub(super) fn succeeded(self) {
        self.attempts.left.lock().failures += 1.0;
    }
}

/// A login that waits.
struct Waiting<'a>(&'a Attempts);

impl<'a> Waiting<'a> {
    fn enter(attempts: &'a Attempts) -> Option<Self> {
        let this = Self(attempts);
        (attempts.waiting.fetch_add(1, Ordering::AcqRel) < attempts.max_waiting).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn logins_wait_for_each_other_up_to_a_bound() {
        let attempts = Attempts::new(100, 1);
        let first = attempts.turn().now_or_never().flatten().unwrap();
        let mut second = Box::pin(attempts.turn());
        assert!((&mut second).now_or_never().is_none(), "it waits");
        assert!(attempts.turn().now_or_never().unwrap().is_none(), "no room to wait");
        drop(first);
        assert!(second.now_or_never().unwrap().is_some());
        assert_eq!(attempts.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn failures_are_bounded_and_successes_are_free() {
        let attempts = Attempts::new(2, 0);
        for _ in 0..5 {
            attempts.turn().now_or_never().flatten().unwrap().succeeded();
        }
        assert!((0..2).all(|_| attempts.turn().now_or_never().unwrap().is_some()));
        assert!(attempts.turn().now_or_never().unwrap().is_none());
    }
}
