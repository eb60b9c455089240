//! Rate limits, of all or for each client.
//!
//! A token bucket is stored as one moment: the time when it is full again. Each token moves that time by the refill
//! time of one token. A token that would move it further than a full refill from now is refused.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;

use crate::client::network::network;

/// Parts of [`Buckets`], each with a lock of its own.
const SHARDS: usize = 16;
/// The interval at which a full shard is swept.
const SWEEP: Duration = Duration::from_secs(1);
/// The rate of the log's line about too many clients.
const TELL: f64 = 1.0 / 60.0;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The time until a token is back.
    interval: Duration,
    /// The time until all tokens are back.
    refill: Duration,
}

/// An invalid [`Rate`].
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum RateError {
    /// Too few or too many a second, or no number.
    #[error("invalid rate of {0} a second; choose one from 0.001 to 1000000")]
    PerSecond(f64),
    /// With a burst of none nothing would ever be let through.
    #[error("burst of 0 admits nothing; choose 1 or more")]
    Burst,
}

impl Rate {
    /// `per_second` on average, and `burst` at once after a silence.
    pub(crate) fn new(per_second: f64, burst: u32) -> Result<Self, RateError> {
        if !(0.001..=1e6).contains(&per_second) {
            return Err(RateError::PerSecond(per_second));
        }
        if burst == 0 {
            return Err(RateError::Burst);
        }
        let interval = Duration::from_secs_f64(1.0 / per_second);
        Ok(Self { interval, refill: interval.saturating_mul(burst) })
    }

    /// Returns the time when the bucket is full again after this token, or the wait until there is a token.
    fn acquire(&self, full: Duration, now: Duration) -> Result<Duration, Duration> {
        let full = full.max(now).saturating_add(self.interval);
        match full.saturating_sub(now).saturating_sub(self.refill) {
            Duration::ZERO => Ok(full),
            wait => Err(wait),
        }
    }
}

/// One bucket, shared by all threads without a lock.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    start: Instant,
    /// The time when the bucket is full, in nanoseconds since `start`: 584 years fit.
    full: AtomicU64,
}

impl Bucket {
    /// A bucket that is full.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, start: Instant::now(), full: AtomicU64::new(0) }
    }

    /// Takes a token, or returns the wait until there is one.
    pub(crate) fn acquire(&self, now: Instant) -> Result<(), Duration> {
        let now = now.saturating_duration_since(self.start);
        let mut full = self.full.load(Relaxed);
        loop {
            let next = self.rate.acquire(Duration::from_nanos(full), now)?;
            let next = u64::try_from(next.as_nanos()).unwrap_or(u64::MAX);
            match self.full.compare_exchange_weak(full, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => full = changed,
            }
        }
    }
}

/// A bucket for each client, which is a [network]. All threads share it.
///
/// The number of buckets is bounded. A full bucket is equal to none, so it is dropped when its place is needed.
///
/// If active clients have all places, further clients share their shard's bucket. This bucket is as large as one
/// client's. They may find it empty. A flood of clients therefore costs no memory, and can't evict the buckets of
/// others.
///
/// [network]: crate::client::network
pub(crate) struct Buckets {
    rate: Rate,
    /// The most buckets of a shard.
    most: usize,
    start: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    shared: AtomicU64,
    tell: Option<Bucket>,
}

struct Shard {
    /// The time when the bucket of a network is full, since `start`.
    full: HashMap<u64, Duration, RandomState>,
    /// The same for the bucket of clients without a place.
    rest: Duration,
    /// The time of the next sweep.
    sweep: Duration,
}

impl Buckets {
    /// Returns buckets of this rate for at most so many clients. Each client costs about 40 bytes from its first token.
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        let hasher = RandomState::new();
        let shard = |_| Mutex::new(Shard { full: HashMap::with_hasher(hasher.clone()), rest: Duration::ZERO, sweep: Duration::ZERO });
        Self {
            rate,
            most: most.div_ceil(SHARDS),
            start: Instant::now(),
            shards: std::array::from_fn(shard),
            hasher,
            shared: AtomicU64::new(0),
            tell: Rate::new(TELL, 1).ok().map(Bucket::new),
        }
    }

    /// Takes a token of the client with this address, or returns the wait until there is one.
    pub(crate) fn acquire(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let network = network(address);
        let since = now.saturating_duration_since(self.start);
        // Other bits than those by which the map finds a place.
        let index = (self.hasher.hash_one(network) >> 32) as usize % SHARDS;
        let mut guard = self.shards[index].lock();
        let shard = &mut *guard;
        if let Some(full) = shard.full.get_mut(&network) {
            *full = self.rate.acquire(*full, since)?;
            return Ok(());
        }
        if shard.full.len() >= self.most && since >= shard.sweep {
            shard.sweep = since.saturating_add(SWEEP);
            shard.full.retain(|_, full| *full > since);
        }
        if shard.full.len() < self.most {
            shard.full.insert(network, self.rate.acquire(Duration::ZERO, since)?);
            return Ok(());
        }
        let taken = self.rate.acquire(shard.rest, since).map(|full| shard.rest = full);
        drop(guard);
        self.shared.fetch_add(1, Relaxed);
        if self.tell.as_ref().is_some_and(|tell| tell.acquire(now).is_ok()) {
            tracing::warn!(target: "sociable::balancer", most = self.most * SHARDS, "too many clients to count each; further ones share a limit");
        }
        taken
    }

    /// Returns the wait of the client with this address for a token. Takes none. A client without a bucket of its own
    /// does not wait.
    pub(crate) fn wait(&self, address: IpAddr, now: Instant) -> Duration {
        let network = network(address);
        let since = now.saturating_duration_since(self.start);
        let index = (self.hasher.hash_one(network) >> 32) as usize % SHARDS;
        let full = self.shards[index].lock().full.get(&network).copied();
        full.and_then(|full| self.rate.acquire(full, since).err()).unwrap_or_default()
    }

    /// Returns the number of clients with a bucket of their own.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().full.len()).sum()
    }

    /// Returns how often a client without a place used a shared bucket.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> u64 {
        self.shared.load(Relaxed)
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("rate", &self.rate).field("clients", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: f64, burst: u32) -> Rate {
        Rate::new(per_second, burst).unwrap()
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    /// Returns the number of tokens that are available at once.
    fn drain(mut take: impl FnMut() -> Result<(), Duration>) -> usize {
        (0..10_000).take_while(|_| take().is_ok()).count()
    }

    #[test]
    fn rate_is_refused_when_out_of_range() {
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e7] {
            assert!(matches!(Rate::new(per_second, 1), Err(RateError::PerSecond(_))), "{per_second}");
        }
        assert_eq!(Rate::new(1.0, 0), Err(RateError::Burst));
        assert!(Rate::new(0.001, u32::MAX).is_ok());
    }

    #[test]
    fn bucket_gives_its_burst_then_its_rate() {
        let bucket = Bucket::new(rate(10.0, 5));
        let now = Instant::now();
        assert_eq!(drain(|| bucket.acquire(now)), 5);
        assert_eq!(bucket.acquire(now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.acquire(now + Duration::from_millis(60)), Err(Duration::from_millis(40)));
        assert_eq!(drain(|| bucket.acquire(now + Duration::from_millis(100))), 1);
        assert_eq!(drain(|| bucket.acquire(now + Duration::from_secs(60))), 5);
    }

    #[test]
    fn bucket_holds_its_rate_across_threads() {
        let bucket = Bucket::new(rate(1.0, 1_000));
        let now = Instant::now();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| drain(|| bucket.acquire(now)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn clients_have_separate_buckets() {
        let buckets = Buckets::new(rate(10.0, 3), 1_000);
        let now = Instant::now();
        for n in 0..100 {
            assert_eq!(drain(|| buckets.acquire(address(n), now)), 3);
        }
        assert_eq!(buckets.acquire(address(7), now), Err(Duration::from_millis(100)));
        assert_eq!((buckets.len(), buckets.shared()), (100, 0));
    }

    #[test]
    fn wait_time_takes_no_token() {
        let buckets = Buckets::new(rate(10.0, 2), 1_000);
        let now = Instant::now();
        assert_eq!((buckets.wait(address(1), now), buckets.len()), (Duration::ZERO, 0));
        assert_eq!(drain(|| buckets.acquire(address(1), now)), 2);
        assert_eq!([1, 2].map(|n| buckets.wait(address(n), now)), [Duration::from_millis(100), Duration::ZERO]);
        let later = now + Duration::from_millis(100);
        assert_eq!([1, 1].map(|n| buckets.wait(address(n), later)), [Duration::ZERO; 2]);
        assert_eq!(drain(|| buckets.acquire(address(1), later)), 1);
    }

    #[test]
    fn ipv6_network_counts_as_one_client() {
        let buckets = Buckets::new(rate(1.0, 10), 1_000);
        let now = Instant::now();
        let addresses = (0..50_u128).map(|n| IpAddr::from((0x2001_0db8_u128 << 96 | n).to_be_bytes()));
        assert_eq!(addresses.filter(|address| buckets.acquire(*address, now).is_ok()).count(), 10);
        assert_eq!(buckets.len(), 1);
    }

    #[test]
    fn flood_of_clients_neither_grows_nor_evicts() {
        let most = 160;
        let buckets = Buckets::new(rate(1.0, 4), most);
        let now = Instant::now();
        // One client without tokens, and one with some.
        assert_eq!(drain(|| buckets.acquire(address(1), now)), 4);
        buckets.acquire(address(2), now).unwrap();
        let passed = (100..50_100).filter(|n| buckets.acquire(address(*n), now).is_ok()).count();
        assert!(buckets.len() <= most);
        // The clients with a place, and the tokens of sixteen shared buckets.
        assert!((100..=most + SHARDS * 4).contains(&passed), "{passed}");
        assert_eq!(buckets.shared(), 50_000 + 2 - buckets.len() as u64);
        assert!(buckets.acquire(address(1), now).is_err());
        assert_eq!(drain(|| buckets.acquire(address(2), now)), 3);
    }

    #[test]
    fn bucket_is_reused_when_its_client_is_silent() {
        let buckets = Buckets::new(rate(1.0, 4), 160);
        let now = Instant::now();
        let passed = (0..5_000).filter(|n| buckets.acquire(address(*n), now).is_ok()).count();
        assert!(passed < 5_000 && buckets.len() == 160);
        let later = now + Duration::from_secs(10);
        let shared = buckets.shared();
        assert_eq!((10_000..10_016).filter(|n| buckets.acquire(address(*n), later).is_ok()).count(), 16);
        assert_eq!(buckets.shared(), shared);
    }

    proptest! {
        #[test]
        fn client_gets_no_more_than_the_rate(
            burst in 1_u32..20,
            per_second in 1.0..1_000.0,
            steps in proptest::collection::vec(0_u64..20_000, 1..300),
        ) {
            let rate = rate(per_second, burst);
            let (bucket, buckets) = (Bucket::new(rate), Buckets::new(rate, 100));
            let start = Instant::now();
            let (mut at, mut taken) = (0, 0_u32);
            for step in steps {
                at += step;
                let now = start + Duration::from_micros(at);
                let answer = bucket.acquire(now);
                prop_assert_eq!(buckets.acquire(address(1), now).is_ok(), answer.is_ok());
                match answer {
                    Ok(()) => taken += 1,
                    // A client that waits for the returned time gets a token.
                    Err(wait) => prop_assert!(rate.acquire(Duration::from_nanos(bucket.full.load(Relaxed)), now.saturating_duration_since(bucket.start) + wait).is_ok()),
                }
                let allowed = f64::from(burst) + per_second * at as f64 / 1e6;
                prop_assert!(f64::from(taken) <= allowed + 1e-3 * allowed, "{taken} of {allowed}");
            }
        }
    }
}
