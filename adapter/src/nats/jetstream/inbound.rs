//! What the server sends on when it has kept it. What did not come is read from the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::{NATS_LAST_SEQUENCE, NATS_SEQUENCE};
use async_nats::{Client, HeaderMap, HeaderName, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::time::MissedTickBehavior;

use super::StreamHistory;
use super::log::{Follows, Log, PER_MESSAGE, Unkept, place_in};
use super::store::{From, Range, Store, Trouble};
use crate::nats::wire::{self, HEAD, Head, Reader, Record};
use crate::nats::{Shared, incoming};
use crate::{Entry, Message, Operation};

/// How often it is looked whether something did not come.
const LOOK: Duration = Duration::from_secs(1);
/// A message so far ahead of the last is looked at twice: only the server tells where messages stand, but anybody could have said it.
const FAR: u64 = 100_000;
/// How long threads that are behind are waited for, before they get more nevertheless.
const PATIENCE: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(5);
/// Messages that nobody keeps and that wait for those before them.
const MAX_HELD: usize = 64;
/// How long nothing is tried after it failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes what comes.
pub(super) async fn run(history: Arc<StreamHistory>, shared: Arc<Shared>, client: Client) {
    let mut loaded = false;
    loop {
        let (unkept, held) = (None, VecDeque::new());
        let listened =
            Inbound { history: &history, shared: &shared, missing: 0, back: false, unkept, held }.listen(&client, &mut loaded).await;
        if let Err(error) = listened {
            shared.counters.restarted.one();
            tracing::warn!(target: "sociable::recovery", %error, "what other nodes keep can't be heard now");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Inbound<'a> {
    history: &'a Arc<StreamHistory>,
    shared: &'a Arc<Shared>,
    /// When it was looked last, this was the last message for all: by the next time it has come, or has to be read.
    missing: u64,
    /// When it was looked last, the stream ended before what is known of it.
    back: bool,
    /// What the server did not keep is heard here.
    unkept: Option<Subscriber>,
    /// Of that, what came before messages that it stands behind.
    held: VecDeque<Bytes>,
}

impl Inbound<'_> {
    async fn listen(&mut self, client: &Client, loaded: &mut bool) -> Result<(), Trouble> {
        let store = self.history.store()?;
        let mut live = client.subscribe(store.subjects.live.clone()).await?;
        self.unkept = Some(client.subscribe(store.subjects.unkept.clone()).await?);
        client.flush().await?;
        if !*loaded {
            self.load(store).await?;
            *loaded = true;
        }
        self.look(store, false).await?;
        self.history.listens.send_replace(true);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let unkept = async {
                match &mut self.unkept {
                    Some(unkept) => unkept.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = unkept => {
                    self.held.push_back(message.ok_or("the subscription has ended")?.payload);
                    self.hear_unkept(false);
                }
                message = live.next() => {
                    let message = message.ok_or("the subscription has ended")?;
                    // One that came before may be the one before.
                    self.hear_unkept(false);
                    self.hear(store, message.headers.as_ref(), &message.payload).await?;
                }
                // A server that can't be asked now is asked again: what comes is taken meanwhile.
                _ = look.tick() => {
                    self.hear_unkept(true);
                    self.try_look(store, true).await;
                }
                () = self.history.wake.notified() => self.try_look(store, false).await,
            }
        }
    }

    async fn try_look(&mut self, store: &Store, patient: bool) {
        if let Err(error) = self.look(store, patient).await {
            tracing::debug!(target: "sociable::recovery", %error, "the stream can't be asked now");
        }
    }

    /// Takes what was kept before this node began.
    async fn load(&mut self, store: &Store) -> Result<(), Trouble> {
        let (last, age) = (store.range().await?.last, self.history.max_age());
        let read = store.read(&store.subjects.all, From::Age(age), |sequence, payload| {
            // What is published meanwhile comes to those who are here meanwhile.
            self.take(sequence, &payload, sequence > last);
        });
        read.await?;
        // What went, if only while it was read, is not here.
        let lacks = store.range().await?.lacks(age);
        self.history.log.lock().breaks_off_at(lacks);
        tracing::debug!(target: "sociable::recovery", last, "events that were kept before are loaded");
        Ok(())
    }

    /// A message was sent on. If one for all is missing before it, that is read first.
    async fn hear(&mut self, store: &Store, headers: Option<&HeaderMap>, payload: &Bytes) -> Result<(), Trouble> {
        let number = |name: HeaderName| headers?.get(name)?.as_str().parse::<u64>().ok();
        let places = number(NATS_SEQUENCE).zip(number(NATS_LAST_SEQUENCE));
        // If the server sent it, it is found when the next one comes.
        let Some((sequence, before)) = places else {
            self.shared.counters.malformed.one();
            return Ok(());
        };
        if sequence <= self.known() {
            return Ok(());
        }
        let strange = Head::read(&mut Reader::new(payload)).is_err();
        let far = sequence > self.known().saturating_add(FAR);
        if (strange || far) && store.range().await?.last < sequence {
            self.shared.counters.malformed.one();
            return Ok(());
        }
        if before > self.known() || strange {
            // With this one, if it is what it says.
            return self.fill(store).await;
        }
        let begun = Instant::now();
        while self.shared.node.get().is_some_and(|node| !node.keeps_up()) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(NAP).await;
        }
        self.take(sequence, payload, true);
        Ok(())
    }

    /// Takes what came that nobody keeps. What stands behind a message that has not come waits for it, or is taken `anyhow`.
    fn hear_unkept(&mut self, anyhow: bool) {
        while let Some(message) = self.unkept.as_mut().and_then(|unkept| unkept.next().now_or_never().flatten()) {
            self.held.push_back(message.payload);
        }
        let mut held = std::mem::take(&mut self.held);
        let anyhow = anyhow || held.len() > MAX_HELD;
        held.retain(|payload| !self.take_unkept(payload, anyhow));
        self.held = held;
    }

    /// Takes a message that nobody keeps. False if it has to wait.
    fn take_unkept(&self, payload: &Bytes, anyhow: bool) -> bool {
        let (history, shared) = (self.history, self.shared);
        let Ok(head) = Head::read(&mut Reader::new(payload)) else {
            shared.counters.malformed.one();
            return true;
        };
        let Some(node) = shared.node.get().filter(|_| head.publisher != history.me) else { return true };
        let mut log = history.log.lock();
        let follows = log.follows(head.publisher, head.sequence);
        if follows == Follows::Gap && !anyhow {
            return false;
        }
        log.count(head.publisher, head.sequence);
        if follows == Follows::Again {
            return true;
        }
        history.outbound.refused(&*Trouble::from("another node says so"));
        let Some(mut reader) = wire::records(payload) else {
            shared.counters.malformed.one();
            log.has_hole(head.publisher);
            drop(log);
            self.lost();
            return true;
        };
        // Without a record it stands for what a node sent to its own sockets.
        let (mut hole, mut whole) = (payload.len() == HEAD, true);
        while let Some(record) = reader.record() {
            let what = match record {
                Ok(Record::Kept(kept)) => Unkept::Event(kept),
                Ok(Record::Tell(Message { namespace, target, operation: Operation::Emit { frames, volatile: false, compress } })) => {
                    let frames = node.write_offset(&namespace, &frames, &log.offset(&log.next().1));
                    Unkept::Event(wire::Kept { number: 0, at: None, namespace, target, compress, frames: frames.into_bytes() })
                }
                Ok(Record::Order(_, order)) => Unkept::Order(order),
                // Its numbers tell what is missing.
                Ok(Record::Lost) => continue,
                Ok(Record::Tell(order)) if order.operation.is_order() => Unkept::Order(order),
                Ok(record) => {
                    incoming::perform(shared, node, head.publisher, record);
                    continue;
                }
                Err(_) => {
                    shared.counters.malformed.one();
                    (hole, whole) = (true, false);
                    continue;
                }
            };
            hole = true;
            match log.pass_on(what) {
                Some(entry) => node.keep(&entry),
                None => whole = false,
            }
        }
        if hole {
            log.has_hole(head.publisher);
        }
        drop(log);
        if follows == Follows::Gap || !whole {
            self.lost();
        }
        true
    }

    /// Up to this message of the stream all for all has been taken.
    fn known(&self) -> u64 {
        self.history.log.lock().sequence()
    }

    /// Looks whether something did not come. One who is patient gives it until the next time.
    async fn look(&mut self, store: &Store, patient: bool) -> Result<(), Trouble> {
        let Range { epoch, last, .. } = match store.range().await {
            Ok(range) => range,
            Err(error) => {
                // If it is gone it is made anew, which is seen the next time.
                let options = self.shared.options.jetstream.clone().unwrap_or_default();
                if store.is_gone().await {
                    drop(Store::open(&store.context.client(), &self.shared.options.connection.cluster, &options).await);
                }
                return Err(error);
            }
        };
        if epoch != self.history.log.lock().epoch() {
            return self.begin_anew(store).await;
        }
        let known = self.known();
        let was_back = std::mem::replace(&mut self.back, last < known);
        if self.back && was_back {
            // The server has lost what it had confirmed, or was given an older copy.
            return self.begin_anew(store).await;
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
        // The rest was for single nodes.
        self.history.nothing_up_to(last, self.shared);
        Ok(())
    }

    /// Reads what did not come.
    async fn fill(&mut self, store: &Store) -> Result<(), Trouble> {
        let known = self.known();
        self.shared.counters.resynced.one();
        tracing::info!(target: "sociable::recovery", behind = known, "messages of other nodes did not come, and are read from the stream");
        store.read(&store.subjects.all, From::Sequence(known + 1), |sequence, payload| self.take(sequence, &payload, true)).await?;
        let first = store.range().await?.first;
        if first > known + 1 {
            // Among those that are not kept any more may be some for all.
            self.history.log.lock().begins_behind(first - 1);
            self.lost();
        }
        Ok(())
    }

    /// The stream is another one: nothing of what was is left.
    async fn begin_anew(&mut self, store: &Store) -> Result<(), Trouble> {
        let Range { epoch, first, .. } = store.range().await?;
        tracing::error!(target: "sociable::recovery", "the stream was made anew: the events before are gone");
        self.back = false;
        {
            let mut log = self.history.log.lock();
            log.begin_anew(epoch, first.saturating_sub(1));
            if let Some(node) = self.shared.node.get() {
                node.reached(log.position());
            }
        }
        self.lost();
        store.read(&store.subjects.all, From::Sequence(first), |sequence, payload| self.take(sequence, &payload, true)).await
    }

    /// Something is lost for good.
    fn lost(&self) {
        self.shared.counters.gaps.one();
        if let Some(node) = self.shared.node.get() {
            node.fall_behind();
        }
    }

    /// Takes a message. What is `live` is done; what is not was done before this node began.
    fn take(&self, sequence: u64, payload: &Bytes, live: bool) {
        let (history, shared) = (self.history, self.shared);
        let mut log = history.log.lock();
        if sequence <= log.sequence() {
            return;
        }
        let whole = match Head::read(&mut Reader::new(payload)) {
            Ok(head) => {
                let follows = log.count(head.publisher, head.sequence);
                if follows == Follows::Gap {
                    // All that the stream has before it has been taken: nothing of it is missing here. Whoever could not get something kept says so.
                    shared.counters.gaps.one();
                    tracing::debug!(target: "sociable::recovery", tag = %head.publisher.tag, "a publisher has skipped numbers");
                }
                if head.publisher == history.me {
                    history.outbound.stands(head.order, Some(sequence));
                    if wire::records(payload).is_some_and(|mut records| matches!(records.record(), Some(Ok(Record::Lost)))) {
                        log.has_told_lost(history.me, sequence);
                    }
                    true
                } else {
                    follows == Follows::Again || self.take_records(&mut log, &head, follows, sequence, payload, live)
                }
            }
            Err(_) => {
                shared.counters.malformed.one();
                false
            }
        };
        log.has_taken(sequence);
        if !whole {
            log.breaks_off_at(sequence);
        }
        drop(log);
        history.moved.send_replace(());
        if !whole && live {
            self.lost();
        }
    }

    /// Takes the records of a message. False if something in it is not understood, or its publisher has lost something.
    fn take_records(&self, log: &mut Log, head: &Head, follows: Follows, sequence: u64, payload: &Bytes, live: bool) -> bool {
        let (history, shared) = (self.history, self.shared);
        let Some(node) = shared.node.get() else { return true };
        let Some(mut reader) = wire::records(payload) else {
            shared.counters.malformed.one();
            return false;
        };
        let (mut at, mut whole) = (0, true);
        let keep = |entry: Option<Arc<Entry>>| {
            if let Some(entry) = entry.as_ref().filter(|_| live) {
                node.keep(entry);
            }
            entry.is_some()
        };
        while let Some(record) = reader.record() {
            if at >= PER_MESSAGE - 1 {
                shared.counters.malformed.one();
                whole = false;
                break;
            }
            let (place, publisher) = (place_in(sequence, at), head.publisher.tag);
            let understood = match record {
                Ok(Record::Kept(kept)) => {
                    at += 1;
                    keep(log.take(publisher, place, kept, &history.limits))
                }
                // From a process that has no sockets: it writes no offset.
                Ok(Record::Tell(Message { namespace, target, operation: Operation::Emit { frames, volatile: false, compress } })) => {
                    at += 1;
                    let frames = node.write_offset(&namespace, &frames, &log.offset(&log.reached(place)));
                    let number = place_in(head.order, at);
                    let kept = wire::Kept { number, at: None, namespace, target, compress, frames: frames.into_bytes() };
                    keep(log.take(publisher, place, kept, &history.limits))
                }
                Ok(Record::Order(number, order)) => {
                    at += 1;
                    keep(Some(log.take_order(publisher, place, Some(number), order, &history.limits)))
                }
                Ok(Record::Tell(order)) if order.operation.is_order() => {
                    at += 1;
                    keep(Some(log.take_order(publisher, place, None, order, &history.limits)))
                }
                // Sockets that are here lack nothing if all came that was sent on without being kept. Sessions that are away may.
                Ok(Record::Lost) => {
                    log.has_told_lost(head.publisher, sequence);
                    whole &= follows != Follows::Gap;
                    true
                }
                Ok(record) => {
                    if live {
                        incoming::perform(shared, node, head.publisher, record);
                    }
                    true
                }
                Err(_) => false,
            };
            if !understood {
                shared.counters.malformed.one();
                whole = false;
            }
        }
        whole
    }
}
