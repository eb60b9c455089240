//! Envelopes that never came, found by the numbers of their publishers.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sociable_protocol::maps::Map;

use super::members::{Change, MAX_MEMBERS};
use super::stats::Counters;
use super::wire::{Head, Publisher};

/// The subscription of envelopes for all nodes.
pub(super) const FOR_ALL: usize = 0;
/// The subscription of envelopes for this node.
pub(super) const FOR_ME: usize = 1;
/// The first number of the subscriptions of adopted ids. Their envelopes are not counted here.
pub(super) const FOR_ADOPTED: usize = 2;

/// Beyond so many publishers, those that have been silent for `MEMORY` are forgotten, at most once per `SWEEP`.
const MANY: usize = 1024;
const MEMORY: Duration = Duration::from_secs(300);
const SWEEP: Duration = Duration::from_secs(1);
/// The bound of publishers whose envelopes are counted, above the bound of members. A foreign bus can't make this node
/// remember more.
const MAX_PUBLISHERS: usize = 2 * MAX_MEMBERS;

/// The envelopes that are expected of each publisher.
#[derive(Debug, Default)]
pub(crate) struct Gaps(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    publishers: Map<Publisher, Expected>,
    swept: Option<Instant>,
}

impl Known {
    /// Returns the expected envelopes of a publisher that was just heard, unless there are too many.
    fn expect(&mut self, publisher: Publisher) -> Option<&mut Expected> {
        let (now, publishers) = (Instant::now(), &mut self.publishers);
        if publishers.len() >= MANY && !publishers.contains_key(&publisher) {
            if self.swept.is_none_or(|swept| now.duration_since(swept) > SWEEP) {
                publishers.retain(|_, expected| now.duration_since(expected.heard) < MEMORY);
                self.swept = Some(now);
            }
            if publishers.len() >= MAX_PUBLISHERS {
                return None;
            }
        }
        let expected = publishers.entry(publisher).or_insert(Expected { all: None, me: None, heard: now });
        expected.heard = now;
        Some(expected)
    }
}

#[derive(Debug)]
struct Expected {
    /// The next envelope to all.
    all: Option<u64>,
    /// The next envelope to this node.
    me: Option<u64>,
    heard: Instant,
}

impl Gaps {
    /// Counts an envelope that came. Returns true if envelopes before it are lost.
    pub(crate) fn observe(&self, head: &Head, subscription: usize, counters: &Counters) -> bool {
        if head.sequence == 0 || subscription >= FOR_ADOPTED {
            return false;
        }
        let mut known = self.0.lock();
        let Some(expected) = known.expect(head.publisher) else { return false };
        let next = if subscription == FOR_ALL { &mut expected.all } else { &mut expected.me };
        let missing = next.map_or(0, |next| head.sequence.saturating_sub(next));
        *next = Some(next.unwrap_or(0).max(head.sequence.saturating_add(1)));
        drop(known);
        count_gap(missing, head.publisher, counters)
    }

    /// Compares announced envelopes with those that came. Envelopes that a node announced a while ago have come by now,
    /// or are lost. Returns true if some are lost.
    pub(crate) fn observe_announced(&self, publisher: Publisher, sent: u64, change: &Change, counters: &Counters) -> bool {
        let mut known = self.0.lock();
        let Some(expected) = known.expect(publisher) else { return false };
        // Envelopes from before this node heard of the publisher are not missed. A publisher that was only silent kept
        // counting.
        let next = expected.all.unwrap_or(sent.saturating_add(1));
        let least = match change {
            Change::Came => 0,
            Change::Stayed { settled } => settled.saturating_add(1),
        };
        expected.all = Some(next.max(least));
        drop(known);
        count_gap(least.saturating_sub(next), publisher, counters)
    }

    pub(crate) fn forget(&self, publisher: Publisher) {
        self.0.lock().publishers.remove(&publisher);
    }
}

fn count_gap(missing: u64, publisher: Publisher, counters: &Counters) -> bool {
    if missing > 0 {
        counters.gaps.add(missing);
        tracing::warn!(target: "sociable::adapter", tag = %publisher.tag, missing, "lost envelopes of a node");
    }
    missing > 0
}

#[cfg(test)]
mod tests {
    use sociable_protocol::NodeTag;

    use super::*;

    fn head(publisher: Publisher, sequence: u64) -> Head {
        Head { publisher, order: sequence, sequence }
    }

    #[test]
    fn gaps_remember_a_bounded_number_of_publishers() {
        let (gaps, counters) = (Gaps::default(), Counters::default());
        let known = Publisher { tag: NodeTag::random(), epoch: 0 };
        gaps.observe(&head(known, 1), FOR_ALL, &counters);
        for epoch in 1..MAX_PUBLISHERS as u64 + 1000 {
            gaps.observe(&head(Publisher { tag: known.tag, epoch }, 1), FOR_ALL, &counters);
        }
        assert_eq!(gaps.0.lock().publishers.len(), MAX_PUBLISHERS);
        gaps.observe(&head(known, 3), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 1, "a known publisher is still counted");
    }

    #[test]
    fn gaps_count_each_lost_envelope_once() {
        let (gaps, counters) = (Gaps::default(), Counters::default());
        let other = Publisher { tag: NodeTag::random(), epoch: 1 };
        gaps.observe_announced(other, 10, &Change::Came, &counters);
        gaps.observe(&head(other, 10), FOR_ALL, &counters);
        gaps.observe(&head(other, 11), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 0, "earlier envelopes are not missed");
        gaps.observe(&head(other, 14), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 2);
        gaps.observe_announced(other, 16, &Change::Stayed { settled: 14 }, &counters);
        assert_eq!(counters.gaps.get(), 2, "the last two may be under way");
        gaps.observe_announced(other, 16, &Change::Stayed { settled: 16 }, &counters);
        assert_eq!(counters.gaps.get(), 4);
        // After a long silence, the publisher was taken for dead.
        gaps.observe_announced(other, 19, &Change::Came, &counters);
        assert_eq!(counters.gaps.get(), 4, "the last three may be under way");
        gaps.observe(&head(other, 18), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 5);
        gaps.observe(&head(other, 20), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 6);
        gaps.observe(&head(other, 1), FOR_ME, &counters);
        gaps.observe(&head(other, 3), FOR_ME, &counters);
        assert_eq!(counters.gaps.get(), 7, "envelopes for this node are counted separately");
    }
}
