//! The task that receives: envelopes are read off the subscriptions, put in order, and handed to the node.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_nats::{Client, Message, SubscribeError};
use bytes::Bytes;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use sociable_protocol::Id;
use sociable_protocol::maps::Map;
use tokio::sync::oneshot;

use super::context::NatsContext;
use super::dispatch::{count_malformed, dispatch_record};
use super::gaps::{FOR_ADOPTED, FOR_ALL, FOR_ME};
use super::order::{Arrival, in_order};
use super::wire::{self, Head, Reader, Traces};

/// The envelopes after which others get their turn on this thread.
const TURN: usize = 64;
/// The bytes of the backlog at which the client stops reading. Unread data stays at the server, which TCP slows down.
const MAX_BACKLOG: usize = 8 << 20;
/// The memory of an envelope besides its bytes.
const OVERHEAD: usize = 128;

/// Receives until the subscriptions end. `listening` is notified when the server has them.
pub(super) async fn run(context: Arc<NatsContext>, client: Client, listening: Option<oneshot::Sender<()>>) {
    let mut receiver = match Receiver::subscribe(&context, &client).await {
        Ok(receiver) => receiver,
        Err(error) => return tracing::error!(target: "sociable::adapter", %error, "subscribing to other nodes failed"),
    };
    // The server must have the subscriptions before the others find this node. A flush would not wait for that.
    context.wait_for_server(&client).await;
    if let Some(listening) = listening {
        let _ = listening.send(());
    }
    receiver.run().await;
}

/// The subscriptions, and the envelopes that came by them.
struct Receiver<'a> {
    context: &'a Arc<NatsContext>,
    client: &'a Client,
    subscriptions: SelectAll<BoxStream<'static, (usize, Envelope)>>,
    /// The adopted ids that are subscribed to. The subscription ends with its sender.
    adopted: Map<Id, oneshot::Sender<()>>,
    backlog: Backlog,
}

impl<'a> Receiver<'a> {
    async fn subscribe(context: &'a Arc<NatsContext>, client: &'a Client) -> Result<Self, SubscribeError> {
        let for_all = client.subscribe(context.subject("all")).await?;
        let for_me = client.subscribe(context.unicast_subject(context.me().tag, ">")).await?;
        let mut subscriptions = SelectAll::new();
        subscriptions.push(for_all.map(|message| (FOR_ALL, message.into())).boxed());
        subscriptions.push(for_me.map(|message| (FOR_ME, message.into())).boxed());
        context.adopted.mark_all_changed();
        let mut receiver = Self { context, client, subscriptions, adopted: Map::default(), backlog: Backlog::default() };
        receiver.follow_adoptions().await;
        Ok(receiver)
    }

    async fn run(&mut self) {
        loop {
            self.follow_adoptions().await;
            let mut heap = Vec::new();
            if self.backlog.envelopes.is_empty() {
                tokio::select! {
                    message = self.subscriptions.next() => match message {
                        Some(message) => self.read_head(message, &mut heap),
                        None => return,
                    },
                    () = self.context.adopted.wake.notified() => continue,
                }
            }
            // Without the budget of a task, which could end this before the queues are empty: see `order`.
            while let Some(Some(next)) = tokio::task::unconstrained(self.subscriptions.next()).now_or_never() {
                self.read_head(next, &mut heap);
            }
            // The backlog is older.
            self.backlog.extend(in_order(heap));
            while self.backlog.turn(|arrival| open(self.context, arrival)) {}
            tokio::task::yield_now().await;
        }
    }

    /// Subscribes to adopted ids, and unsubscribes from released ones.
    async fn follow_adoptions(&mut self) {
        for id in self.context.adopted.drain_changes() {
            let wanted = self.context.adopted.contains(&id);
            match (self.adopted.entry(id), wanted) {
                (Entry::Occupied(entry), false) => drop(entry.remove()),
                (Entry::Vacant(entry), true) => match self.client.subscribe(self.context.unicast_subject(id.tag(), id.as_str())).await {
                    Ok(subscriber) => {
                        let (keep, gone) = oneshot::channel();
                        let subscription = FOR_ADOPTED + id.shard(usize::MAX - FOR_ADOPTED);
                        self.subscriptions.push(subscriber.map(move |message| (subscription, message.into())).take_until(gone).boxed());
                        entry.insert(keep);
                    }
                    Err(error) => {
                        tracing::error!(target: "sociable::adapter", %error, id = %id.shortened(), "subscribing to an adopted id failed");
                    }
                },
                (Entry::Occupied(_), true) | (Entry::Vacant(_), false) => {}
            }
        }
    }

    /// Reads the head of an envelope. Returns `None` for an own one.
    fn read_head(&self, (subscription, envelope): (usize, Envelope), heap: &mut Vec<Arrival<Envelope>>) {
        self.context.counters.received.increment();
        match Head::read(&mut Reader::new(&envelope.payload)) {
            // The server returns no message on its own connection, but another connection of this process may have sent
            // it.
            Ok(head) if head.publisher == self.context.me() => {}
            Ok(head) => heap.push(Arrival { subscription, head, rest: envelope }),
            Err(error) => count_malformed(self.context, &error),
        }
    }
}

/// An envelope that came.
#[derive(Debug)]
struct Envelope {
    payload: Bytes,
    traces: Traces,
}

impl Envelope {
    /// Returns the memory that it takes while it waits.
    fn cost(&self) -> usize {
        self.payload.len() + self.traces.cost() + OVERHEAD
    }
}

impl From<Message> for Envelope {
    fn from(message: Message) -> Self {
        Self { traces: Traces::read(message.headers.as_ref()), payload: message.payload }
    }
}

/// Envelopes that came and are not handled yet, in their order.
///
/// All queues of the client are drained into the backlog after each read of the client. A queue thus holds no more than
/// one read. The client reads on only while the backlog is short. Memory is therefore bounded by `MAX_BACKLOG` and one
/// read.
#[derive(Debug, Default)]
struct Backlog {
    envelopes: VecDeque<Arrival<Envelope>>,
    bytes: usize,
}

impl Backlog {
    fn extend(&mut self, arrivals: Vec<Arrival<Envelope>>) {
        self.bytes += arrivals.iter().map(|arrival| arrival.rest.cost()).sum::<usize>();
        self.envelopes.extend(arrivals);
    }

    /// Handles a part of the backlog. Returns true if the rest is so long that it must go first.
    fn turn(&mut self, mut each: impl FnMut(Arrival<Envelope>)) -> bool {
        for _ in 0..TURN {
            let Some(arrival) = self.envelopes.pop_front() else { break };
            self.bytes -= arrival.rest.cost();
            each(arrival);
        }
        self.bytes > MAX_BACKLOG
    }
}

/// Carries out the records of an envelope.
fn open(context: &Arc<NatsContext>, arrival: Arrival<Envelope>) {
    let mut lost = context.gaps.observe(&arrival.head, arrival.subscription, &context.counters);
    if !dispatch_records(context, arrival) {
        // Records that can't be decoded are as lost as if they had not come.
        context.counters.gaps.increment();
        lost = true;
    }
    if lost {
        context.note_loss();
    }
}

/// Carries out the records of an envelope. Returns false if some can't be decoded.
fn dispatch_records(context: &Arc<NatsContext>, mut arrival: Arrival<Envelope>) -> bool {
    let Some(node) = context.node.get() else { return true };
    let Some(mut reader) = wire::records(&arrival.rest.payload) else {
        count_malformed(context, &"an envelope of another version");
        return false;
    };
    let (from, mut understood) = (arrival.head.publisher, true);
    while let Some(record) = reader.record() {
        let trace = arrival.rest.traces.next();
        match record {
            Ok(record) => dispatch_record(context, node, from, record.traced(trace)),
            Err(error) => {
                count_malformed(context, &error);
                understood = false;
            }
        }
    }
    understood
}

#[cfg(test)]
mod tests {
    use sociable_protocol::NodeTag;

    use super::*;
    use crate::nats::wire::Publisher;

    fn head(publisher: Publisher, sequence: u64) -> Head {
        Head { publisher, order: sequence, sequence }
    }

    #[test]
    fn backlog_is_worked_off_alone_while_it_is_too_long() {
        let publisher = Publisher { tag: NodeTag::random(), epoch: 1 };
        let arrival = |n| Arrival {
            subscription: FOR_ALL,
            head: head(publisher, n),
            rest: Envelope { payload: vec![0; 1 << 20].into(), traces: Traces::default() },
        };
        let (mut backlog, mut done) = (Backlog::default(), vec![]);
        backlog.extend((0..3 * TURN as u64).map(arrival).collect());
        assert!(backlog.turn(|arrival| done.push(arrival.head.order)));
        assert!(backlog.turn(|arrival| done.push(arrival.head.order)));
        assert!(!backlog.turn(|arrival| done.push(arrival.head.order)));
        assert_eq!((done, backlog.bytes), ((0..3 * TURN as u64).collect(), 0));
    }
}
