//! Batches: events of many sockets in one request, in order, one batch after the other.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use sociable::protocol::maps::Numbered;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Message;
use super::delivery::{Mode, deliver};
use super::endpoint::{Charge, Endpoint, Outcome};
use super::shared::Shared;

/// The batches of all URLs that have any.
#[derive(Debug, Default)]
pub(super) struct Batches(Mutex<Numbered<Batch>>);

/// The events that wait for a URL.
#[derive(Debug)]
struct Batch {
    waiting: VecDeque<Waiting>,
    /// The bytes of the waiting events.
    bytes: usize,
    /// Notified when enough events for a request wait.
    enough: Arc<Notify>,
}

/// A structured event that waits.
#[derive(Debug)]
struct Waiting {
    event: Vec<u8>,
    charge: Charge,
    deadline: Instant,
}

/// The events of one request.
struct Request {
    body: Bytes,
    charges: Vec<Charge>,
    /// That of the oldest event.
    deadline: Instant,
}

impl Batches {
    /// Sends what waits without collecting more.
    pub(super) fn hurry(&self) {
        self.0.lock().values().for_each(|batch| batch.enough.notify_one());
    }
}

/// Adds a structured event.
pub(super) fn push(shared: &Arc<Shared>, endpoint: &Arc<Endpoint>, event: Vec<u8>, charge: Charge) {
    let settings = &shared.settings;
    let mut batches = shared.batches.0.lock();
    let key = endpoint.index as u64;
    let is_new = !batches.contains_key(&key);
    let batch = batches.entry(key).or_insert_with(|| Batch { waiting: VecDeque::new(), bytes: 0, enough: Arc::new(Notify::new()) });
    batch.bytes += event.len();
    batch.waiting.push_back(Waiting { event, charge, deadline: Instant::now() + settings.told_deadline });
    if batch.waiting.len() >= settings.batch_events || batch.bytes >= settings.batch_bytes {
        batch.enough.notify_one();
    }
    let enough = Arc::clone(&batch.enough);
    drop(batches);
    if is_new {
        let handle = shared.handle(endpoint.index).clone();
        let (shared, endpoint) = (Arc::clone(shared), Arc::clone(endpoint));
        handle.spawn(async move { drive(&shared, &endpoint, &enough).await });
    }
}

/// Sends batches until no event waits.
async fn drive(shared: &Arc<Shared>, endpoint: &Arc<Endpoint>, enough: &Notify) {
    let settings = &shared.settings;
    loop {
        if !shared.closed.load(Ordering::Acquire) {
            // At the end of the time, the batch is as large as it is.
            let _ = tokio::time::timeout(settings.batch_time, enough.notified()).await;
        }
        let Some(Request { body, charges, deadline }) = take(shared, endpoint) else { return };
        let message = Message { id: &shared.next_id(), attributes: None, body: &|| body.clone() };
        let result = match shared.client(endpoint.index) {
            Some(client) => {
                let attempts = AssertUnwindSafe(deliver(shared, &client, endpoint, &message, Mode::Told, deadline));
                // A panic, which is in the log, must not keep the batches behind this one.
                attempts.catch_unwind().await.unwrap_or(Err(Outcome::Failed))
            }
            None => Err(Outcome::Dropped),
        };
        endpoint.counters.count_many(result.err().unwrap_or(Outcome::Delivered), charges.len());
    }
}

/// Takes the events of the next request. Without any, the batch is removed.
fn take(shared: &Shared, endpoint: &Endpoint) -> Option<Request> {
    let settings = &shared.settings;
    let mut batches = shared.batches.0.lock();
    let key = endpoint.index as u64;
    let batch = batches.get_mut(&key)?;
    let Some(deadline) = batch.waiting.front().map(|first| first.deadline) else {
        batches.remove(&key);
        return None;
    };
    let (mut body, mut charges) = (vec![b'['], vec![]);
    while charges.len() < settings.batch_events
        && let Some(next) = batch.waiting.front()
        && (charges.is_empty() || body.len() + next.event.len() <= settings.batch_bytes)
        && let Some(Waiting { event, charge, .. }) = batch.waiting.pop_front()
    {
        if !charges.is_empty() {
            body.push(b',');
        }
        batch.bytes -= event.len();
        body.extend_from_slice(&event);
        charges.push(charge);
    }
    if batch.waiting.len() >= settings.batch_events || batch.bytes >= settings.batch_bytes {
        batch.enough.notify_one();
    }
    body.push(b']');
    Some(Request { body: body.into(), charges, deadline })
}
