//! Records that wait to be sent, and the envelopes that are packed from them.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use parking_lot::Mutex;
use sociable_protocol::NodeTag;
use sociable_protocol::maps::{Map, Set};
use tokio::sync::Notify;

use super::bounded_queue::{BoundedQueue, OutboundRecord};
use super::members::MAX_MEMBERS;
use super::route::Route;
use super::stats::Counters;
use super::wire::{HEAD, Head, PackedTraces, Publisher, VERSIONS};
use crate::AdapterError;

/// The length up to which waiting records share one envelope. The bus pays more for a message than for its bytes.
const ENVELOPE: usize = 32 << 10;
/// The memory of an entry besides its record.
const OVERHEAD: usize = 64;

/// The most nodes whose envelopes are counted. Beyond it former members are forgotten; the bound of members is lower.
const MAX_COUNTED: usize = 2 * MAX_MEMBERS;

#[derive(Debug)]
struct Queue {
    records: BoundedQueue<Route>,
    /// Envelopes so far.
    order: u64,
    /// Envelopes so far to all.
    to_all: u64,
    /// Envelopes so far to each node that is a member, or has been one.
    to_one: Map<NodeTag, u64>,
}

impl Queue {
    /// Returns the number of envelopes to a node, or to all, if they are counted.
    fn sent(&mut self, to: Option<NodeTag>) -> Option<&mut u64> {
        match to {
            None => Some(&mut self.to_all),
            Some(tag) => self.to_one.get_mut(&tag),
        }
    }
}

/// Records that wait to be sent.
#[derive(Debug)]
pub(crate) struct SendQueue {
    queue: Mutex<Queue>,
    pub(crate) wake: Notify,
    /// Notified when the queue is empty.
    pub(crate) empty: Notify,
    deadline: Duration,
    /// The longest payload that the server takes.
    max_payload: AtomicUsize,
    /// The version of the wire format that is written.
    version: AtomicU8,
}

impl SendQueue {
    pub(crate) fn new(limit: usize, deadline: Duration) -> Self {
        Self {
            queue: Mutex::new(Queue { records: BoundedQueue::new(limit, OVERHEAD), order: 0, to_all: 0, to_one: Map::default() }),
            wake: Notify::new(),
            empty: Notify::new(),
            deadline,
            max_payload: AtomicUsize::new(1 << 20),
            version: AtomicU8::new(VERSIONS.0),
        }
    }

    /// The version of the wire format to write: the lowest, until the versions of all members are known.
    pub(crate) fn version(&self) -> u8 {
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn set_version(&self, version: u8) {
        self.version.store(version, Ordering::Relaxed);
    }

    pub(crate) fn set_max_payload(&self, bytes: usize) {
        self.max_payload.store(bytes, Ordering::Relaxed);
    }

    /// Returns the length of the longest record that can be sent.
    pub(crate) fn max_record(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed).saturating_sub(HEAD)
    }

    /// Queues a record.
    pub(crate) fn push(&self, route: Route, record: impl Into<OutboundRecord>, counters: &Counters) -> Result<(), AdapterError> {
        let longest = self.max_record();
        self.queue.lock().records.push(route, record, longest, counters)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Numbers the envelopes to a node from now on, so that the node detects gaps. A silent node keeps its count,
    /// unless there are too many.
    pub(crate) fn count_for(&self, tag: NodeTag, is_member: impl Fn(NodeTag) -> bool) {
        let mut queue = self.queue.lock();
        if queue.to_one.len() >= MAX_COUNTED && !queue.to_one.contains_key(&tag) {
            queue.to_one.retain(|tag, _| is_member(*tag));
        }
        queue.to_one.entry(tag).or_default();
    }

    /// Returns the number of envelopes to all.
    pub(crate) fn sent_to_all(&self) -> u64 {
        self.queue.lock().to_all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().records.is_empty()
    }

    /// Waits until the sender has passed all records to the client.
    pub(crate) async fn wait_until_sent(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            empty.as_mut().enable();
            // A sender that already waits is woken, to notify of the empty queue.
            self.wake.notify_one();
            empty.await;
            if self.is_empty() {
                return;
            }
        }
    }

    /// Returns the time until the oldest record expires.
    pub(crate) fn patience(&self) -> Duration {
        self.queue.lock().records.waited().map_or(self.deadline, |waited| self.deadline.saturating_sub(waited))
    }

    /// Drops expired records.
    pub(crate) fn expire(&self, counters: &Counters) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let (mut late, mut receivers) = (0, Set::default());
        while let Some(expired) = queue.records.pop_if(|first| first.since.elapsed() > self.deadline) {
            late += 1;
            receivers.insert(expired.to.tag());
        }
        // The receivers see a gap.
        for receiver in receivers {
            if let Some(sent) = queue.sent(receiver) {
                *sent += 1;
            }
        }
        counters.late.add(late);
    }

    /// Packs consecutive records for one route. The headers hold their trace contexts.
    pub(crate) fn pack(&self, publisher: Publisher, counters: &Counters) -> Option<(Route, Bytes, Option<HeaderMap>)> {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let first = queue.records.pop_if(|_| true)?;
        let (route, mut envelope) = (first.to, first.record);
        let mut traces = PackedTraces::default();
        traces.push(first.trace);
        let longest = self.max_payload.load(Ordering::Relaxed);
        let most = ENVELOPE.min(longest);
        while let Some(next) = queue.records.pop_if(|next| next.to == route && envelope.len() + next.record.len() - HEAD <= most) {
            envelope.extend_from_slice(&next.record[HEAD..]);
            traces.push(next.trace);
        }
        queue.order += 1;
        let sequence = queue.sent(route.tag()).map_or(0, |sent| {
            *sent += 1;
            *sent
        });
        if let Some(head) = envelope.first_chunk_mut() {
            Head { publisher, order: queue.order, sequence }.write(self.version(), head);
        }
        let headers = traces.into_headers(longest.saturating_sub(envelope.len()), counters);
        Some((route, envelope.into(), headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::wire::{self, Reader, Record};

    fn queue(limit: usize) -> (SendQueue, Counters, Publisher) {
        (SendQueue::new(limit, Duration::from_secs(5)), Counters::default(), Publisher { tag: NodeTag::random(), epoch: 1 })
    }

    fn read(envelope: &[u8]) -> (Head, Vec<Record>) {
        let mut reader = Reader::new(envelope);
        let head = Head::read(&mut reader).unwrap();
        (head, std::iter::from_fn(|| reader.record()).map(Result::unwrap).collect())
    }

    #[test]
    fn records_for_one_route_share_an_envelope() {
        let (queue, counters, me) = queue(1 << 20);
        let other = NodeTag::random();
        queue.count_for(other, |_| true);
        for (route, id) in [(Route::All, 1), (Route::All, 2), (Route::Node(other), 3), (Route::All, 4)] {
            queue.push(route, wire::encode_end(id), &counters).unwrap();
        }
        let mut packed = vec![];
        while let Some((route, envelope, headers)) = queue.pack(me, &Counters::default()) {
            assert_eq!(headers, None);
            let (head, records) = read(&envelope);
            assert_eq!(head.publisher, me);
            packed.push((route, head.order, head.sequence, records.len()));
        }
        assert_eq!(packed, [(Route::All, 1, 1, 2), (Route::Node(other), 2, 1, 1), (Route::All, 3, 2, 1)]);
        assert_eq!(queue.queue.lock().records.bytes(), 0);
    }

    #[test]
    fn queue_refuses_records_longer_than_the_payload() {
        let (queue, counters, _) = queue(1000);
        queue.set_max_payload(200);
        let refused = queue.push(Route::All, vec![0; 300], &counters);
        assert!(matches!(refused, Err(AdapterError::TooLarge { limit, .. }) if limit == 200 - HEAD));
    }

    #[test]
    fn queue_forgets_former_members_when_there_are_too_many() {
        let (queue, ..) = queue(1 << 20);
        let members: Vec<_> = std::iter::repeat_with(NodeTag::random).take(3).collect();
        for tag in members.iter().copied().chain(std::iter::repeat_with(NodeTag::random).take(2 * MAX_COUNTED)) {
            queue.count_for(tag, |tag| members.contains(&tag));
        }
        let counted = &queue.queue.lock().to_one;
        assert!(counted.len() <= MAX_COUNTED && members.iter().all(|tag| counted.contains_key(tag)));
    }

    #[test]
    fn expired_records_leave_a_gap_for_their_receivers() {
        let (mut queue, counters, me) = queue(1 << 20);
        queue.deadline = Duration::ZERO;
        let (slow, other) = (NodeTag::random(), NodeTag::random());
        queue.count_for(slow, |_| true);
        queue.count_for(other, |_| true);
        queue.push(Route::All, wire::encode_end(1), &counters).unwrap();
        queue.push(Route::Node(slow), wire::encode_end(1), &counters).unwrap();
        while queue.patience() > Duration::ZERO || !queue.is_empty() {
            queue.expire(&counters);
        }
        assert_eq!(counters.late.get(), 2);
        for (route, sequence) in [(Route::All, 2), (Route::Node(slow), 2), (Route::Node(other), 1)] {
            queue.push(route, wire::encode_end(2), &counters).unwrap();
            let (_, envelope, _) = queue.pack(me, &Counters::default()).unwrap();
            assert_eq!(read(&envelope).0.sequence, sequence, "{route:?}");
        }
    }
}
