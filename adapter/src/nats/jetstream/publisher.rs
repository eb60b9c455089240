//! The task that publishes to the stream: one message at a time for each subject, each until it is confirmed.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use futures_util::future::join_all;

use super::publish_queue::{Outcome, StreamMessage, StreamSubject};
use super::state::StreamState;
use super::store::{StoreError, is_full};
use crate::nats::context::NatsContext;
use crate::nats::links::Link;
use crate::nats::wire::{Head, Reader};

/// The pause after a failure, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The pause between two probes of a server that refuses, if nothing waits.
const PROBE: Duration = Duration::from_secs(1);

/// Publishes waiting records.
pub(crate) async fn run(state: Arc<StreamState>, context: Arc<NatsContext>) {
    StreamPublisher { state: &state, context: &context }.run().await;
}

struct StreamPublisher<'a> {
    state: &'a StreamState,
    context: &'a NatsContext,
}

impl StreamPublisher<'_> {
    async fn run(&self) {
        let (queue, me) = (&self.state.queue, self.state.me);
        loop {
            let messages = queue.next_messages(me, self.version(), self.context.send_queue.max_record(), &self.context.counters);
            if messages.is_empty() {
                if queue.is_refused() {
                    if tokio::time::timeout(PROBE, queue.wake.notified()).await.is_err() {
                        queue.probe(me, self.version());
                    }
                } else {
                    queue.wake.notified().await;
                }
                continue;
            }
            let outcomes = join_all(messages.iter().map(|message| self.publish(message))).await;
            for (message, outcome) in messages.iter().zip(&outcomes) {
                if *outcome == Outcome::Refused {
                    self.send_unpersisted(message).await;
                    // The next message of the stream announces the loss to nodes that missed this one.
                    queue.note_loss();
                }
            }
            queue.finish(&messages, &outcomes);
        }
    }

    fn version(&self) -> u8 {
        self.context.send_queue.version()
    }

    /// Publishes a message until it is persisted or refused, or its deadline is over.
    async fn publish(&self, message: &StreamMessage) -> Outcome {
        let (queue, counters) = (&self.state.queue, &self.context.counters);
        let mut pause = PAUSE.0;
        loop {
            let error = match self.try_publish(message).await {
                Ok(sequence) => {
                    queue.set_place(message.order, Some(sequence));
                    counters.kept.increment();
                    counters.persisted_after.observe(message.since.elapsed());
                    queue.note_acceptance();
                    return Outcome::Persisted;
                }
                Err(error) => error,
            };
            let is_up = self.context.links.is_up(Link::History);
            let is_late = message.since.elapsed() >= queue.deadline;
            // A server with a full disk may stop JetStream, which counts as a refusal.
            if is_full(&*error) || is_up && (queue.is_refused() || is_late) {
                queue.note_refusal(&*error);
                return Outcome::Refused;
            }
            if is_late {
                counters.not_kept.add(message.records);
                tracing::error!(target: "sociable::recovery", %error, events = message.records, "events not persisted in time; other nodes do not get them");
                self.give_up(message);
                return Outcome::Lost;
            }
            counters.kept_again.increment();
            tracing::debug!(target: "sociable::recovery", %error, "events not persisted yet; publishing again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn try_publish(&self, message: &StreamMessage) -> Result<u64, StoreError> {
        let StreamState { store, me, queue, .. } = self.state;
        // While the link is down, messages wait here: the client would send them without a deadline.
        let patience = queue.deadline.saturating_sub(message.since.elapsed());
        let up = self.context.links.wait_until_up(Link::History);
        tokio::time::timeout(patience, up).await.map_err(|_| "NATS connection down")?;
        let subject = match message.subject {
            StreamSubject::All => store.subjects.all.clone(),
            StreamSubject::Own => store.subjects.own(me.tag),
        };
        // The server persists a repeated message once.
        let id = format!("{}.{}.{}", me.tag, me.epoch, message.order);
        let mut publish = PublishMessage::build().payload(message.payload.clone());
        if let Some(headers) = &message.headers {
            publish = publish.headers(headers.clone());
        }
        let publish = publish.message_id(id);
        let confirmed = store.context.send_publish(subject, publish).await?.await?;
        Ok(confirmed.sequence)
    }

    /// Notes that a message is lost. No client may return, here or elsewhere, and count as complete.
    fn give_up(&self, message: &StreamMessage) {
        let is_for_all = message.subject == StreamSubject::All;
        {
            let mut log = self.state.log.lock();
            if let Some(number) = self.state.queue.set_place(message.order, None) {
                log.note_own_loss(number);
            }
            log.owe_loss_notice(is_for_all);
        }
        // An emitter has no node.
        if let Some(node) = self.context.node.get() {
            node.note_loss();
            if is_for_all {
                self.state.queue.note_loss();
            }
        }
    }

    /// Sends a message that the server does not persist to the connected nodes. Currently disconnected clients are not
    /// recovered then.
    async fn send_unpersisted(&self, message: &StreamMessage) {
        let StreamState { store, me, queue, .. } = self.state;
        self.context.counters.unkept.add(message.records);
        let payload = match message.subject {
            StreamSubject::All => message.payload.clone(),
            // The others must see the gap, in case the receivers of these events return to them.
            StreamSubject::Own => queue.empty_message(*me, self.version()).payload,
        };
        {
            let mut log = self.state.log.lock();
            if let Some(number) = queue.set_place(message.order, None) {
                log.note_own_loss(number);
            }
            log.owe_loss_notice(true);
            if let Ok(head) = Head::read(&mut Reader::new(&payload)) {
                // The message counts as sent, so the next persisted message of this node shows no gap.
                log.count(head.publisher, head.sequence);
            }
        }
        // If it does not arrive, the next persisted message shows the gap.
        if let Err(error) = store.context.client().publish(store.subjects.unkept.clone(), payload).await {
            tracing::warn!(target: "sociable::recovery", %error, "unpersisted events were not sent");
        }
    }
}
