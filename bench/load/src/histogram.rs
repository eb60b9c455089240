//! Latencies in buckets: 64 for each power of two, so that a figure is at most 1.6 % off.

use crate::report::{Latency, Spread};

const PRECISION: u32 = 6;
const BUCKETS: usize = 1 << PRECISION;

/// A histogram of nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    highest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; (65 - PRECISION as usize) * BUCKETS], count: 0, highest: 0 }
    }
}

impl Histogram {
    fn bucket(value: u64) -> usize {
        if value < BUCKETS as u64 {
            return value as usize;
        }
        let shift = 63 - value.leading_zeros() - PRECISION;
        (shift as usize + 1) * BUCKETS + ((value >> shift) as usize & (BUCKETS - 1))
    }

    /// Returns the value in the middle of a bucket.
    fn middle(bucket: usize) -> u64 {
        if bucket < BUCKETS {
            return bucket as u64;
        }
        let shift = (bucket / BUCKETS - 1) as u32;
        (((BUCKETS + bucket % BUCKETS) as u64) << shift) + (1 << shift) / 2
    }

    /// Counts one latency.
    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.buckets[Self::bucket(nanoseconds)] += 1;
        self.count += 1;
        self.highest = self.highest.max(nanoseconds);
    }

    fn quantile(&self, share: f64) -> u64 {
        let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map_or(self.highest, |bucket| Self::middle(bucket).min(self.highest))
    }

    /// Returns the latencies in microseconds, or nothing if none was recorded.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let micros = |nanoseconds: u64| (nanoseconds as f64 / 100.0).round() / 10.0;
        (self.count > 0).then(|| Latency {
            p50_us: micros(self.quantile(0.5)),
            p99_us: micros(self.quantile(0.99)),
            p999_us: micros(self.quantile(0.999)),
            max_us: micros(self.highest),
        })
    }

    /// Returns the times of so many clients in milliseconds, or nothing if none is through. Those that are not recorded are not through.
    pub(crate) fn spread(&self, clients: u64) -> Option<Spread> {
        let of = |share: f64| {
            let share = share * clients as f64 / self.count as f64;
            (share <= 1.0).then(|| (self.quantile(share) as f64 / 1e5).round() / 10.0)
        };
        (self.count > 0).then(|| Spread { p50_ms: of(0.5), p99_ms: of(0.99), all_ms: of(1.0) })
    }

    /// Returns the number of recorded times.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_as_precise_as_their_buckets() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000 {
            histogram.record(value);
        }
        for (share, expected) in [(0.5, 50_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let error = (histogram.quantile(share) as f64 - expected).abs() / expected;
            assert!(error < 0.016, "{share}: {error}");
        }
        assert_eq!(histogram.latency().unwrap().max_us, 100.0);
    }

    #[test]
    fn spread_counts_those_that_are_not_through() {
        let mut histogram = Histogram::default();
        for second in 1..=99 {
            histogram.record(second * 1_000_000_000);
        }
        let of_all = histogram.spread(99).unwrap();
        assert_eq!(of_all.all_ms, Some(99_000.0));
        let Spread { p50_ms, p99_ms, all_ms } = histogram.spread(100).unwrap();
        assert!(p50_ms.is_some_and(|half| (half - 50_000.0).abs() < 800.0), "{p50_ms:?}");
        assert!(p99_ms.is_some() && all_ms.is_none());
        assert_eq!(Histogram::default().spread(1), None);
    }

    #[test]
    fn every_value_has_a_bucket() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 63, 64, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.count, 5);
        assert_eq!(Histogram::default().latency(), None);
    }
}
