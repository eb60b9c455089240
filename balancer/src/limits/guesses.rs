//! The limits of wrong session ids, and the ids that were right recently.
//!
//! Most wrong ids have the tag of a node that has ended: after a crash many clients still show them. An id with the tag
//! of a living node is judged by that node, and its answer is counted.
//!
//! Each kind has its own limit: clients of a restarted node leave the limit of the others alone. An address beyond
//! the second limit reaches nodes only with ids that were right recently.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sociable_protocol::Id;

use crate::limits::rate::{Buckets, Rate};

/// The number of remembered right session ids, in half a megabyte. An id replaces another by chance.
const REMEMBERED: usize = 1 << 16;
/// The most addresses that are counted one by one: those on top share a limit.
const MAX_ADDRESSES: usize = 100_000;

/// The limits on wrong session ids.
#[derive(Debug)]
pub(crate) struct Guesses {
    /// With the tag of no node, or none at all.
    dead: Buckets,
    /// Ids with the tag of a living node that did not accept them.
    living: Buckets,
    start: Instant,
    /// Until when some address has shown too many of the second kind, in nanoseconds since `start`. Addresses are
    /// checked only until then.
    exceeded: AtomicU64,
}

impl Guesses {
    pub(crate) fn new(rate: Rate) -> Self {
        let buckets = || Buckets::new(rate, MAX_ADDRESSES);
        Self { dead: buckets(), living: buckets(), start: Instant::now(), exceeded: AtomicU64::new(0) }
    }

    /// Counts an id that no node can have. Returns false if the address showed too many.
    pub(crate) fn count_dead_tag(&self, address: IpAddr, now: Instant) -> bool {
        self.dead.acquire(address, now).is_ok()
    }

    /// Counts an id that its node did not accept.
    pub(crate) fn count_unknown_id(&self, address: IpAddr, now: Instant) {
        let _ = self.living.acquire(address, now);
        // Also when the last token was just taken, so that the next guess is refused.
        let wait = self.living.wait(address, now);
        if !wait.is_zero() {
            self.exceeded.fetch_max(nanoseconds(now.saturating_duration_since(self.start) + wait), Relaxed);
        }
    }

    /// Returns true if an id does not reach its node, because its address guesses.
    pub(crate) fn refuses(&self, address: IpAddr, id: &Id, known_ids: &KnownIds) -> bool {
        let until = self.exceeded.load(Relaxed);
        if until == 0 {
            return false;
        }
        let now = Instant::now();
        if nanoseconds(now.saturating_duration_since(self.start)) >= until {
            // The address that exceeded the limit has a token again. A later end stays.
            let _ = self.exceeded.compare_exchange(until, 0, Relaxed, Relaxed);
            return false;
        }
        !self.living.wait(address, now).is_zero() && !known_ids.holds(id)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Session ids that nodes accepted recently.
pub(crate) struct KnownIds {
    hasher: RandomState,
    ids: Box<[AtomicU64]>,
}

impl KnownIds {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), ids: std::iter::repeat_with(AtomicU64::default).take(REMEMBERED).collect() }
    }

    /// Remembers one.
    pub(crate) fn remember(&self, id: &Id) {
        let (place, mark) = self.place(id);
        place.store(mark, Relaxed);
    }

    fn holds(&self, id: &Id) -> bool {
        let (place, mark) = self.place(id);
        place.load(Relaxed) == mark
    }

    /// Returns the place of an id, and its mark. The hash has a secret seed, so no client can choose an id that
    /// replaces another.
    fn place(&self, id: &Id) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(id);
        (&self.ids[hash as usize % REMEMBERED], hash | 1)
    }
}

impl fmt::Debug for KnownIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownIds").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sociable_protocol::{IdSource, NodeTag};

    use super::*;

    #[test]
    fn guessing_address_reaches_nodes_with_known_ids_only() {
        let (guesses, known_ids) = (Guesses::new(Rate::new(0.001, 3).unwrap()), KnownIds::new());
        let (mine, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut ids = IdSource::new(NodeTag::random());
        let (known, unknown) = (ids.draw(), ids.draw());
        known_ids.remember(&known);
        let now = Instant::now();
        for _ in 0..3 {
            assert!(!guesses.refuses(mine, &unknown, &known_ids));
            guesses.count_unknown_id(mine, now);
        }
        assert!(guesses.refuses(mine, &unknown, &known_ids) && !guesses.refuses(mine, &known, &known_ids));
        assert!(!guesses.refuses(other, &unknown, &known_ids));
        // The other kind has a limit of its own.
        assert_eq!((0..9).filter(|_| guesses.count_dead_tag(mine, now)).count(), 3);
    }

    #[test]
    fn dead_tags_do_not_block_an_address() {
        let (guesses, known_ids) = (Guesses::new(Rate::new(0.001, 3).unwrap()), KnownIds::new());
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!((0..1_000).filter(|_| guesses.count_dead_tag(address, Instant::now())).count(), 3);
        assert!(!guesses.refuses(address, &IdSource::new(NodeTag::random()).draw(), &known_ids));
    }
}
