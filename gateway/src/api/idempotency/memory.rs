//! Records in the memory of one node.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use parking_lot::Mutex;

use super::options::{Bounds, Counters};
use super::{Begun, Guard, KeyHash, Outcome, Place, StoreUnavailable, repeated};

/// The cost of a record besides its answer.
const OVERHEAD: usize = 192;

/// The records of this node, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Memory {
    records: Mutex<Records>,
    bounds: Bounds,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Records {
    by_key: HashMap<KeyHash, Record>,
    /// The finished records, the oldest first.
    finished: VecDeque<(Instant, KeyHash)>,
    bytes: usize,
}

#[derive(Debug)]
struct Record {
    fingerprint: [u8; 32],
    /// `None` while the request runs.
    outcome: Option<Outcome>,
}

impl Record {
    fn cost(&self) -> usize {
        match &self.outcome {
            Some(Outcome::Answer(answer)) => OVERHEAD + answer.body.len(),
            _ => OVERHEAD,
        }
    }
}

/// The record of a running request.
#[derive(Debug)]
pub(super) struct Entry {
    memory: Arc<Memory>,
    key: KeyHash,
}

impl Memory {
    pub(super) fn new(bounds: Bounds, counters: Arc<Counters>) -> Self {
        Self { records: Mutex::default(), bounds, counters }
    }

    pub(super) fn usage(&self) -> (usize, usize) {
        let records = self.records.lock();
        (records.by_key.len(), records.bytes)
    }

    pub(super) fn begin(self: &Arc<Self>, key: KeyHash, fingerprint: [u8; 32]) -> Result<Begun, StoreUnavailable> {
        let mut records = self.records.lock();
        records.expire(&self.bounds);
        if let Some(record) = records.by_key.get(&key) {
            return Ok(match &record.outcome {
                _ if record.fingerprint != fingerprint => Begun::OtherRequest,
                Some(outcome) => repeated(outcome),
                None => Begun::InProgress,
            });
        }
        records.make_room(1, OVERHEAD, &self.bounds, &self.counters);
        if records.by_key.len() >= self.bounds.max_entries || records.bytes + OVERHEAD > self.bounds.max_bytes {
            return Err(StoreUnavailable("too many requests are running".into()));
        }
        records.bytes += OVERHEAD;
        records.by_key.insert(key, Record { fingerprint, outcome: None });
        drop(records);
        let entry = Entry { memory: Arc::clone(self), key };
        Ok(Begun::First(Guard::new(Place::Memory(entry), &self.bounds, &self.counters)))
    }
}

impl Records {
    fn expire(&mut self, bounds: &Bounds) {
        while self.finished.front().is_some_and(|(since, _)| since.elapsed() >= bounds.ttl) {
            self.drop_oldest();
        }
    }

    /// Drops the oldest answers until so many records of so many bytes fit, or only running requests are left.
    fn make_room(&mut self, entries: usize, bytes: usize, bounds: &Bounds, counters: &Counters) {
        while self.by_key.len() + entries > bounds.max_entries || self.bytes + bytes > bounds.max_bytes {
            if !self.drop_oldest() {
                break;
            }
            counters.dropped.fetch_add(1, Relaxed);
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.finished.pop_front() else { return false };
        if let Some(record) = self.by_key.remove(&key) {
            self.bytes -= record.cost();
        }
        true
    }
}

impl Entry {
    pub(super) fn finish(self, outcome: Outcome) {
        let Self { memory, key } = self;
        let mut records = memory.records.lock();
        let Some(record) = records.by_key.get_mut(&key) else { return };
        let before = record.cost();
        record.outcome = Some(outcome);
        let after = record.cost();
        records.bytes = records.bytes - before + after;
        records.finished.push_back((Instant::now(), key));
        // The new answer is the last to go, and goes too if it alone is above the bound.
        records.make_room(0, 0, &memory.bounds, &memory.counters);
    }

    pub(super) fn release(self) {
        let mut records = self.memory.records.lock();
        if let Some(record) = records.by_key.remove(&self.key) {
            records.bytes -= record.cost();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::{Idempotency, IdempotencyOptions, Reach, StoredAnswer};
    use super::*;

    const REQUEST: [u8; 32] = [7; 32];

    fn answer(text: &'static str) -> StoredAnswer {
        StoredAnswer { status: 200, body: Bytes::from_static(text.as_bytes()) }
    }

    async fn begin(records: &Idempotency, key: &str) -> Begun {
        records.begin("scope", key, REQUEST).await.unwrap()
    }

    async fn first(records: &Idempotency, key: &str) -> Guard {
        match begin(records, key).await {
            Begun::First(guard) => guard,
            other => panic!("{key} is known: {other:?}"),
        }
    }

    #[tokio::test]
    async fn repetition_gets_the_stored_answer() {
        let records = Idempotency::memory(IdempotencyOptions::default());
        assert_eq!(records.reach(), Reach::Node);
        let mut guard = first(&records, "a").await;
        assert!(matches!(begin(&records, "a").await, Begun::InProgress));
        assert!(matches!(records.begin("other scope", "a", REQUEST).await, Ok(Begun::First(_))));
        guard.start();
        guard.finish(answer("done")).await;
        for _ in 0..3 {
            assert!(matches!(begin(&records, "a").await, Begun::Replay(stored) if stored == answer("done")));
        }
        assert!(matches!(records.begin("scope", "a", [8; 32]).await, Ok(Begun::OtherRequest)));
        let stats = records.stats();
        assert_eq!((stats.first, stats.replayed, stats.in_progress, stats.conflicts, stats.entries), (2, 3, 1, 1, 1));
    }

    #[tokio::test]
    async fn dropped_guard_releases_its_key_before_the_start() {
        let records = Idempotency::memory(IdempotencyOptions::default());
        drop(first(&records, "a").await);
        assert_eq!((records.stats().entries, records.stats().bytes), (0, 0));
        let mut guard = first(&records, "a").await;
        guard.start();
        drop(guard);
        assert!(matches!(begin(&records, "a").await, Begun::OutcomeUnknown));
    }

    #[tokio::test]
    async fn oldest_answer_is_dropped_when_the_store_is_full() {
        let records = Idempotency::memory(IdempotencyOptions::default().max_entries(2));
        for key in ["a", "b", "c"] {
            first(&records, key).await.finish(answer(key)).await;
        }
        assert!(matches!(begin(&records, "b").await, Begun::Replay(_)));
        assert!(matches!(begin(&records, "c").await, Begun::Replay(_)));
        assert_eq!(records.stats().dropped, 1);
        let running = [first(&records, "d").await, first(&records, "e").await];
        let refused = records.begin("scope", "f", REQUEST).await.unwrap_err();
        assert!(refused.to_string().contains("too many requests are running"), "{refused}");
        drop(running);
        drop(first(&records, "f").await);
    }

    #[tokio::test]
    async fn bytes_of_answers_are_bounded() {
        let bound = 4 * OVERHEAD;
        let records = Idempotency::memory(IdempotencyOptions::default().max_bytes(bound).max_answer_bytes(OVERHEAD));
        for key in ["a", "b", "c", "d", "e"] {
            let body = Bytes::from(vec![b'x'; OVERHEAD]);
            first(&records, key).await.finish(StoredAnswer { status: 200, body }).await;
            assert!(records.stats().bytes <= bound);
        }
        assert_eq!(records.stats().entries, 2);
        let body = Bytes::from(vec![b'x'; OVERHEAD + 1]);
        first(&records, "long").await.finish(StoredAnswer { status: 200, body }).await;
        assert!(matches!(begin(&records, "long").await, Begun::OutcomeUnknown));
        assert_eq!(records.stats().too_long, 1);
    }

    #[tokio::test]
    async fn answer_expires_after_its_time() {
        let records = Idempotency::memory(IdempotencyOptions::default().ttl(Duration::ZERO));
        first(&records, "a").await.finish(answer("done")).await;
        drop(first(&records, "a").await);
        assert_eq!(records.stats().entries, 0);
    }
}
