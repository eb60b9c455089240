//! A histogram of durations that many threads write without contention.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the buckets in seconds, inclusive. The last bucket has none.
const BOUNDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// A histogram of durations.
///
/// ```
/// use std::time::Duration;
/// use sociable_protocol::Latency;
///
/// let latency = Latency::default();
/// latency.observe(Duration::from_millis(3));
/// latency.observe(Duration::from_secs(60));
/// let times = latency.times();
/// assert_eq!(times.count(), 2);
/// assert_eq!(times.buckets().last(), Some((f64::INFINITY, 1)));
/// ```
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Latency {
    /// Records one duration.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[at].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Returns a snapshot.
    pub fn times(&self) -> Times {
        Times { buckets: std::array::from_fn(|at| self.buckets[at].load(Relaxed)), micros: self.micros.load(Relaxed) }
    }
}

/// A snapshot of a histogram of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    buckets: [u64; BOUNDS.len() + 1],
    micros: u64,
}

impl Times {
    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of all durations, in seconds.
    pub fn sum(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// Returns the upper bound of each bucket in seconds, infinity for the last, with the number of durations in it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().chain([f64::INFINITY]).zip(self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_counted_in_the_first_bucket_that_fits() {
        let latency = Latency::default();
        for micros in [0, 500, 501, 30_000_000, 30_000_001] {
            latency.observe(Duration::from_micros(micros));
        }
        let times = latency.times();
        let filled: Vec<_> = times.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0005, 2), (0.001, 1), (30.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((times.count(), times.sum()), (5, 60.001002));
    }
}
