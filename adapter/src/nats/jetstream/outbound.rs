//! What waits to be kept by the server, and the task that publishes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::StreamHistory;
use super::log::{PER_MESSAGE, place_in};
use super::store::{Trouble, is_full};
use crate::maps::Numbered;
use crate::nats::stats::Counters;
use crate::nats::wire::{self, HEAD, Head, Publisher, Reader};
use crate::nats::{Shared, link::Link};
use crate::{AdapterError, Entry};

/// What waits together travels in one message up to this length.
const MESSAGE: usize = 256 << 10;
/// What an item takes besides its record.
const OVERHEAD: usize = 96;
/// How long it takes at most until something is kept, if all goes well.
const LATE: Duration = Duration::from_millis(250);
/// How long nothing is tried after it failed, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often a server that refused is asked again, if there is nothing to keep.
const PROBE: Duration = Duration::from_secs(1);

/// Whom something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// All nodes.
    All,
    /// Sockets of this node, and those that were when they come back elsewhere.
    Own,
}

#[derive(Debug)]
struct Item {
    lane: Lane,
    record: Vec<u8>,
    entry: Option<Arc<Entry>>,
    since: Instant,
}

impl Item {
    fn cost(&self) -> usize {
        self.record.capacity() + OVERHEAD
    }
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    pushed: u64,
    /// Messages so far, and those to all.
    order: u64,
    to_all: u64,
    /// Something for all is lost, which they are not told yet.
    lost: bool,
}

/// How many items have been dealt with, and how many of them are lost.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    items: u64,
    lost: u64,
}

/// What waits to be kept.
#[derive(Debug)]
pub(crate) struct Outbound {
    waiting: Mutex<Waiting>,
    wake: Notify,
    done: watch::Sender<Done>,
    /// Messages that are being published. They outlive the task that does it.
    parcels: Mutex<Vec<Arc<Parcel>>>,
    /// Events of messages that were published, by their orders: whoever hears first where a message stands tells them.
    under_way: Mutex<Numbered<Vec<Arc<Entry>>>>,
    limit: usize,
    deadline: Duration,
    /// The server refuses to keep what it is given.
    is_refused: AtomicBool,
}

/// A message that is being packed.
struct Packed {
    lane: Lane,
    payload: Vec<u8>,
    entries: Vec<Arc<Entry>>,
    items: u64,
    cost: usize,
    since: Instant,
    /// It holds an order.
    orders: bool,
}

impl Packed {
    fn new(lane: Lane) -> Self {
        Self { lane, payload: vec![], entries: vec![], items: 0, cost: 0, since: Instant::now(), orders: false }
    }

    fn add(&mut self, item: Item) {
        self.cost += item.cost();
        self.orders |= wire::is_order(&item.record);
        if self.items == 0 {
            self.since = item.since;
        }
        if self.payload.is_empty() {
            self.payload = item.record;
        } else {
            self.payload.extend_from_slice(&item.record[HEAD..]);
        }
        self.entries.extend(item.entry);
        self.items += 1;
    }
}

/// A message that is ready to be published.
#[derive(Debug)]
struct Parcel {
    lane: Lane,
    order: u64,
    payload: Bytes,
    since: Instant,
    items: u64,
    cost: usize,
}

impl Outbound {
    pub(crate) fn new(limit: usize, deadline: Duration) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Notify::new(),
            done: watch::Sender::new(Done::default()),
            parcels: Mutex::default(),
            under_way: Mutex::default(),
            limit,
            deadline,
            is_refused: AtomicBool::new(false),
        }
    }

    /// True while the server refuses to keep what it is given.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }

    /// The server has refused something.
    pub(crate) fn refused(&self, error: &dyn std::error::Error) {
        if !self.is_refused.swap(true, Ordering::AcqRel) {
            tracing::error!(target: "sociable::recovery", %error, "the NATS server keeps no more: events go on without being kept, and clients that lose their connection begin anew");
            self.wake.notify_one();
        }
    }

    /// The server has kept something.
    fn accepted(&self) {
        if self.is_refused() && self.is_refused.swap(false, Ordering::AcqRel) {
            tracing::info!(target: "sociable::recovery", "the NATS server keeps events again");
        }
    }

    /// The next message to all, with nothing in it.
    fn empty(&self, publisher: Publisher, version: u8) -> Parcel {
        let mut waiting = self.waiting.lock();
        waiting.order += 1;
        waiting.to_all += 1;
        let mut payload = [0; HEAD];
        Head { publisher, order: waiting.order, sequence: waiting.to_all }.write(version, &mut payload);
        let payload = Bytes::copy_from_slice(&payload);
        Parcel { lane: Lane::All, order: waiting.order, payload, since: Instant::now(), items: 0, cost: 0 }
    }

    /// Asks a server that refused to keep a message with nothing in it.
    fn probe(&self, publisher: Publisher, version: u8) {
        let mut parcels = self.parcels.lock();
        if parcels.is_empty() && self.is_refused() {
            parcels.push(Arc::new(self.empty(publisher, version)));
        }
    }

    /// Queues a record that `wire` wrote.
    pub(crate) fn push(
        &self,
        lane: Lane,
        record: Vec<u8>,
        entry: Option<Arc<Entry>>,
        longest: usize,
        counters: &Counters,
    ) -> Result<(), AdapterError> {
        let bytes = record.len() - HEAD;
        if bytes > longest {
            counters.too_large.one();
            return Err(AdapterError::TooLarge { bytes, limit: longest });
        }
        let item = Item { lane, record, entry, since: Instant::now() };
        let mut waiting = self.waiting.lock();
        if waiting.bytes + item.cost() > self.limit {
            counters.refused.one();
            return Err(AdapterError::Full { limit: self.limit });
        }
        waiting.bytes += item.cost();
        waiting.pushed += 1;
        waiting.items.push_back(item);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// False if what waits has waited for longer than it takes to be kept.
    pub(crate) fn keeps_up(&self) -> bool {
        self.waiting.lock().items.front().is_none_or(|first| first.since.elapsed() < LATE)
    }

    /// How much has been queued.
    pub(crate) fn pushed(&self) -> u64 {
        self.waiting.lock().pushed
    }

    /// Ends when so much of what was queued is kept.
    pub(crate) fn flushed(&self, target: u64) -> BoxFuture<'static, Result<(), AdapterError>> {
        let mut done = self.done.subscribe();
        let lost = done.borrow().lost;
        async move {
            match done.wait_for(|done| done.items >= target).await {
                Ok(done) if done.lost == lost => Ok(()),
                Ok(_) => Err(AdapterError::Unreachable("not all was kept in time".into())),
                Err(_) => Err(AdapterError::Unreachable("this process has taken leave".into())),
            }
        }
        .boxed()
    }

    /// Packs what waits: one message for each lane.
    fn pack(&self, publisher: Publisher, version: u8, longest: usize) -> Vec<Parcel> {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        let longest = MESSAGE.min(longest + HEAD);
        let mut packed = [Lane::All, Lane::Own].map(Packed::new);
        // A server that refuses is not asked for this alone.
        if (!waiting.items.is_empty() || !self.is_refused()) && std::mem::take(&mut waiting.lost) {
            // Before what was sent behind it.
            packed[0].payload = wire::lost();
        }
        while let Some(next) = waiting.items.front() {
            let packed = &mut packed[usize::from(next.lane == Lane::Own)];
            // The first may be longer than what is packed together.
            let too_long = packed.items > 0 && packed.payload.len() + next.record.len() - HEAD > longest;
            // Nodes of before count the events of a message alone: orders stand behind them.
            let behind_order = packed.orders && !wire::is_order(&next.record);
            if too_long || behind_order || packed.items >= PER_MESSAGE - 1 {
                break;
            }
            let Some(item) = waiting.items.pop_front() else { break };
            packed.add(item);
        }
        let mut parcels = vec![];
        for Packed { lane, mut payload, entries, items, cost, since, .. } in packed.into_iter().filter(|packed| !packed.payload.is_empty())
        {
            waiting.order += 1;
            let order = waiting.order;
            let sequence = match lane {
                Lane::All => {
                    waiting.to_all += 1;
                    waiting.to_all
                }
                Lane::Own => 0,
            };
            if let Some(head) = payload.first_chunk_mut() {
                Head { publisher, order, sequence }.write(version, head);
            }
            self.under_way.lock().insert(order, entries);
            parcels.push(Parcel { lane, order, payload: payload.into(), since, items, cost });
        }
        parcels
    }

    /// A message of this node stands here in the stream; `None` if it will never. Tells the number of its last event, if it was not known before.
    pub(crate) fn stands(&self, order: u64, sequence: Option<u64>) -> Option<u64> {
        let entries = self.under_way.lock().remove(&order)?;
        for (at, entry) in entries.iter().enumerate() {
            entry.place(sequence.map(|sequence| place_in(sequence, at as u64)));
        }
        entries.last().map(|entry| entry.number)
    }

    /// What is to be published now.
    fn next(&self, publisher: Publisher, version: u8, longest: usize) -> Vec<Arc<Parcel>> {
        let mut parcels = self.parcels.lock();
        if parcels.is_empty() {
            *parcels = self.pack(publisher, version, longest).into_iter().map(Arc::new).collect();
        }
        parcels.clone()
    }
}

/// Publishes what waits.
pub(super) async fn run(history: Arc<StreamHistory>, shared: Arc<Shared>) {
    let outbound = &history.outbound;
    loop {
        let parcels = outbound.next(history.me, shared.outgoing.version(), shared.outgoing.max_record());
        if parcels.is_empty() {
            if outbound.is_refused() {
                if tokio::time::timeout(PROBE, outbound.wake.notified()).await.is_err() {
                    outbound.probe(history.me, shared.outgoing.version());
                }
            } else {
                outbound.wake.notified().await;
            }
            continue;
        }
        let fates = join_all(parcels.iter().map(|parcel| publish(&history, &shared, parcel))).await;
        for (parcel, fate) in parcels.iter().zip(&fates) {
            if *fate == Fate::Refused {
                send_on(&history, &shared, parcel).await;
                // A node that has not heard it learns so from the next message that is kept.
                outbound.waiting.lock().lost = true;
            }
        }
        outbound.parcels.lock().clear();
        // What is under way counts until it is kept.
        outbound.waiting.lock().bytes -= parcels.iter().map(|parcel| parcel.cost).sum::<usize>();
        outbound.done.send_modify(|done| {
            for (parcel, fate) in parcels.iter().zip(fates) {
                done.items += parcel.items;
                done.lost += if fate == Fate::Kept { 0 } else { parcel.items };
            }
        });
    }
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// The server does not keep it, and can be reached.
    Refused,
    Lost,
}

/// Publishes one message until it is kept or refused, or that takes too long.
async fn publish(history: &StreamHistory, shared: &Shared, parcel: &Parcel) -> Fate {
    let mut pause = PAUSE.0;
    loop {
        match try_publish(history, shared, parcel).await {
            Ok(sequence) => {
                history.outbound.stands(parcel.order, Some(sequence));
                shared.counters.kept.one();
                shared.counters.kept_after.observe(parcel.since.elapsed());
                history.outbound.accepted();
                return Fate::Kept;
            }
            Err(error) if is_full(&*error) || history.outbound.is_refused() && shared.links.is(Link::History) => {
                history.outbound.refused(&*error);
                return Fate::Refused;
            }
            Err(error) if parcel.since.elapsed() < history.outbound.deadline => {
                shared.counters.kept_again.one();
                tracing::debug!(target: "sociable::recovery", %error, "events are not kept yet, and are published again");
            }
            // As with a server that has put JetStream away since its disk is full.
            Err(error) if shared.links.is(Link::History) => {
                history.outbound.refused(&*error);
                return Fate::Refused;
            }
            Err(error) => {
                shared.counters.not_kept.add(parcel.items);
                tracing::error!(target: "sociable::recovery", %error, events = parcel.items, "events could not be kept in time, and do not reach other nodes");
                // Nobody may come back, here or elsewhere, and believe to have got all.
                {
                    let mut log = history.log.lock();
                    if let Some(number) = history.outbound.stands(parcel.order, None) {
                        log.has_lost(number);
                    }
                    log.owes_lost(parcel.lane == Lane::All);
                }
                if let Some(node) = shared.node.get() {
                    node.fall_behind();
                    // A process without sockets has told whoever asked it to send.
                    history.outbound.waiting.lock().lost |= parcel.lane == Lane::All;
                }
                return Fate::Lost;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Sends a message that the server does not keep to the nodes that are there, as if there were no history: who is away can't come back and be told all.
async fn send_on(history: &StreamHistory, shared: &Shared, parcel: &Parcel) {
    shared.counters.unkept.add(parcel.items);
    let payload = match parcel.lane {
        Lane::All => parcel.payload.clone(),
        // The others have to know that something is missing, should those for whom it was come to them.
        Lane::Own => history.outbound.empty(history.me, shared.outgoing.version()).payload,
    };
    {
        let mut log = history.log.lock();
        if let Some(number) = history.outbound.stands(parcel.order, None) {
            log.has_lost(number);
        }
        log.owes_lost(true);
        if let Ok(head) = Head::read(&mut Reader::new(&payload)) {
            // The next of this node that is kept does not show a gap.
            log.count(head.publisher, head.sequence);
        }
    }
    let Ok(store) = history.store() else { return };
    // If it does not get there, the next message that is kept shows the gap.
    if let Err(error) = store.context.client().publish(store.subjects.unkept.clone(), payload).await {
        tracing::warn!(target: "sociable::recovery", %error, "events could not be sent on");
    }
}

async fn try_publish(history: &StreamHistory, shared: &Shared, parcel: &Parcel) -> Result<u64, Trouble> {
    let store = history.store()?;
    // The client would hold it while the link is down, and send it however late.
    let patience = history.outbound.deadline.saturating_sub(parcel.since.elapsed());
    tokio::time::timeout(patience, shared.links.is_up(Link::History)).await.map_err(|_| "the link to NATS is down")?;
    let subject = match parcel.lane {
        Lane::All => store.subjects.all.clone(),
        Lane::Own => store.subjects.own(history.me.tag),
    };
    // Published again, it is kept once.
    let id = format!("{}.{}.{}", history.me.tag, history.me.epoch, parcel.order);
    let message = PublishMessage::build().payload(parcel.payload.clone()).message_id(id);
    let kept = store.context.send_publish(subject, message).await?.await?;
    Ok(kept.sequence)
}
