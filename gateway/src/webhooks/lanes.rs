//! The events of each socket that wait for a URL: in order, one after the other.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use sociable::protocol::maps::Map;
use sociable::{Ack, Id, Namespace, Socket};
use tokio::time::Instant;

use super::answer::{send_all, send_error};
use super::body;
use super::client::Message;
use super::cloudevent::Attributes;
use super::delivery::{Mode, Reply, deliver};
use super::endpoint::{Charge, Endpoint, Outcome};
use super::hooks::unavailable;
use super::shared::Shared;

/// The memory of a waiting webhook besides its content, in bytes.
pub(super) const ITEM_COST: usize = 2048;

/// The number of maps. Threads meet at one of them alone.
const SHARDS: usize = 16;

/// The lanes of all sockets that have waiting webhooks.
#[derive(Debug)]
pub(super) struct Lanes {
    shards: [Mutex<Map<Key, Lane>>; SHARDS],
    hasher: RandomState,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new() }
    }
}

/// The webhooks of one socket to one URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) namespace: ByteString,
    pub(super) socket: Id,
    pub(super) endpoint: usize,
}

/// The waiting webhooks of a socket to a URL. A lane exists while it has any.
#[derive(Debug)]
struct Lane {
    owner: Owner,
    waiting: VecDeque<Item>,
    /// The acknowledgement of the webhook that is on its way.
    current: Option<Ack>,
    /// The webhooks of this lane that wait or are on their way, in bytes.
    bytes: usize,
    /// Set while a task delivers the waiting webhooks.
    driven: bool,
    /// The number of webhooks that are delivered beside the order.
    parallel: usize,
    /// Set while a task waits for the deadlines of waiting webhooks.
    watched: bool,
}

/// The socket of a lane. A socket that has left is not held, because it holds the request of its client.
#[derive(Clone, Debug)]
enum Owner {
    Here(Socket),
    /// The socket has left. The data is JSON.
    Left(Namespace, Arc<[u8]>),
}

/// A waiting webhook.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) attributes: Attributes,
    pub(super) content: Content,
    pub(super) ack: Option<Ack>,
    pub(super) mode: Mode,
    pub(super) deadline: Instant,
    /// Held until the webhook has ended.
    pub(super) _charge: Charge,
    /// The bytes by which the lane counts it.
    pub(super) cost: usize,
}

/// The content of a webhook.
#[derive(Debug)]
pub(super) enum Content {
    /// An event. The arguments are JSON. The body of each attempt gets the data that the socket has then.
    Event { name: ByteString, args: String, asked: bool },
    /// A body.
    Ready(Bytes),
}

impl Lanes {
    fn shard(&self, key: &Key) -> MutexGuard<'_, Map<Key, Lane>> {
        self.shards[self.number(key) % SHARDS].lock()
    }

    /// Returns the number by which a socket finds its shard and its thread.
    fn number(&self, key: &Key) -> usize {
        self.hasher.hash_one(key.socket) as usize
    }

    /// Marks a socket as left: what still waits is delivered without it.
    pub(super) fn left(&self, socket: &Socket, endpoint: usize, data: &Arc<[u8]>) {
        let key = Key { namespace: socket.namespace().name().clone(), socket: socket.id(), endpoint };
        let mut shard = self.shard(&key);
        let Some(lane) = shard.get_mut(&key) else { return };
        if !matches!(&lane.owner, Owner::Here(here) if here == socket) {
            return;
        }
        // Dropped outside of the lock.
        let owner = std::mem::replace(&mut lane.owner, Owner::Left(socket.namespace().clone(), Arc::clone(data)));
        let acks: Vec<_> = lane.waiting.iter_mut().filter_map(|item| item.ack.take()).chain(lane.current.take()).collect();
        drop(shard);
        drop((owner, acks));
    }
}

/// Adds a webhook of a socket. Returns false if too many bytes of the socket wait.
pub(super) fn push(shared: &Arc<Shared>, endpoint: &Arc<Endpoint>, socket: &Socket, item: Item, parallel: bool) -> bool {
    let key = Key { namespace: socket.namespace().name().clone(), socket: socket.id(), endpoint: endpoint.index };
    let mut shard = shared.lanes.shard(&key);
    let lane = match shard.entry(key.clone()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Lane {
            owner: Owner::Here(socket.clone()),
            waiting: VecDeque::new(),
            current: None,
            bytes: 0,
            driven: false,
            parallel: 0,
            watched: false,
        }),
    };
    if lane.bytes > 0 && lane.bytes + item.cost > shared.settings.socket_queue_bytes {
        return false;
    }
    // A client that resumed its session has another socket with the same id.
    if !matches!(&lane.owner, Owner::Here(here) if here == socket) {
        lane.owner = Owner::Here(socket.clone());
    }
    lane.bytes += item.cost;
    let handle = shared.handle(shared.lanes.number(&key)).clone();
    let (shared, endpoint) = (Arc::clone(shared), Arc::clone(endpoint));
    if parallel {
        lane.parallel += 1;
        drop(shard);
        let mut item = item;
        handle.spawn(async move { run(&shared, &key, &endpoint, &mut item, true).await });
    } else if !lane.driven {
        lane.driven = true;
        drop(shard);
        handle.spawn(async move { drive(&shared, &key, &endpoint, item).await });
    } else {
        let watch = item.mode == Mode::Wait && !lane.watched;
        lane.watched |= watch;
        lane.waiting.push_back(item);
        drop(shard);
        if watch {
            handle.spawn(async move { expire(&shared, &key, &endpoint).await });
        }
    }
    true
}

/// Delivers the webhooks of a lane until none waits.
async fn drive(shared: &Arc<Shared>, key: &Key, endpoint: &Arc<Endpoint>, first: Item) {
    let mut item = first;
    loop {
        run(shared, key, endpoint, &mut item, false).await;
        let mut shard = shared.lanes.shard(key);
        let Some(next) = shard.get_mut(key).and_then(|lane| lane.waiting.pop_front()) else {
            return finish(&mut shard, key, |lane| lane.driven = false);
        };
        drop(shard);
        item = next;
    }
}

/// Notes the end of a task of a lane, and removes a lane without webhooks.
fn finish(shard: &mut Map<Key, Lane>, key: &Key, note: impl FnOnce(&mut Lane)) {
    if let Some(lane) = shard.get_mut(key) {
        note(lane);
        if !lane.driven && lane.parallel == 0 && lane.waiting.is_empty() {
            shard.remove(key);
        }
    }
}

/// Delivers one webhook, and applies its answer.
async fn run(shared: &Arc<Shared>, key: &Key, endpoint: &Arc<Endpoint>, item: &mut Item, parallel: bool) {
    let mut own_ack = None;
    match shared.lanes.shard(key).get_mut(key) {
        // A socket that leaves takes the acknowledgement with it.
        Some(lane) if !parallel => lane.current = item.ack.take(),
        _ => own_ack = item.ack.take(),
    }
    // A panic, which is in the log, must not keep the webhooks that wait behind this one.
    let attempts = AssertUnwindSafe(attempt(shared, key, endpoint, item));
    let result = attempts.catch_unwind().await.unwrap_or(Err(Outcome::Failed));
    let (owner, ack) = {
        let mut shard = shared.lanes.shard(key);
        let lane = shard.get_mut(key);
        let ack = lane.map(|lane| {
            lane.bytes = lane.bytes.saturating_sub(item.cost);
            (lane.owner.clone(), if parallel { own_ack } else { lane.current.take() })
        });
        if parallel {
            finish(&mut shard, key, |lane| lane.parallel -= 1);
        }
        match ack {
            Some((owner, ack)) => (owner, ack),
            None => return,
        }
    };
    let settled = panic::catch_unwind(AssertUnwindSafe(|| settle(endpoint, &owner, ack.as_ref(), result)));
    if settled.is_err() {
        endpoint.counters.unapplied.fetch_add(1, Ordering::Relaxed);
    }
}

/// Delivers the content of a webhook.
async fn attempt(shared: &Arc<Shared>, key: &Key, endpoint: &Arc<Endpoint>, item: &Item) -> Result<Reply, Outcome> {
    let body = || match &item.content {
        Content::Ready(body) => body.clone(),
        Content::Event { name, args, asked } => {
            let owner = shared.lanes.shard(key).get(key).map(|lane| lane.owner.clone());
            let data = owner.map(|owner| owner.data()).unwrap_or_default();
            body::event(&key.namespace, key.socket.as_str(), name, args, *asked, &data).into()
        }
    };
    let message = Message { id: &item.attributes.id, attributes: Some(&item.attributes), body: &body };
    match shared.client(shared.lanes.number(key)) {
        Some(client) => deliver(shared, &client, endpoint, &message, item.mode, item.deadline).await,
        None => Err(Outcome::Dropped),
    }
}

/// Applies an answer, or tells the client that there is none.
fn settle(endpoint: &Endpoint, owner: &Owner, ack: Option<&Ack>, result: Result<Reply, Outcome>) {
    match result {
        Ok(Reply::Answer(answer)) => {
            endpoint.counters.count(Outcome::Delivered);
            let mut unapplied = 0;
            if let Owner::Here(socket) = owner {
                unapplied += answer.change(socket);
            }
            unapplied += send_all(&answer.emit, owner.namespace(), endpoint);
            if let Owner::Here(socket) = owner {
                unapplied += answer.finish(socket, ack);
            }
            endpoint.counters.unapplied.fetch_add(unapplied as u64, Ordering::Relaxed);
        }
        // Sockets alone are refused.
        Ok(Reply::Refused(_)) => endpoint.counters.count(Outcome::Refused),
        Err(outcome) => {
            endpoint.counters.count(outcome);
            if let Some(ack) = ack {
                send_error(ack, &unavailable());
            }
        }
    }
}

/// Ends waiting webhooks whose deadline has passed before their turn came.
async fn expire(shared: &Arc<Shared>, key: &Key, endpoint: &Arc<Endpoint>) {
    loop {
        let (expired, next) = {
            let mut shard = shared.lanes.shard(key);
            let Some(lane) = shard.get_mut(key) else { return };
            let now = Instant::now();
            let is_due = |item: &Item| item.mode == Mode::Wait && item.deadline <= now;
            let mut expired = vec![];
            if lane.waiting.iter().any(is_due) {
                let (due, rest): (Vec<_>, VecDeque<_>) = {
                    let mut due = vec![];
                    let mut rest = VecDeque::with_capacity(lane.waiting.len());
                    for item in lane.waiting.drain(..) {
                        if is_due(&item) { due.push(item) } else { rest.push_back(item) }
                    }
                    (due, rest)
                };
                lane.waiting = rest;
                lane.bytes = lane.bytes.saturating_sub(due.iter().map(|item| item.cost).sum());
                expired = due;
            }
            let next = lane.waiting.iter().filter(|item| item.mode == Mode::Wait).map(|item| item.deadline).min();
            lane.watched = next.is_some();
            (expired, next)
        };
        for item in expired {
            endpoint.counters.count(Outcome::Expired);
            if let Some(ack) = &item.ack {
                send_error(ack, &unavailable());
            }
        }
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => return,
        }
    }
}

impl Owner {
    fn namespace(&self) -> &Namespace {
        match self {
            Self::Here(socket) => socket.namespace(),
            Self::Left(namespace, _) => namespace,
        }
    }

    /// Returns the data of the socket as JSON.
    fn data(&self) -> Arc<[u8]> {
        match self {
            Self::Here(socket) => body::to_json(&body::data_of(socket)).into(),
            Self::Left(_, data) => Arc::clone(data),
        }
    }
}
