//! What waits to be sent: a queue bounded in bytes, from which envelopes are packed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use sociable_protocol::{Id, NodeTag};
use tokio::sync::Notify;

use super::members::MAX_MEMBERS;
use super::stats::Counters;
use super::wire::{HEAD, Head, Publisher, VERSIONS};
use crate::AdapterError;
use crate::maps::{Map, Set};

/// Records that wait together travel in one envelope up to this length: a message costs the bus more than its bytes do.
const ENVELOPE: usize = 32 << 10;
/// What an entry of the queue takes besides its record.
const OVERHEAD: usize = 64;

/// Envelopes to so many nodes are counted. Beyond it those that are no members are forgotten; there are fewer members than that.
const MAX_COUNTED: usize = 2 * MAX_MEMBERS;

/// Who is to hear something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Every node.
    All,
    /// One node.
    Node(NodeTag),
    /// The node that made an id, and those that adopted it.
    Socket(Id),
    /// Every node, by the stream of the server: never in this queue.
    Kept,
}

impl Lane {
    /// The node whose envelopes are counted apart.
    fn tag(self) -> Option<NodeTag> {
        match self {
            Self::All | Self::Kept => None,
            Self::Node(tag) => Some(tag),
            Self::Socket(id) => Some(id.tag()),
        }
    }
}

#[derive(Debug)]
struct Entry {
    lane: Lane,
    record: Vec<u8>,
    since: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Envelopes so far.
    order: u64,
    /// Envelopes so far to all.
    to_all: u64,
    /// Envelopes so far to each node that is a member, or has been one.
    to_one: Map<NodeTag, u64>,
}

impl Queue {
    /// How many envelopes have been sent to a node, or to all, if that is counted.
    fn sent(&mut self, to: Option<NodeTag>) -> Option<&mut u64> {
        match to {
            None => Some(&mut self.to_all),
            Some(tag) => self.to_one.get_mut(&tag),
        }
    }
}

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    queue: Mutex<Queue>,
    pub(crate) wake: Notify,
    /// Told when nothing waits any more.
    pub(crate) empty: Notify,
    limit: usize,
    deadline: Duration,
    /// The longest payload that the server takes.
    max_payload: AtomicUsize,
    /// The version of the wire format that is written.
    version: AtomicU8,
}

impl Outgoing {
    pub(crate) fn new(limit: usize, deadline: Duration) -> Self {
        Self {
            queue: Mutex::default(),
            wake: Notify::new(),
            empty: Notify::new(),
            limit,
            deadline,
            max_payload: AtomicUsize::new(1 << 20),
            version: AtomicU8::new(VERSIONS.0),
        }
    }

    /// The version of the wire format that is written: the lowest, until it is known what all members read.
    pub(crate) fn version(&self) -> u8 {
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn set_version(&self, version: u8) {
        self.version.store(version, Ordering::Relaxed);
    }

    pub(crate) fn set_max_payload(&self, bytes: usize) {
        self.max_payload.store(bytes, Ordering::Relaxed);
    }

    /// The longest record that can be sent.
    pub(crate) fn max_record(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed).saturating_sub(HEAD)
    }

    /// Queues a record that `wire` wrote.
    pub(crate) fn push(&self, lane: Lane, record: Vec<u8>, counters: &Counters) -> Result<(), AdapterError> {
        let (bytes, limit) = (record.len() - HEAD, self.max_record());
        if bytes > limit {
            counters.too_large.one();
            return Err(AdapterError::TooLarge { bytes, limit });
        }
        let cost = record.capacity() + OVERHEAD;
        let mut queue = self.queue.lock();
        if queue.bytes + cost > self.limit {
            counters.refused.one();
            return Err(AdapterError::Full { limit: self.limit });
        }
        queue.bytes += cost;
        queue.entries.push_back(Entry { lane, record, since: Instant::now() });
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Numbers what goes to a node from now on, so that it sees what it misses. One that fell silent is numbered on, if it comes back before
    /// there are too many.
    pub(crate) fn count_for(&self, tag: NodeTag, is_member: impl Fn(NodeTag) -> bool) {
        let mut queue = self.queue.lock();
        if queue.to_one.len() >= MAX_COUNTED && !queue.to_one.contains_key(&tag) {
            queue.to_one.retain(|tag, _| is_member(*tag));
        }
        queue.to_one.entry(tag).or_default();
    }

    /// How many envelopes have been sent to all.
    pub(crate) fn sent_to_all(&self) -> u64 {
        self.queue.lock().to_all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().entries.is_empty()
    }

    /// Waits until all has been given to the client. The task that sends tells it.
    pub(crate) async fn sent(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            empty.as_mut().enable();
            // It may wait already: it is woken to say so.
            self.wake.notify_one();
            empty.await;
            if self.is_empty() {
                return;
            }
        }
    }

    /// How long until what waits longest has waited too long.
    pub(crate) fn patience(&self) -> Duration {
        self.queue.lock().entries.front().map_or(self.deadline, |first| self.deadline.saturating_sub(first.since.elapsed()))
    }

    /// Drops what has waited too long.
    pub(crate) fn expire(&self, counters: &Counters) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let (mut late, mut lanes) = (0, Set::default());
        while queue.entries.front().is_some_and(|first| first.since.elapsed() > self.deadline) {
            if let Some(entry) = queue.entries.pop_front() {
                queue.bytes -= entry.record.capacity() + OVERHEAD;
                late += 1;
                lanes.insert(entry.lane.tag());
            }
        }
        // Those it was for see a gap.
        for lane in lanes {
            if let Some(sent) = queue.sent(lane) {
                *sent += 1;
            }
        }
        counters.late.add(late);
    }

    /// Packs what waits for one lane, as far as nothing else comes in between.
    pub(crate) fn pack(&self, publisher: Publisher) -> Option<(Lane, Bytes)> {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let first = queue.entries.pop_front()?;
        queue.bytes -= first.record.capacity() + OVERHEAD;
        let (lane, mut envelope) = (first.lane, first.record);
        let most = ENVELOPE.min(self.max_payload.load(Ordering::Relaxed));
        while let Some(next) = queue.entries.pop_front_if(|next| next.lane == lane && envelope.len() + next.record.len() - HEAD <= most) {
            queue.bytes -= next.record.capacity() + OVERHEAD;
            envelope.extend_from_slice(&next.record[HEAD..]);
        }
        queue.order += 1;
        let sequence = queue.sent(lane.tag()).map_or(0, |sent| {
            *sent += 1;
            *sent
        });
        if let Some(head) = envelope.first_chunk_mut() {
            Head { publisher, order: queue.order, sequence }.write(self.version(), head);
        }
        Some((lane, envelope.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::wire::{self, Reader, Record};

    fn outgoing(limit: usize) -> (Outgoing, Counters, Publisher) {
        (Outgoing::new(limit, Duration::from_secs(5)), Counters::default(), Publisher { tag: NodeTag::random(), epoch: 1 })
    }

    fn read(envelope: &[u8]) -> (Head, Vec<Record>) {
        let mut reader = Reader::new(envelope);
        let head = Head::read(&mut reader).unwrap();
        (head, std::iter::from_fn(|| reader.record()).map(Result::unwrap).collect())
    }

    #[test]
    fn what_waits_for_one_lane_travels_together_and_in_order() {
        let (outgoing, counters, me) = outgoing(1 << 20);
        let other = NodeTag::random();
        outgoing.count_for(other, |_| true);
        for (lane, id) in [(Lane::All, 1), (Lane::All, 2), (Lane::Node(other), 3), (Lane::All, 4)] {
            outgoing.push(lane, wire::end(id), &counters).unwrap();
        }
        let mut packed = vec![];
        while let Some((lane, envelope)) = outgoing.pack(me) {
            let (head, records) = read(&envelope);
            assert_eq!(head.publisher, me);
            packed.push((lane, head.order, head.sequence, records.len()));
        }
        assert_eq!(packed, [(Lane::All, 1, 1, 2), (Lane::Node(other), 2, 1, 1), (Lane::All, 3, 2, 1)]);
        assert_eq!(outgoing.queue.lock().bytes, 0);
    }

    #[test]
    fn the_queue_is_bounded_and_a_record_too() {
        let (outgoing, counters, _) = outgoing(1000);
        outgoing.set_max_payload(200);
        let long = vec![0; 300];
        assert!(matches!(outgoing.push(Lane::All, long, &counters), Err(AdapterError::TooLarge { limit, .. }) if limit == 200 - HEAD));
        let taken =
            std::iter::repeat_with(|| outgoing.push(Lane::All, wire::end(1), &counters)).take_while(Result::is_ok).take(100).count();
        assert!((1..20).contains(&taken));
        assert_eq!((counters.too_large.get(), counters.refused.get()), (1, 1));
    }

    #[test]
    fn nodes_that_are_gone_are_forgotten_when_there_were_too_many() {
        let (outgoing, ..) = outgoing(1 << 20);
        let members: Vec<_> = std::iter::repeat_with(NodeTag::random).take(3).collect();
        for tag in members.iter().copied().chain(std::iter::repeat_with(NodeTag::random).take(2 * MAX_COUNTED)) {
            outgoing.count_for(tag, |tag| members.contains(&tag));
        }
        let counted = &outgoing.queue.lock().to_one;
        assert!(counted.len() <= MAX_COUNTED && members.iter().all(|tag| counted.contains_key(tag)));
    }

    #[test]
    fn what_waits_too_long_is_dropped_and_leaves_a_gap_where_it_was_for() {
        let (mut outgoing, counters, me) = outgoing(1 << 20);
        outgoing.deadline = Duration::ZERO;
        let (slow, other) = (NodeTag::random(), NodeTag::random());
        outgoing.count_for(slow, |_| true);
        outgoing.count_for(other, |_| true);
        outgoing.push(Lane::All, wire::end(1), &counters).unwrap();
        outgoing.push(Lane::Node(slow), wire::end(1), &counters).unwrap();
        while outgoing.patience() > Duration::ZERO || !outgoing.is_empty() {
            outgoing.expire(&counters);
        }
        assert_eq!(counters.late.get(), 2);
        for (lane, sequence) in [(Lane::All, 2), (Lane::Node(slow), 2), (Lane::Node(other), 1)] {
            outgoing.push(lane, wire::end(2), &counters).unwrap();
            let (_, envelope) = outgoing.pack(me).unwrap();
            assert_eq!(read(&envelope).0.sequence, sequence, "{lane:?}");
        }
    }
}
