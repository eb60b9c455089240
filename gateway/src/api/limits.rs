//! The limits of the API, and the rate and concurrency of a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::problem::{Problem, ProblemKind};

/// The limits on requests. Each has a default.
///
/// ```
/// use sociable_gateway::api::Limits;
///
/// let limits = Limits::default().max_body(64 * 1024).max_batch(10);
/// assert_eq!(limits, Limits::default().max_batch(10).max_body(65_536));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub(crate) max_body: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) max_batch: usize,
    pub(crate) max_rooms: usize,
    pub(crate) max_args: usize,
    pub(crate) max_sockets: usize,
    pub(crate) max_ack_timeout: Duration,
    pub(crate) max_idempotency_key: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) burst: Option<u32>,
    pub(crate) concurrency: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 1_000_000,
            body_timeout: Duration::from_secs(30),
            max_batch: 100,
            max_rooms: 1000,
            max_args: 100,
            max_sockets: 10_000,
            max_ack_timeout: Duration::from_secs(60),
            max_idempotency_key: 255,
            rate: None,
            burst: None,
            concurrency: 64,
        }
    }
}

impl Limits {
    /// Sets the maximum bytes of a body: 1,000,000 by default.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets the time in which a body has to arrive: 30 s by default.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets the maximum operations of a batch: 100 by default.
    #[must_use]
    pub fn max_batch(mut self, operations: usize) -> Self {
        self.max_batch = operations;
        self
    }

    /// Sets the maximum rooms in each list of an operation: 1000 by default.
    #[must_use]
    pub fn max_rooms(mut self, rooms: usize) -> Self {
        self.max_rooms = rooms;
        self
    }

    /// Sets the maximum arguments of an event: 100 by default.
    #[must_use]
    pub fn max_args(mut self, args: usize) -> Self {
        self.max_args = args;
        self
    }

    /// Sets the maximum sockets in an answer: 10,000 by default.
    #[must_use]
    pub fn max_sockets(mut self, sockets: usize) -> Self {
        self.max_sockets = sockets;
        self
    }

    /// Sets the longest deadline for acknowledgements, also of all operations of a batch together: 1 minute by default.
    #[must_use]
    pub fn max_ack_timeout(mut self, timeout: Duration) -> Self {
        self.max_ack_timeout = timeout;
        self
    }

    /// Sets the maximum bytes of an `Idempotency-Key`: 255 by default.
    #[must_use]
    pub fn max_idempotency_key(mut self, bytes: usize) -> Self {
        self.max_idempotency_key = bytes;
        self
    }

    /// Sets the operations a second of a key that has no `rate` of its own: no limit by default.
    #[must_use]
    pub fn rate(mut self, per_second: f64) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// Sets the operations that a key may do at once after a pause: those of one second by default.
    #[must_use]
    pub fn burst(mut self, operations: u32) -> Self {
        self.burst = Some(operations);
        self
    }

    /// Sets the maximum requests at the same time of a key that has no `concurrency` of its own: 64 by default.
    #[must_use]
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.concurrency = requests;
        self
    }
}

/// The rate and the concurrency of one key.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    running: AtomicU32,
    admitted: AtomicU64,
    limited: AtomicU64,
    /// The operations left, below zero after a batch. `None` before the first.
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The rate of a key: operations a second, and the most at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

/// A request that counts among those of its key until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Limiter>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limiter {
    /// Counts a request that was admitted or refused.
    pub(crate) fn count(&self, is_admitted: bool) {
        if is_admitted { &self.admitted } else { &self.limited }.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the requests that run, and those that were admitted and refused since the start.
    pub(crate) fn usage(&self) -> (u32, u64, u64) {
        (self.running.load(Ordering::Relaxed), self.admitted.load(Ordering::Relaxed), self.limited.load(Ordering::Relaxed))
    }

    /// Counts a request, unless the key has too many.
    pub(crate) fn enter(self: &Arc<Self>, concurrency: u32) -> Result<Permit, Problem> {
        let entered =
            self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| (running < concurrency).then(|| running + 1));
        let refused = |_| {
            let detail = format!("the key has {concurrency} requests at the same time: send fewer");
            Problem::new(ProblemKind::TooManyRequests, detail).retry_after(Duration::from_secs(1))
        };
        entered.map(|_| Permit(Arc::clone(self))).map_err(refused)
    }

    /// Takes one operation from the rate, unless none is left.
    pub(crate) fn take(&self, rate: Rate, now: Instant) -> Result<(), Problem> {
        let mut bucket = self.bucket.lock();
        let Bucket { left, at } = bucket.unwrap_or(Bucket { left: rate.burst, at: now });
        let left = (left + now.saturating_duration_since(at).as_secs_f64() * rate.per_second).min(rate.burst);
        let taken = if left >= 1.0 { Ok(left - 1.0) } else { Err((1.0 - left) / rate.per_second) };
        *bucket = Some(Bucket { left: taken.unwrap_or(left), at: now });
        taken.map(|_| ()).map_err(|seconds| {
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            let detail = format!("the key has used up its {} operations a second: send fewer", rate.per_second);
            Problem::new(ProblemKind::TooManyRequests, detail).retry_after(wait)
        })
    }

    /// Takes the further operations of a batch that has begun. The debt delays later requests.
    pub(crate) fn owe(&self, operations: usize) {
        if let Some(bucket) = &mut *self.bucket.lock() {
            bucket.left -= operations as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn rate_allows_a_burst_and_then_its_share() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let take = |millis| limiter.take(RATE, start + Duration::from_millis(millis)).map_err(|problem| problem.retry_secs());
        assert_eq!([take(0), take(0), take(0), take(0)], [Ok(()), Ok(()), Ok(()), Err(Some(1))]);
        assert_eq!([take(499), take(500), take(501)], [Err(Some(1)), Ok(()), Err(Some(1))]);
        assert_eq!((0..5).filter(|_| take(60_000).is_ok()).count(), 3);
    }

    #[test]
    fn batch_delays_later_requests() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        limiter.take(RATE, start).unwrap();
        limiter.owe(10);
        assert_eq!(limiter.take(RATE, start).unwrap_err().retry_secs(), Some(5));
        assert!(limiter.take(RATE, start + Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn concurrency_is_freed_with_the_permit() {
        let limiter = Arc::new(Limiter::default());
        let (first, _second) = (limiter.enter(2).unwrap(), limiter.enter(2).unwrap());
        assert_eq!(limiter.enter(2).unwrap_err().kind(), ProblemKind::TooManyRequests);
        drop(first);
        assert!(limiter.enter(2).is_ok());
    }
}
