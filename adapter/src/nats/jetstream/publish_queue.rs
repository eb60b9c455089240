//! Records that wait for the stream, and the messages that are packed from them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sociable_protocol::maps::Numbered;
use tokio::sync::{Notify, watch};

use super::log::{PER_MESSAGE, place_in};
use crate::nats::bounded_queue::{BoundedQueue, OutboundRecord, QueuedRecord};
use crate::nats::stats::Counters;
use crate::nats::wire::{self, HEAD, Head, PackedTraces, Publisher};
use crate::{AdapterError, Entry};

/// Records that wait together travel in one message up to this length.
const MESSAGE: usize = 256 << 10;
/// The cost of a record besides its bytes.
const OVERHEAD: usize = 96;
/// The time until an event is persisted, if all goes well.
const LATE: Duration = Duration::from_millis(250);

/// The subject of a message in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamSubject {
    /// For all nodes.
    All,
    /// For sockets of this node, and its former sockets when they return elsewhere.
    Own,
}

/// The address of a record, and the event that it stands for.
type Addressed = (StreamSubject, Option<Arc<Entry>>);

#[derive(Debug)]
struct Waiting {
    records: BoundedQueue<Addressed>,
    pushed: u64,
    /// Messages so far, and those to all.
    order: u64,
    to_all: u64,
    /// True while an event for all is lost and the stream does not announce it yet.
    lost: bool,
}

/// The records that were handled, and those of them that are lost.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    records: u64,
    lost: u64,
}

/// The outcome of publishing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Persisted,
    /// The server does not persist it, and can be reached.
    Refused,
    Lost,
}

/// Records that wait for the stream.
#[derive(Debug)]
pub(crate) struct PublishQueue {
    waiting: Mutex<Waiting>,
    pub(super) wake: Notify,
    done: watch::Sender<Done>,
    /// Messages that are being published. They outlive the task that does it.
    in_flight: Mutex<Vec<Arc<StreamMessage>>>,
    /// Events of published messages, by the orders of these. The first task that learns the place of a message sets
    /// their places.
    unplaced: Mutex<Numbered<Vec<Arc<Entry>>>>,
    pub(super) deadline: Duration,
    /// True while the server refuses to persist messages.
    is_refused: AtomicBool,
}

/// A message that is ready to be published.
#[derive(Debug)]
pub(super) struct StreamMessage {
    pub(super) subject: StreamSubject,
    pub(super) order: u64,
    pub(super) payload: Bytes,
    /// The trace contexts of its records.
    pub(super) headers: Option<HeaderMap>,
    pub(super) since: Instant,
    pub(super) records: u64,
    cost: usize,
}

impl PublishQueue {
    pub(crate) fn new(limit: usize, deadline: Duration) -> Self {
        let waiting = Waiting { records: BoundedQueue::new(limit, OVERHEAD), pushed: 0, order: 0, to_all: 0, lost: false };
        Self {
            waiting: Mutex::new(waiting),
            wake: Notify::new(),
            done: watch::Sender::new(Done::default()),
            in_flight: Mutex::default(),
            unplaced: Mutex::default(),
            deadline,
            is_refused: AtomicBool::new(false),
        }
    }

    /// Queues a record.
    pub(crate) fn push(
        &self,
        subject: StreamSubject,
        record: impl Into<OutboundRecord>,
        entry: Option<Arc<Entry>>,
        longest: usize,
        counters: &Counters,
    ) -> Result<(), AdapterError> {
        let mut waiting = self.waiting.lock();
        waiting.records.push((subject, entry), record, longest, counters)?;
        waiting.pushed += 1;
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// Returns the number of records that were queued.
    pub(crate) fn pushed(&self) -> u64 {
        self.waiting.lock().pushed
    }

    /// Waits until so many of the queued records are persisted.
    pub(crate) fn flushed(&self, target: u64) -> BoxFuture<'static, Result<(), AdapterError>> {
        let mut done = self.done.subscribe();
        let lost = done.borrow().lost;
        async move {
            match done.wait_for(|done| done.records >= target).await {
                Ok(done) if done.lost == lost => Ok(()),
                Ok(_) => Err(AdapterError::Unreachable("not all events were persisted in time".into())),
                Err(_) => Err(AdapterError::Unreachable("this process has left the cluster".into())),
            }
        }
        .boxed()
    }

    /// Returns false if records have waited for longer than persisting takes.
    pub(crate) fn keeps_up(&self) -> bool {
        self.waiting.lock().records.waited().is_none_or(|waited| waited < LATE)
    }

    /// Returns true while the server refuses to persist messages.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }

    /// Notes that the server has refused a message.
    pub(crate) fn note_refusal(&self, error: &dyn std::error::Error) {
        if !self.is_refused.swap(true, Ordering::AcqRel) {
            tracing::error!(target: "sociable::recovery", %error, "NATS server refuses to persist events; disconnected clients get new sessions");
            self.wake.notify_one();
        }
    }

    /// Notes that the server has persisted a message.
    pub(super) fn note_acceptance(&self) {
        if self.is_refused() && self.is_refused.swap(false, Ordering::AcqRel) {
            tracing::info!(target: "sociable::recovery", "NATS server persists events again");
        }
    }

    /// Notes that an event for all is lost. The next message announces it.
    pub(super) fn note_loss(&self) {
        self.waiting.lock().lost = true;
    }

    /// Returns the messages to publish now.
    pub(super) fn next_messages(&self, publisher: Publisher, version: u8, longest: usize, counters: &Counters) -> Vec<Arc<StreamMessage>> {
        let mut in_flight = self.in_flight.lock();
        if in_flight.is_empty() {
            *in_flight = self.pack(publisher, version, longest, counters).into_iter().map(Arc::new).collect();
        }
        in_flight.clone()
    }

    /// Queues an empty message, to ask a server that refused whether it persists again.
    pub(super) fn probe(&self, publisher: Publisher, version: u8) {
        let mut in_flight = self.in_flight.lock();
        if in_flight.is_empty() && self.is_refused() {
            in_flight.push(Arc::new(self.empty_message(publisher, version)));
        }
    }

    /// Returns the next message to all, without a record.
    pub(super) fn empty_message(&self, publisher: Publisher, version: u8) -> StreamMessage {
        let mut waiting = self.waiting.lock();
        waiting.order += 1;
        waiting.to_all += 1;
        let mut payload = [0; HEAD];
        Head { publisher, order: waiting.order, sequence: waiting.to_all }.write(version, &mut payload);
        let payload = Bytes::copy_from_slice(&payload);
        StreamMessage {
            subject: StreamSubject::All,
            order: waiting.order,
            payload,
            headers: None,
            since: Instant::now(),
            records: 0,
            cost: 0,
        }
    }

    /// Ends the messages in flight, which have these outcomes. Until now they counted for the bound.
    pub(super) fn finish(&self, messages: &[Arc<StreamMessage>], outcomes: &[Outcome]) {
        self.in_flight.lock().clear();
        self.waiting.lock().records.release(messages.iter().map(|message| message.cost).sum());
        self.done.send_modify(|done| {
            for (message, outcome) in messages.iter().zip(outcomes) {
                done.records += message.records;
                done.lost += if *outcome == Outcome::Persisted { 0 } else { message.records };
            }
        });
    }

    /// Sets the places of a message's events; `None` if the message will never be in the stream. Returns the number of
    /// the last event, if the events had no place.
    pub(crate) fn set_place(&self, order: u64, sequence: Option<u64>) -> Option<u64> {
        let entries = self.unplaced.lock().remove(&order)?;
        for (at, entry) in entries.iter().enumerate() {
            entry.place(sequence.map(|sequence| place_in(sequence, at as u64)));
        }
        entries.last().map(|entry| entry.number)
    }

    /// Packs the waiting records: one message for each subject.
    fn pack(&self, publisher: Publisher, version: u8, longest: usize, counters: &Counters) -> Vec<StreamMessage> {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        let (most, longest) = (MESSAGE.min(longest + HEAD), longest + HEAD);
        let mut packing = [StreamSubject::All, StreamSubject::Own].map(Packing::new);
        // A loss notice alone is no reason to ask a server that refuses.
        if (!waiting.records.is_empty() || !self.is_refused()) && std::mem::take(&mut waiting.lost) {
            // The notice comes before later records.
            packing[0].payload = wire::encode_lost();
            packing[0].traces.push(None);
        }
        while let Some(next) = waiting.records.front() {
            let packing = &mut packing[usize::from(next.to.0 == StreamSubject::Own)];
            let fits = packing.fits(&next.record, most);
            let Some(record) = fits.then(|| waiting.records.pop()).flatten() else { break };
            packing.add(waiting.records.cost(&record), record);
        }
        let packed = packing.into_iter().filter(|packing| !packing.payload.is_empty());
        let room = |packed: &Packing| longest.saturating_sub(packed.payload.len());
        packed
            .map(|mut packed| {
                let headers = std::mem::take(&mut packed.traces).into_headers(room(&packed), counters);
                self.seal(waiting, packed, headers, publisher, version)
            })
            .collect()
    }

    /// Numbers a message, and remembers its events until its place is known.
    fn seal(&self, waiting: &mut Waiting, packed: Packing, headers: Option<HeaderMap>, publisher: Publisher, version: u8) -> StreamMessage {
        let Packing { subject, mut payload, entries, records, cost, since, .. } = packed;
        waiting.order += 1;
        let order = waiting.order;
        let sequence = match subject {
            StreamSubject::All => {
                waiting.to_all += 1;
                waiting.to_all
            }
            StreamSubject::Own => 0,
        };
        if let Some(head) = payload.first_chunk_mut() {
            Head { publisher, order, sequence }.write(version, head);
        }
        self.unplaced.lock().insert(order, entries);
        StreamMessage { subject, order, payload: payload.into(), headers, since, records, cost }
    }
}

/// A message that is being packed.
struct Packing {
    subject: StreamSubject,
    payload: Vec<u8>,
    traces: PackedTraces,
    entries: Vec<Arc<Entry>>,
    records: u64,
    cost: usize,
    since: Instant,
    has_order: bool,
}

impl Packing {
    fn new(subject: StreamSubject) -> Self {
        Self {
            subject,
            payload: vec![],
            traces: PackedTraces::default(),
            entries: vec![],
            records: 0,
            cost: 0,
            since: Instant::now(),
            has_order: false,
        }
    }

    /// Returns true if a record may travel in this message. The first may exceed the length of a packed message.
    fn fits(&self, record: &[u8], longest: usize) -> bool {
        let is_too_long = self.records > 0 && self.payload.len() + record.len() - HEAD > longest;
        // Earlier versions count the events of a message alone: orders stand behind them.
        let is_behind_order = self.has_order && !wire::is_order(record);
        !is_too_long && !is_behind_order && self.records < PER_MESSAGE - 1
    }

    fn add(&mut self, cost: usize, queued: QueuedRecord<Addressed>) {
        let QueuedRecord { to: (_, entry), record, trace, since } = queued;
        self.cost += cost;
        self.has_order |= wire::is_order(&record);
        if self.records == 0 {
            self.since = since;
        }
        if self.payload.is_empty() {
            self.payload = record;
        } else {
            self.payload.extend_from_slice(&record[HEAD..]);
        }
        self.traces.push(trace);
        self.entries.extend(entry);
        self.records += 1;
    }
}

#[cfg(test)]
mod tests {
    use sociable_protocol::NodeTag;

    use super::*;
    use crate::nats::wire::{Reader, Record};

    const ME: fn() -> Publisher = || Publisher { tag: NodeTag::random(), epoch: 1 };

    fn queue() -> (PublishQueue, Counters) {
        (PublishQueue::new(1 << 20, Duration::from_secs(60)), Counters::default())
    }

    fn records(message: &StreamMessage) -> Vec<Record> {
        let mut reader = wire::records(&message.payload).unwrap();
        std::iter::from_fn(|| reader.record()).map(Result::unwrap).collect()
    }

    #[test]
    fn queue_packs_one_message_per_subject() {
        let (queue, counters) = queue();
        for (subject, id) in [(StreamSubject::All, 1), (StreamSubject::Own, 2), (StreamSubject::All, 3)] {
            queue.push(subject, wire::encode_end(id), None, 1000, &counters).unwrap();
        }
        let messages = queue.next_messages(ME(), 1, 1000, &Counters::default());
        let packed: Vec<_> = messages.iter().map(|message| (message.subject, message.order, message.records)).collect();
        assert_eq!(packed, [(StreamSubject::All, 1, 2), (StreamSubject::Own, 2, 1)]);
        assert_eq!(queue.next_messages(ME(), 1, 1000, &Counters::default()).len(), 2, "messages are in flight until they are finished");
        queue.finish(&messages, &[Outcome::Persisted, Outcome::Lost]);
        assert_eq!(queue.waiting.lock().records.bytes(), 0);
        assert!(queue.next_messages(ME(), 1, 1000, &Counters::default()).is_empty());
        assert!(queue.flushed(3).now_or_never().unwrap().is_ok(), "earlier losses are not reported again");
    }

    #[test]
    fn queue_reports_records_that_are_lost_meanwhile() {
        let (queue, counters) = queue();
        queue.push(StreamSubject::All, wire::encode_end(1), None, 1000, &counters).unwrap();
        let flushed = queue.flushed(queue.pushed());
        let messages = queue.next_messages(ME(), 1, 1000, &Counters::default());
        queue.finish(&messages, &[Outcome::Refused]);
        assert!(flushed.now_or_never().unwrap().is_err());
    }

    #[test]
    fn queue_announces_a_loss_before_later_records() {
        let (queue, counters) = queue();
        queue.note_loss();
        queue.push(StreamSubject::All, wire::encode_end(1), None, 1000, &counters).unwrap();
        let messages = queue.next_messages(ME(), 1, 1000, &Counters::default());
        assert_eq!(records(&messages[0]), [Record::Lost, Record::End(1)]);
        assert_eq!(Head::read(&mut Reader::new(&messages[0].payload)).unwrap().sequence, 1);
    }

    #[test]
    fn queue_probes_a_server_that_refuses() {
        let (queue, _) = queue();
        queue.probe(ME(), 1);
        assert!(queue.next_messages(ME(), 1, 1000, &Counters::default()).is_empty());
        queue.note_refusal(&std::io::Error::other("full"));
        queue.note_loss();
        assert!(queue.next_messages(ME(), 1, 1000, &Counters::default()).is_empty(), "a loss alone is no reason to ask");
        queue.probe(ME(), 1);
        assert_eq!(queue.next_messages(ME(), 1, 1000, &Counters::default())[0].payload.len(), HEAD);
        queue.note_acceptance();
        assert!(!queue.is_refused());
    }
}
