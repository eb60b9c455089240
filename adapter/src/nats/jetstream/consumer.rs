//! Messages that the server republishes once it persisted them. Missing ones are read from the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::{NATS_LAST_SEQUENCE, NATS_SEQUENCE};
use async_nats::{Client, HeaderMap, HeaderName, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use sociable_protocol::TraceContext;
use tokio::time::MissedTickBehavior;

use super::log::{Follows, PER_MESSAGE, StreamLog, Unpersisted, place_in};
use super::state::StreamState;
use super::store::{From, Range, Store, StoreError};
use crate::nats::context::NatsContext;
use crate::nats::dispatch::dispatch_record;
use crate::nats::wire::{self, HEAD, Head, PersistedEvent, Reader, Record, Traces};
use crate::{Entry, Message, Operation};

/// The interval of the search for missing messages.
const LOOK: Duration = Duration::from_secs(1);
/// The time for which the stream must end before the known messages until it counts as an older copy. A leader that was just elected, or that does
/// not know yet of its successor, lacks the last ones for some seconds.
const BEHIND: Duration = Duration::from_secs(15);
/// The lead of a message over the last one from which the server is asked about it. Any client of NATS can forge a
/// message.
const FAR: u64 = 100_000;
/// The time that slow threads may hold up further messages.
const PATIENCE: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(5);
/// Unpersisted messages that wait for those before them.
const MAX_HELD: usize = 64;
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Consumes the stream, and subscribes again after a failure.
pub(super) async fn run(state: Arc<StreamState>, context: Arc<NatsContext>, client: Client) {
    let mut loaded = false;
    loop {
        let mut consumer =
            StreamConsumer { state: &state, context: &context, missing: 0, behind_since: None, unpersisted: None, held: VecDeque::new() };
        if let Err(error) = consumer.consume(&client, &mut loaded).await {
            context.counters.restarted.increment();
            tracing::warn!(target: "sociable::recovery", %error, "stream subscription failed; retrying");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct StreamConsumer<'a> {
    state: &'a Arc<StreamState>,
    context: &'a Arc<NatsContext>,
    /// The last message for all at the last look. By the next look it has come, or is read.
    missing: u64,
    /// The first of the looks since which the stream ends before the known messages.
    behind_since: Option<Instant>,
    /// Messages that the server does not persist.
    unpersisted: Option<Subscriber>,
    /// Unpersisted messages that came before their predecessors.
    held: VecDeque<Bytes>,
}

impl StreamConsumer<'_> {
    async fn consume(&mut self, client: &Client, loaded: &mut bool) -> Result<(), StoreError> {
        let store = &self.state.store;
        let mut live = client.subscribe(store.subjects.live.clone()).await?;
        self.unpersisted = Some(client.subscribe(store.subjects.unkept.clone()).await?);
        client.flush().await?;
        if !*loaded {
            self.load(store).await?;
            *loaded = true;
        }
        self.look(store, false).await?;
        self.state.listens.send_replace(true);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let unpersisted = async {
                match &mut self.unpersisted {
                    Some(unpersisted) => unpersisted.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = unpersisted => {
                    self.held.push_back(message.ok_or("the subscription has ended")?.payload);
                    self.drain_unpersisted(false);
                }
                message = live.next() => {
                    let message = message.ok_or("the subscription has ended")?;
                    // An unpersisted message may stand before this one.
                    self.drain_unpersisted(false);
                    self.receive(store, message.headers.as_ref(), &message.payload).await?;
                }
                // After a failed request, the server is asked again later. Messages are consumed meanwhile.
                _ = look.tick() => {
                    self.drain_unpersisted(true);
                    self.try_look(store, true).await;
                }
                () = self.state.wake.notified() => self.try_look(store, false).await,
            }
        }
    }

    async fn try_look(&mut self, store: &Store, patient: bool) {
        if let Err(error) = self.look(store, patient).await {
            tracing::debug!(target: "sociable::recovery", %error, "stream request failed; retrying");
        }
    }

    /// Reads the messages that were persisted before this node began.
    async fn load(&mut self, store: &Store) -> Result<(), StoreError> {
        let (last, age) = (store.range().await?.last, self.state.max_age());
        let read = store.read(&store.subjects.all, From::Age(age), |sequence, payload| {
            // Messages that are published meanwhile are delivered to sockets that are here meanwhile.
            self.consume_message(sequence, &payload, Traces::default(), sequence > last);
        });
        read.await?;
        // Messages that were dropped, if only while they were read, are missing here.
        let lacks = store.range().await?.lacks(age);
        self.state.log.lock().break_off_at(lacks);
        tracing::debug!(target: "sociable::recovery", last, "loaded persisted events");
        Ok(())
    }

    /// Consumes a republished message. If one for all is missing before it, that is read first.
    async fn receive(&mut self, store: &Store, headers: Option<&HeaderMap>, payload: &Bytes) -> Result<(), StoreError> {
        let number = |name: HeaderName| headers?.get(name)?.as_str().parse::<u64>().ok();
        let places = number(NATS_SEQUENCE).zip(number(NATS_LAST_SEQUENCE));
        // If the server sent the message, the next one shows the gap.
        let Some((sequence, before)) = places else {
            self.context.counters.malformed.increment();
            return Ok(());
        };
        if sequence <= self.known() {
            return Ok(());
        }
        let strange = Head::read(&mut Reader::new(payload)).is_err();
        let far = sequence > self.known().saturating_add(FAR);
        if (strange || far) && store.range().await?.last < sequence {
            self.context.counters.malformed.increment();
            return Ok(());
        }
        if before > self.known() || strange {
            // This read includes the message, if it is genuine.
            return self.fill(store).await;
        }
        let begun = Instant::now();
        while self.context.node.get().is_some_and(|node| !node.keeps_up()) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(NAP).await;
        }
        self.consume_message(sequence, payload, Traces::read(headers), true);
        Ok(())
    }

    /// Consumes unpersisted messages. One that follows a missing message waits for it, unless `anyhow` is true.
    fn drain_unpersisted(&mut self, anyhow: bool) {
        while let Some(message) = self.unpersisted.as_mut().and_then(|unpersisted| unpersisted.next().now_or_never().flatten()) {
            self.held.push_back(message.payload);
        }
        let mut held = std::mem::take(&mut self.held);
        let anyhow = anyhow || held.len() > MAX_HELD;
        held.retain(|payload| !self.consume_unpersisted(payload, anyhow));
        self.held = held;
    }

    /// Consumes an unpersisted message. Returns false if it has to wait.
    fn consume_unpersisted(&self, payload: &Bytes, anyhow: bool) -> bool {
        let (state, context) = (self.state, self.context);
        let Ok(head) = Head::read(&mut Reader::new(payload)) else {
            context.counters.malformed.increment();
            return true;
        };
        let Some(node) = context.node.get().filter(|_| head.publisher != state.me) else { return true };
        let mut log = state.log.lock();
        let follows = log.follows(head.publisher, head.sequence);
        if follows == Follows::Gap && !anyhow {
            return false;
        }
        log.count(head.publisher, head.sequence);
        if follows == Follows::Again {
            return true;
        }
        state.queue.note_refusal(&*StoreError::from("reported by another node"));
        let Some(mut reader) = wire::records(payload) else {
            context.counters.malformed.increment();
            log.note_hole(head.publisher);
            drop(log);
            self.note_loss();
            return true;
        };
        // A message without a record stands for private events of its publisher.
        let (mut hole, mut whole) = (payload.len() == HEAD, true);
        while let Some(record) = reader.record() {
            let what = match record {
                Ok(Record::Persisted(event)) => Unpersisted::Event(event),
                Ok(Record::Message(Message {
                    namespace,
                    target,
                    operation: Operation::Emit { frames, volatile: false, compress },
                    ..
                })) => {
                    let frames = node.write_offset(&namespace, &frames, &log.offset(&log.next_position().1));
                    Unpersisted::Event(PersistedEvent { number: 0, at: None, namespace, target, compress, frames: frames.into_bytes() })
                }
                Ok(Record::Order(_, order)) => Unpersisted::Order(order),
                // The numbers of the publisher show what is missing.
                Ok(Record::Lost) => continue,
                Ok(Record::Message(order)) if order.operation.is_order() => Unpersisted::Order(order),
                Ok(record) => {
                    dispatch_record(context, node, head.publisher, record);
                    continue;
                }
                Err(_) => {
                    context.counters.malformed.increment();
                    (hole, whole) = (true, false);
                    continue;
                }
            };
            hole = true;
            match log.append_unpersisted(what) {
                Some(entry) => node.deliver_persisted(&entry, None),
                None => whole = false,
            }
        }
        if hole {
            log.note_hole(head.publisher);
        }
        drop(log);
        if follows == Follows::Gap || !whole {
            self.note_loss();
        }
        true
    }

    /// Returns the message of the stream up to which all for all nodes has been read.
    fn known(&self) -> u64 {
        self.state.log.lock().sequence()
    }

    /// Looks for missing messages. If `patient`, missing messages may still come until the next look.
    async fn look(&mut self, store: &Store, patient: bool) -> Result<(), StoreError> {
        let Range { epoch, last, .. } = match store.range().await {
            Ok(range) => range,
            Err(error) => {
                // A deleted stream is created again, which the next look finds.
                let options = self.context.options.jetstream.clone().unwrap_or_default();
                if store.is_gone().await {
                    drop(Store::open(&store.context.client(), &self.context.options.connection.cluster, &options).await);
                }
                return Err(error);
            }
        };
        if epoch != self.state.log.lock().epoch() {
            return self.rebuild(store).await;
        }
        let known = self.known();
        if last >= known {
            self.behind_since = None;
        } else if self.behind_since.get_or_insert_with(Instant::now).elapsed() >= BEHIND {
            // The server has lost confirmed messages, or was restored from an older copy.
            return self.rebuild(store).await;
        }
        if last <= known {
            return Ok(());
        }
        let for_all = store.last_of(&store.subjects.all).await?;
        if for_all > self.known() {
            if !patient || self.missing > self.known() {
                self.fill(store).await?;
            }
            self.missing = for_all;
            return Ok(());
        }
        // The other messages were for single nodes.
        self.state.skip_to(last, self.context.node.get());
        Ok(())
    }

    /// Reads missing messages from the stream.
    async fn fill(&mut self, store: &Store) -> Result<(), StoreError> {
        let known = self.known();
        self.context.counters.resynced.increment();
        tracing::info!(target: "sociable::recovery", behind = known, "missing messages; reading them from the stream");
        store
            .read(&store.subjects.all, From::Sequence(known + 1), |sequence, payload| {
                self.consume_message(sequence, &payload, Traces::default(), true)
            })
            .await?;
        let first = store.range().await?.first;
        if first > known + 1 {
            // Some of the dropped messages may have been for all.
            self.state.log.lock().forget_up_to(first - 1);
            self.note_loss();
        }
        Ok(())
    }

    /// Starts again with a new stream, or an older copy. The earlier events are lost.
    async fn rebuild(&mut self, store: &Store) -> Result<(), StoreError> {
        let Range { epoch, first, .. } = store.range().await?;
        tracing::error!(target: "sociable::recovery", "stream was created again, or is an older copy; earlier events are lost");
        self.behind_since = None;
        {
            let mut log = self.state.log.lock();
            log.restart(epoch, first.saturating_sub(1));
            if let Some(node) = self.context.node.get() {
                node.advance_to(log.position());
            }
        }
        self.note_loss();
        store
            .read(&store.subjects.all, From::Sequence(first), |sequence, payload| {
                self.consume_message(sequence, &payload, Traces::default(), true)
            })
            .await
    }

    /// Notes that events are lost for good.
    fn note_loss(&self) {
        self.context.counters.gaps.increment();
        if let Some(node) = self.context.node.get() {
            node.note_loss();
        }
    }

    /// Adds a message to the log. A `live` one is delivered too; the others are older than this node.
    fn consume_message(&self, sequence: u64, payload: &Bytes, traces: Traces, live: bool) {
        let (state, context) = (self.state, self.context);
        let mut log = state.log.lock();
        if sequence <= log.sequence() {
            return;
        }
        let whole = match Head::read(&mut Reader::new(payload)) {
            Ok(head) => {
                let follows = log.count(head.publisher, head.sequence);
                if follows == Follows::Gap {
                    // All earlier messages of the stream have been read: nothing is missing here. A publisher announces its lost events itself.
                    context.counters.gaps.increment();
                    tracing::debug!(target: "sociable::recovery", tag = %head.publisher.tag, "a publisher skipped numbers");
                }
                if head.publisher == state.me {
                    state.queue.set_place(head.order, Some(sequence));
                    if wire::records(payload).is_some_and(|mut records| matches!(records.record(), Some(Ok(Record::Lost)))) {
                        log.note_loss_notice(state.me, sequence);
                    }
                    true
                } else {
                    follows == Follows::Again || self.consume_records(&mut log, &head, follows, sequence, (payload, traces), live)
                }
            }
            Err(_) => {
                context.counters.malformed.increment();
                false
            }
        };
        log.advance_to(sequence);
        if !whole {
            log.break_off_at(sequence);
        }
        drop(log);
        state.moved.send_replace(());
        if !whole && live {
            self.note_loss();
        }
    }

    /// Adds the records of a message to the log. Returns false if some are not understood, or its publisher has lost something.
    fn consume_records(
        &self,
        log: &mut StreamLog,
        head: &Head,
        follows: Follows,
        sequence: u64,
        (payload, mut traces): (&Bytes, Traces),
        live: bool,
    ) -> bool {
        let (state, context) = (self.state, self.context);
        let Some(node) = context.node.get() else { return true };
        let Some(mut reader) = wire::records(payload) else {
            context.counters.malformed.increment();
            return false;
        };
        let (mut at, mut whole) = (0, true);
        let keep = |entry: Option<Arc<Entry>>, trace: Option<Box<TraceContext>>| {
            if let Some(entry) = entry.as_ref().filter(|_| live) {
                node.deliver_persisted(entry, trace.as_deref());
            }
            entry.is_some()
        };
        while let Some(record) = reader.record() {
            if at >= PER_MESSAGE - 1 {
                context.counters.malformed.increment();
                whole = false;
                break;
            }
            let (place, publisher, trace) = (place_in(sequence, at), head.publisher.tag, traces.next());
            let understood = match record {
                Ok(Record::Persisted(event)) => {
                    at += 1;
                    keep(log.append_remote(publisher, place, event, &state.limits), trace)
                }
                // The publisher has no sockets, so the event has no offset.
                Ok(Record::Message(Message {
                    namespace,
                    target,
                    operation: Operation::Emit { frames, volatile: false, compress },
                    ..
                })) => {
                    at += 1;
                    let frames = node.write_offset(&namespace, &frames, &log.offset(&log.reached(place)));
                    let number = place_in(head.order, at);
                    let event = PersistedEvent { number, at: None, namespace, target, compress, frames: frames.into_bytes() };
                    keep(log.append_remote(publisher, place, event, &state.limits), trace)
                }
                Ok(Record::Order(number, order)) => {
                    at += 1;
                    keep(Some(log.append_remote_order(publisher, place, Some(number), order, &state.limits)), trace)
                }
                Ok(Record::Message(order)) if order.operation.is_order() => {
                    at += 1;
                    keep(Some(log.append_remote_order(publisher, place, None, order, &state.limits)), trace)
                }
                // If all unpersisted messages came, connected sockets lack nothing. Disconnected sessions may.
                Ok(Record::Lost) => {
                    log.note_loss_notice(head.publisher, sequence);
                    whole &= follows != Follows::Gap;
                    true
                }
                Ok(record) => {
                    if live {
                        dispatch_record(context, node, head.publisher, record.traced(trace));
                    }
                    true
                }
                Err(_) => false,
            };
            if !understood {
                context.counters.malformed.increment();
                whole = false;
            }
        }
        whole
    }
}
