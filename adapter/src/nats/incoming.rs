//! What comes from the other nodes: taken off the subscriptions, put in order, handed to the node.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, SubscribeError};
use bytes::Bytes;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use sociable_protocol::Id;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::members::{Change, MAX_MEMBERS};
use super::order::{Arrival, in_order};
use super::outgoing::Lane;
use super::stats::Counters;
use super::wire::{self, Head, Publisher, Reader, Record};
use super::{Shared, link};
use crate::maps::Map;
use crate::{Answer, Node, Operation, Request};

/// Others get their turn on this thread after so many envelopes.
const TURN: usize = 64;
/// But not the client while so many bytes wait here: what it does not read waits at the server, which is told so by TCP.
const MAX_BACKLOG: usize = 8 << 20;
/// What an envelope takes besides its bytes.
const OVERHEAD: usize = 128;
/// Questions of other nodes that are being answered at the same time.
const MAX_ANSWERING: usize = 10_000;
/// How long a queue that is full may hold up an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Beyond so many publishers, those that have been silent for so long are forgotten, which is looked for no more often than this.
const MANY: usize = 1024;
const MEMORY: Duration = Duration::from_secs(300);
const SWEEP: Duration = Duration::from_secs(1);
/// Of more publishers it is not counted what is missing: more than there can be members, and a bound for what a bus that is not one's own could
/// make this node remember.
const MAX_HEADS: usize = 2 * MAX_MEMBERS;

/// The subscription of what is for all, for this node, and from here on for each adopted id.
const FOR_ALL: usize = 0;
const FOR_ME: usize = 1;
const FOR_ADOPTED: usize = 2;

type Lanes = SelectAll<BoxStream<'static, (usize, Bytes)>>;

/// What has come from each publisher.
#[derive(Debug, Default)]
pub(crate) struct Heads(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    publishers: Map<Publisher, Expected>,
    swept: Option<Instant>,
}

impl Known {
    /// What is expected of a publisher that was just heard, unless there are too many.
    fn heard(&mut self, publisher: Publisher) -> Option<&mut Expected> {
        let (now, publishers) = (Instant::now(), &mut self.publishers);
        if publishers.len() >= MANY && !publishers.contains_key(&publisher) {
            if self.swept.is_none_or(|swept| now.duration_since(swept) > SWEEP) {
                publishers.retain(|_, expected| now.duration_since(expected.heard) < MEMORY);
                self.swept = Some(now);
            }
            if publishers.len() >= MAX_HEADS {
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

impl Heads {
    /// An envelope has come. Those before it that have not are lost: true if there are any.
    fn came(&self, head: &Head, subscription: usize, counters: &Counters) -> bool {
        if head.sequence == 0 || subscription >= FOR_ADOPTED {
            return false;
        }
        let mut heads = self.0.lock();
        let Some(expected) = heads.heard(head.publisher) else { return false };
        let next = if subscription == FOR_ALL { &mut expected.all } else { &mut expected.me };
        let missing = next.map_or(0, |next| head.sequence.saturating_sub(next));
        *next = Some(next.unwrap_or(0).max(head.sequence.saturating_add(1)));
        drop(heads);
        note_gap(missing, head.publisher, counters)
    }

    /// A node tells how many envelopes to all it has sent. What it told a while before has come by now, or is lost: true if
    /// some is.
    pub(crate) fn promised(&self, publisher: Publisher, sent: u64, change: &Change, counters: &Counters) -> bool {
        let mut heads = self.0.lock();
        let Some(expected) = heads.heard(publisher) else { return false };
        // What it sent before it was known here is not missed; but one that was only silent has gone on.
        let next = expected.all.unwrap_or(sent.saturating_add(1));
        let least = match change {
            Change::Came => 0,
            Change::Stayed { settled } => settled.saturating_add(1),
        };
        expected.all = Some(next.max(least));
        drop(heads);
        note_gap(least.saturating_sub(next), publisher, counters)
    }

    pub(crate) fn forget(&self, publisher: Publisher) {
        self.0.lock().publishers.remove(&publisher);
    }
}

fn note_gap(missing: u64, publisher: Publisher, counters: &Counters) -> bool {
    if missing > 0 {
        counters.gaps.add(missing);
        tracing::warn!(target: "sociable::adapter", tag = %publisher.tag, missing, "envelopes of a node were lost");
    }
    missing > 0
}

/// Questions of other nodes that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Answering(Mutex<Map<(Publisher, u64), AbortHandle>>);

impl Answering {
    /// A node is gone: nobody waits for the answers to it.
    pub(crate) fn forget(&self, publisher: Publisher) {
        self.0.lock().retain(|(asker, _), task| {
            let keep = *asker != publisher;
            if !keep {
                task.abort();
            }
            keep
        });
    }
}

/// Takes what comes, for as long as the subscriptions last.
pub(super) async fn run(shared: Arc<Shared>, client: Client, listening: Option<oneshot::Sender<()>>) {
    let (mut lanes, mut adopted) = match subscribe(&shared, &client).await {
        Ok(lanes) => lanes,
        Err(error) => return tracing::error!(target: "sociable::adapter", %error, "the other nodes can't be heard"),
    };
    // A flush would not wait for the server: it has to know of the subscriptions before the others know of this node.
    link::arrived(&shared, &client).await;
    if let Some(listening) = listening {
        let _ = listening.send(());
    }
    let mut backlog = Backlog::default();
    loop {
        follow_adoptions(&shared, &client, &mut lanes, &mut adopted).await;
        let mut heap = Vec::new();
        if backlog.envelopes.is_empty() {
            tokio::select! {
                message = lanes.next() => match message {
                    Some(message) => take(&shared, message, &mut heap),
                    None => return,
                },
                () = shared.adopted.wake.notified() => continue,
            }
        }
        // Without the budget of a task, which could end this before the queues are empty: see `order`.
        while let Some(Some(next)) = tokio::task::unconstrained(lanes.next()).now_or_never() {
            take(&shared, next, &mut heap);
        }
        // What was there before had come before.
        backlog.extend(in_order(heap));
        while backlog.turn(|arrival| open(&shared, &arrival)) {}
        tokio::task::yield_now().await;
    }
}

/// What has come, in its order, and is not done yet.
///
/// The queues of the client are emptied into it each time that the client has read: they need to hold no more than it reads in one go. The
/// client reads on only while little waits here, so that a node that is behind holds what the bound says and what was read in one go.
#[derive(Debug, Default)]
struct Backlog {
    envelopes: VecDeque<Arrival<Bytes>>,
    bytes: usize,
}

impl Backlog {
    fn extend(&mut self, arrivals: Vec<Arrival<Bytes>>) {
        self.bytes += arrivals.iter().map(|arrival| arrival.rest.len() + OVERHEAD).sum::<usize>();
        self.envelopes.extend(arrivals);
    }

    /// Does some of it. True if so much is left that nothing else may come in between.
    fn turn(&mut self, mut each: impl FnMut(Arrival<Bytes>)) -> bool {
        for _ in 0..TURN {
            let Some(arrival) = self.envelopes.pop_front() else { break };
            self.bytes -= arrival.rest.len() + OVERHEAD;
            each(arrival);
        }
        self.bytes > MAX_BACKLOG
    }
}

async fn subscribe(shared: &Shared, client: &Client) -> Result<(Lanes, Map<Id, oneshot::Sender<()>>), SubscribeError> {
    let mut lanes = Lanes::new();
    let for_all = client.subscribe(shared.subject("all")).await?;
    let for_me = client.subscribe(link::one(shared, shared.me().tag, ">")).await?;
    lanes.push(for_all.map(|message| (FOR_ALL, message.payload)).boxed());
    lanes.push(for_me.map(|message| (FOR_ME, message.payload)).boxed());
    let mut adopted = Map::default();
    let ids: Vec<Id> = shared.adopted.count.lock().keys().copied().collect();
    shared.adopted.changed.lock().extend(ids);
    follow_adoptions(shared, client, &mut lanes, &mut adopted).await;
    Ok((lanes, adopted))
}

/// Listens for what is for ids that are here now, and no more for what is for those that are gone.
async fn follow_adoptions(shared: &Shared, client: &Client, lanes: &mut Lanes, adopted: &mut Map<Id, oneshot::Sender<()>>) {
    let changed = std::mem::take(&mut *shared.adopted.changed.lock());
    for id in changed {
        let wanted = shared.adopted.count.lock().contains_key(&id);
        match (adopted.entry(id), wanted) {
            // The stream ends with it, and the subscription with the stream.
            (Entry::Occupied(entry), false) => drop(entry.remove()),
            (Entry::Vacant(entry), true) => match client.subscribe(link::one(shared, id.tag(), id.as_str())).await {
                Ok(subscriber) => {
                    let (keep, gone) = oneshot::channel();
                    let subscription = FOR_ADOPTED + id.shard(usize::MAX - FOR_ADOPTED);
                    lanes.push(subscriber.map(move |message| (subscription, message.payload)).take_until(gone).boxed());
                    entry.insert(keep);
                }
                Err(error) => {
                    tracing::error!(target: "sociable::adapter", %error, id = %id.shortened(), "what is for an adopted id can't be heard")
                }
            },
            (Entry::Occupied(_), true) | (Entry::Vacant(_), false) => {}
        }
    }
}

/// Reads the head of an envelope.
fn take(shared: &Shared, (subscription, payload): (usize, Bytes), heap: &mut Vec<Arrival<Bytes>>) {
    shared.counters.received.one();
    match Head::read(&mut Reader::new(&payload)) {
        // The server does not send back what this connection sent; another connection of the process is this process all the same.
        Ok(head) if head.publisher == shared.me() => {}
        Ok(head) => heap.push(Arrival { subscription, head, rest: payload }),
        Err(error) => malformed(shared, &error),
    }
}

fn malformed(shared: &Shared, error: &dyn std::fmt::Display) {
    shared.counters.malformed.one();
    tracing::debug!(target: "sociable::adapter", %error, "something from the bus is not understood");
}

/// Does what the records of an envelope ask for.
fn open(shared: &Arc<Shared>, arrival: &Arrival<Bytes>) {
    let mut missed = shared.heads.came(&arrival.head, arrival.subscription, &shared.counters);
    if !perform_all(shared, arrival) {
        // What it tells is as lost as if it had not come.
        shared.counters.gaps.one();
        missed = true;
    }
    if missed {
        shared.missed_something();
    }
}

/// Does what the records of an envelope ask for. False if not all of it is understood.
fn perform_all(shared: &Arc<Shared>, arrival: &Arrival<Bytes>) -> bool {
    let Some(node) = shared.node.get() else { return true };
    let Some(mut reader) = wire::records(&arrival.rest) else {
        malformed(shared, &"an envelope of another version");
        return false;
    };
    let (from, mut understood) = (arrival.head.publisher, true);
    while let Some(record) = reader.record() {
        match record {
            Ok(record) => perform(shared, node, from, record),
            Err(error) => {
                malformed(shared, &error);
                understood = false;
            }
        }
    }
    understood
}

/// Does what a record asks for.
pub(super) fn perform(shared: &Arc<Shared>, node: &Arc<dyn Node>, from: Publisher, record: Record) {
    match record {
        Record::Tell(message) => {
            if shared.history.get().is_some() && matches!(message.operation, Operation::Emit { volatile: false, .. }) {
                shared.counters.not_for_history.one();
                // The more there were the less often it is said: it is for each event.
                let events = shared.counters.not_for_history.get();
                if events.is_power_of_two() {
                    tracing::warn!(target: "sociable::recovery", tag = %from.tag, events, "an event came without the history that the nodes share: who is away does not get it; has its process been told of JetStream?");
                }
            }
            node.deliver(message);
        }
        Record::Order(_, message) => node.deliver(message),
        // It comes by the stream alone.
        Record::Kept(_) | Record::Lost => shared.counters.malformed.one(),
        Record::Ask(id, request) => answer(shared, from, id, request),
        Record::Cancel(id) => {
            if let Some(task) = shared.answering.0.lock().remove(&(from, id)) {
                task.abort();
            }
        }
        Record::Answer(id, answer) => shared.questions.answer(from.tag, id, answer),
        Record::End(id) => shared.questions.done(from.tag, id),
        Record::Refused(id) => shared.questions.refused(from.tag, id),
    }
}

/// Has the node answer, and passes on what it says.
fn answer(shared: &Arc<Shared>, asker: Publisher, id: u64, request: Request) {
    let Some(node) = shared.node.get() else { return };
    let mut answering = shared.answering.0.lock();
    if answering.len() >= MAX_ANSWERING {
        drop(answering);
        shared.counters.unanswered.one();
        // If that can't be told either, the other node waits for as long as it wanted to.
        return drop(shared.push(Lane::Node(asker.tag), wire::refused(id)));
    }
    // It is asked at once, so that what comes later can't overtake the question.
    let mut answers = node.answer(request);
    let at = Arc::clone(shared);
    let task = tokio::spawn(async move {
        let mut told = true;
        while let Some(answer) = answers.next().await {
            told &= tell(&at, asker, id, &answer).await;
        }
        // If something could not be told, the other node must not take the rest for all.
        pass_on(&at, asker, if told { wire::end(id) } else { wire::refused(id) }).await;
        at.answering.0.lock().remove(&(asker, id));
    });
    answering.insert((asker, id), task.abort_handle());
}

/// Tells an answer. False if it could not be told.
async fn tell(shared: &Shared, asker: Publisher, id: u64, answer: &Answer) -> bool {
    let limit = shared.outgoing.max_record();
    let mut told = true;
    for record in wire::answer(id, answer, limit) {
        if record.len() - wire::HEAD <= limit {
            told &= pass_on(shared, asker, record).await;
            continue;
        }
        shared.counters.answers_too_large.one();
        tracing::warn!(target: "sociable::adapter", bytes = record.len(), limit, "an answer is longer than NATS takes: raise max_payload of its server");
        match answer {
            // It has answered, but what it said can't be known there.
            Answer::Ack(client, _) => {
                for record in wire::answer(id, &Answer::Gone(*client), limit) {
                    told &= pass_on(shared, asker, record).await;
                }
            }
            _ => told = false,
        }
    }
    told
}

/// Queues a record for a node; waits for a while if the queue is full.
async fn pass_on(shared: &Shared, to: Publisher, record: Vec<u8>) -> bool {
    let begun = Instant::now();
    loop {
        match shared.push(Lane::Node(to.tag), record.clone()) {
            Ok(()) => return true,
            Err(crate::AdapterError::Full { .. }) if begun.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use sociable_protocol::NodeTag;

    use super::*;

    fn head(publisher: Publisher, sequence: u64) -> Head {
        Head { publisher, order: sequence, sequence }
    }

    #[test]
    fn nothing_comes_in_between_while_too_much_waits() {
        let publisher = Publisher { tag: NodeTag::random(), epoch: 1 };
        let arrival = |n| Arrival { subscription: FOR_ALL, head: head(publisher, n), rest: Bytes::from(vec![0; 1 << 20]) };
        let (mut backlog, mut done) = (Backlog::default(), vec![]);
        backlog.extend((0..3 * TURN as u64).map(arrival).collect());
        assert!(backlog.turn(|arrival| done.push(arrival.head.order)));
        assert!(backlog.turn(|arrival| done.push(arrival.head.order)));
        assert!(!backlog.turn(|arrival| done.push(arrival.head.order)));
        assert_eq!((done, backlog.bytes), ((0..3 * TURN as u64).collect(), 0));
    }

    #[test]
    fn what_is_remembered_of_publishers_is_bounded() {
        let (heads, counters) = (Heads::default(), Counters::default());
        let known = Publisher { tag: NodeTag::random(), epoch: 0 };
        heads.came(&head(known, 1), FOR_ALL, &counters);
        for epoch in 1..MAX_HEADS as u64 + 1000 {
            heads.came(&head(Publisher { tag: known.tag, epoch }, 1), FOR_ALL, &counters);
        }
        assert_eq!(heads.0.lock().publishers.len(), MAX_HEADS);
        heads.came(&head(known, 3), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 1, "who was known is counted all the same");
    }

    #[test]
    fn what_never_came_is_counted_once() {
        let (heads, counters) = (Heads::default(), Counters::default());
        let other = Publisher { tag: NodeTag::random(), epoch: 1 };
        heads.promised(other, 10, &Change::Came, &counters);
        heads.came(&head(other, 10), FOR_ALL, &counters);
        heads.came(&head(other, 11), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 0, "what was sent before is not missed");
        heads.came(&head(other, 14), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 2);
        heads.promised(other, 16, &Change::Stayed { settled: 14 }, &counters);
        assert_eq!(counters.gaps.get(), 2, "the last two may be under way");
        heads.promised(other, 16, &Change::Stayed { settled: 16 }, &counters);
        assert_eq!(counters.gaps.get(), 4);
        // It was silent for so long that it was taken for dead.
        heads.promised(other, 19, &Change::Came, &counters);
        assert_eq!(counters.gaps.get(), 4, "the last three may be under way");
        heads.came(&head(other, 18), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 5);
        heads.came(&head(other, 20), FOR_ALL, &counters);
        assert_eq!(counters.gaps.get(), 6);
        heads.came(&head(other, 1), FOR_ME, &counters);
        heads.came(&head(other, 3), FOR_ME, &counters);
        assert_eq!(counters.gaps.get(), 7, "what is for this node is counted apart");
    }
}
