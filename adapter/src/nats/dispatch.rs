//! The request of a record of another node.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::context::NatsContext;
use super::route::Route;
use super::wire::{self, Publisher, Record};
use crate::{AdapterError, Answer, Node, Operation, Request};

/// The time that a full queue may hold up an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two attempts to queue an answer.
const NAP: Duration = Duration::from_millis(5);

/// Carries out a record.
pub(crate) fn dispatch_record(context: &Arc<NatsContext>, node: &Arc<dyn Node>, from: Publisher, record: Record) {
    match record {
        Record::Message(message) => {
            if context.has_history() && matches!(message.operation, Operation::Emit { volatile: false, .. }) {
                context.counters.not_for_history.increment();
                // Logged at powers of two: there is one for each event.
                let events = context.counters.not_for_history.get();
                if events.is_power_of_two() {
                    tracing::warn!(target: "sociable::recovery", tag = %from.tag, events, "event came outside the shared history; start its process with JetStream");
                }
            }
            node.deliver(message);
        }
        Record::Order(_, message) => node.deliver(message),
        // Persisted records come by the stream alone.
        Record::Persisted(_) | Record::Lost => context.counters.malformed.increment(),
        Record::Request(id, request) => answer(context, node, from, id, request),
        Record::Cancel(id) => context.answering.cancel(from, id),
        Record::Answer(id, answer) => context.questions.answer(from.tag, id, answer),
        Record::End(id) => context.questions.complete(from.tag, id),
        Record::Refused(id) => context.questions.refuse(from.tag, id),
    }
}

/// Has the node answer a question, and sends its answers.
fn answer(context: &Arc<NatsContext>, node: &Arc<dyn Node>, asker: Publisher, question: u64, request: Request) {
    let started = context.answering.start(asker, question, || {
        // The node is asked at once, so that no later message overtakes the question.
        let mut answers = node.answer(request);
        let at = Arc::clone(context);
        let task = tokio::spawn(async move {
            let mut sent = true;
            while let Some(answer) = answers.next().await {
                sent &= send_answer(&at, asker, question, &answer).await;
            }
            // If an answer is missing, the other node must not take the rest for all.
            let last = if sent { wire::encode_end(question) } else { wire::encode_refused(question) };
            send_patiently(&at, asker, last).await;
            at.answering.finish(asker, question);
        });
        task.abort_handle()
    });
    if !started {
        context.counters.unanswered.increment();
        // If the refusal can't be sent either, the other node waits until its deadline.
        drop(context.push(Route::Node(asker.tag), wire::encode_refused(question)));
    }
}

/// Sends an answer. Returns false if the other node can't get it.
async fn send_answer(context: &NatsContext, asker: Publisher, id: u64, answer: &Answer) -> bool {
    let limit = context.send_queue.max_record();
    let mut sent = true;
    for record in wire::encode_answer(id, answer, limit) {
        if record.len() - wire::HEAD <= limit {
            sent &= send_patiently(context, asker, record).await;
            continue;
        }
        context.counters.answers_too_large.increment();
        tracing::warn!(target: "sociable::adapter", bytes = record.len(), limit, "answer exceeds the payload limit of NATS; raise max_payload of its server");
        match answer {
            // The client acknowledged, but the answer can't be sent to the other node.
            Answer::Ack(client, _) => {
                for record in wire::encode_answer(id, &Answer::Gone(*client), limit) {
                    sent &= send_patiently(context, asker, record).await;
                }
            }
            _ => sent = false,
        }
    }
    sent
}

/// Queues a record for a node, and retries for a while if the queue is full.
async fn send_patiently(context: &NatsContext, to: Publisher, record: Vec<u8>) -> bool {
    let begun = Instant::now();
    loop {
        match context.push(Route::Node(to.tag), record.clone()) {
            Ok(()) => return true,
            Err(AdapterError::Full { .. }) if begun.elapsed() < PATIENCE => tokio::time::sleep(NAP).await,
            Err(_) => return false,
        }
    }
}

pub(super) fn count_malformed(context: &NatsContext, error: &dyn Display) {
    context.counters.malformed.increment();
    tracing::debug!(target: "sociable::adapter", %error, "malformed data from the bus");
}
