//! A queue of records, bounded in bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sociable_protocol::TraceContext;

use super::stats::Counters;
use super::wire::HEAD;
use crate::AdapterError;

/// Records that wait to be sent, oldest first, with a bound in bytes.
#[derive(Debug)]
pub(crate) struct BoundedQueue<T> {
    records: VecDeque<QueuedRecord<T>>,
    bytes: usize,
    limit: usize,
    /// The cost of a record besides its bytes.
    overhead: usize,
}

/// A record that `wire` wrote, and the span that sent it.
#[derive(Debug)]
pub(crate) struct OutboundRecord {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trace: Option<Box<TraceContext>>,
}

impl From<Vec<u8>> for OutboundRecord {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, trace: None }
    }
}

/// A record that waits, and its receivers.
#[derive(Debug)]
pub(crate) struct QueuedRecord<T> {
    pub(crate) to: T,
    pub(crate) record: Vec<u8>,
    pub(crate) trace: Option<Box<TraceContext>>,
    pub(crate) since: Instant,
}

impl<T> BoundedQueue<T> {
    pub(crate) fn new(limit: usize, overhead: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, limit, overhead }
    }

    /// Queues a record. `longest` is the most bytes that a record may have besides the head of its envelope.
    pub(crate) fn push(
        &mut self,
        to: T,
        record: impl Into<OutboundRecord>,
        longest: usize,
        counters: &Counters,
    ) -> Result<(), AdapterError> {
        let OutboundRecord { bytes: record, trace } = record.into();
        let bytes = record.len() - HEAD;
        if bytes > longest {
            counters.too_large.increment();
            return Err(AdapterError::TooLarge { bytes, limit: longest });
        }
        let queued = QueuedRecord { to, record, trace, since: Instant::now() };
        let cost = self.cost(&queued);
        if self.bytes + cost > self.limit {
            counters.refused.increment();
            return Err(AdapterError::Full { limit: self.limit });
        }
        self.bytes += cost;
        self.records.push_back(queued);
        Ok(())
    }

    /// Removes the oldest record. The queue counts its bytes until [`release`](Self::release).
    pub(crate) fn pop(&mut self) -> Option<QueuedRecord<T>> {
        self.records.pop_front()
    }

    /// Returns the bytes that a record counts for.
    pub(crate) fn cost(&self, queued: &QueuedRecord<T>) -> usize {
        queued.record.capacity() + self.overhead + queued.trace.as_ref().map_or(0, |trace| trace.cost())
    }

    /// Makes room for more: records of these bytes left the queue.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// Removes the oldest record, and its bytes, if it fits.
    pub(crate) fn pop_if(&mut self, fits: impl FnOnce(&QueuedRecord<T>) -> bool) -> Option<QueuedRecord<T>> {
        let popped = self.records.pop_front_if(|first| fits(first))?;
        self.release(self.cost(&popped));
        Some(popped)
    }

    pub(crate) fn front(&self) -> Option<&QueuedRecord<T>> {
        self.records.front()
    }

    /// Returns the time that the oldest record has waited.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.front().map(|first| first.since.elapsed())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::wire;

    #[test]
    fn queue_refuses_records_beyond_its_bounds() {
        let (mut queue, counters) = (BoundedQueue::new(1000, 64), Counters::default());
        assert!(matches!(queue.push((), vec![0; 300], 200, &counters), Err(AdapterError::TooLarge { limit: 200, .. })));
        let pushed = std::iter::repeat_with(|| queue.push((), wire::encode_end(1), 200, &counters)).take_while(Result::is_ok).take(100);
        assert!((1..20).contains(&pushed.count()));
        assert_eq!((counters.too_large.get(), counters.refused.get()), (1, 1));
    }

    #[test]
    fn queue_counts_popped_bytes_until_their_release() {
        let (mut queue, counters) = (BoundedQueue::new(1000, 64), Counters::default());
        queue.push((), wire::encode_end(1), 200, &counters).unwrap();
        let full = queue.bytes();
        let popped = queue.pop().unwrap();
        assert_eq!(queue.bytes(), full);
        queue.release(queue.cost(&popped));
        assert_eq!(queue.bytes(), 0);
        queue.push((), wire::encode_end(1), 200, &counters).unwrap();
        assert!(queue.pop_if(|_| false).is_none() && queue.pop_if(|_| true).is_some());
        assert_eq!(queue.bytes(), 0);
    }
}
