//! The bounds of the records, and their counters.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The bounds of records of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyOptions(Bounds);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) ttl: Duration,
    pub(super) max_entries: usize,
    pub(super) max_bytes: usize,
    pub(super) max_answer_bytes: usize,
    pub(super) longest_run: Duration,
}

impl From<IdempotencyOptions> for Bounds {
    fn from(options: IdempotencyOptions) -> Self {
        options.0
    }
}

impl Default for IdempotencyOptions {
    fn default() -> Self {
        Self(Bounds {
            ttl: Duration::from_secs(3600),
            max_entries: 100_000,
            max_bytes: 64 << 20,
            max_answer_bytes: 256 << 10,
            longest_run: Duration::from_secs(300),
        })
    }
}

impl IdempotencyOptions {
    /// Sets how long an answer is stored: one hour by default.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = ttl;
        self
    }

    /// Sets the most records in the memory of a node: 100,000 by default. The oldest answer is dropped for a new request.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.0.max_entries = entries;
        self
    }

    /// Sets the most bytes of all records: 64 MiB by default. The oldest answers are dropped first. JetStream reserves the bytes.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.0.max_bytes = bytes;
        self
    }

    /// Sets the most bytes of one answer: 256 KiB by default. A repetition of a request with a longer one gets
    /// [`OutcomeUnknown`](super::Begun::OutcomeUnknown).
    #[must_use]
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.0.max_answer_bytes = bytes;
        self
    }

    /// Sets the longest time that a request runs: five minutes by default. The outcome of one that runs longer counts as unknown.
    #[must_use]
    pub fn longest_run(mut self, time: Duration) -> Self {
        self.0.longest_run = time;
        self
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counts of requests with idempotency keys since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct IdempotencyStats {
            $($(#[doc = $doc])+ pub $name: u64,)*
            /// The records in the memory of this node now.
            pub entries: usize,
            /// The bytes of these records.
            pub bytes: usize,
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            pub(super) fn stats(&self, entries: usize, bytes: usize) -> IdempotencyStats {
                IdempotencyStats { $($name: self.$name.load(Relaxed),)* entries, bytes }
            }
        }
    };
}

counters! {
    /// Requests with a new key.
    first,
    /// Repetitions that got the stored answer.
    replayed,
    /// Repetitions while the request was running.
    in_progress,
    /// Repetitions of a request whose outcome is unknown.
    unknown,
    /// Requests with the key of another request.
    conflicts,
    /// Requests that were refused because the store could not be reached or was full.
    unavailable,
    /// Answers that were dropped for new requests before their time, in the memory of this node.
    dropped,
    /// Answers that were too long to be stored.
    too_long,
    /// Answers that could not be stored in time.
    unstored,
}
