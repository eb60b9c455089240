//! A history that the nodes of a cluster share, kept by JetStream: a client whose node was killed comes back to another one.
//!
//! # Layout, in the order of an event's way
//!
//! * [`StreamHistory`]: gives an event its number, keeps it in this node's memory, and has it sent to the clients of this node at once.
//! * `outbound`: what waits to be kept by the server, and the task that publishes it: one message at a time for each subject, each until it is
//!   confirmed, so that nothing is lost, doubled or exchanged while the servers elect a leader.
//! * `inbound`: what the server sends on when it has kept it. Who finds that something did not come reads it from the stream.
//! * `sessions`: who the clients of this node are, in a bucket, while they live; and who takes one over.
//! * `store`: stream and bucket. `offset`: positions as clients are shown them.
//!
//! # Two numbers
//!
//! An event stands at a place that all nodes see: the sequence of its message in the stream, and where it is in the message. But its own node sends it to
//! its clients without waiting for that, so that what an application does in a row (emit, leave, disconnect) happens in a row. What a client
//! has is therefore two numbers, a [`Position`]: all of the node that served it up to the first, all of the others up to the second.

mod inbound;
mod offset;
mod outbound;
mod sessions;
mod store;

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sociable_protocol::{Frames, Id, NodeTag};
use tokio::sync::{Notify, watch};

use self::inbound::place_behind;
use self::offset::{Epoch, WIDTH};
use self::outbound::{Lane, Outbound};
use self::sessions::Sessions;
pub(crate) use self::store::Store;
use super::wire::{self, Publisher};
use super::{Counters, Shared};
use crate::history::shelf::{self, Shelf};
use crate::history::{OVERHEAD, Position};
use crate::message::Target;
use crate::{AdapterError, Entry, History, Limits, Missed, Node, Reach, SavedSession, Usage};

/// So many events may be in one message: the lower bits of a place tell which of them it is.
const PER_MESSAGE: u64 = 1 << 12;
/// How often sessions that live are saved anew, at least and at most.
const REFRESH: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// What an event may be late by when its age is reckoned.
const SLACK: Duration = Duration::from_secs(60);
/// How many positions that a client has shown are remembered. What they tell matters for seconds.
const MAX_SHOWN: usize = 32;

/// How the events and sessions of a cluster are kept by JetStream.
///
/// ```
/// use std::time::Duration;
/// use sociable_adapter::{JetStreamOptions, NatsOptions};
///
/// let kept = JetStreamOptions::default().replicas(3).max_bytes(4 << 30);
/// let options = NatsOptions::new("nats://127.0.0.1:4222").jetstream(kept);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    replicas: Option<usize>,
    in_memory: bool,
    max_age: Duration,
    max_bytes: i64,
    deadline: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self { replicas: None, in_memory: false, max_age: Duration::from_secs(600), max_bytes: 1 << 30, deadline: Duration::from_secs(60) }
    }
}

impl JetStreamOptions {
    /// On how many NATS servers events and sessions are kept: by default three, or one where there is one. It is decided by the first node of the cluster.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Keeps them in the memory of the NATS servers, not in files: by default in files.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// How long events are kept, 10 minutes by default; longer by itself where clients may be away for longer.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How many bytes of events are kept, 1 GiB by default. What is oldest goes first; who would need it gets a new session.
    #[must_use]
    pub fn max_bytes(mut self, bytes: i64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long an event may wait until a NATS server confirms that it is kept, 60 s by default: longer than the election of a leader, shorter than two
    /// minutes. What has waited longer is dropped and counted, and clients of other nodes that may have been promised it are cut off, so that they
    /// begin anew.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(Duration::from_secs(110));
        self
    }
}

/// What this node has of the history that the nodes share.
pub(crate) struct StreamHistory {
    me: Publisher,
    limits: Limits,
    shared: Weak<Shared>,
    log: Mutex<Log>,
    outbound: Outbound,
    sessions: Sessions,
    /// What is asked for has to be looked after now.
    wake: Notify,
    /// Told when more of the stream has been taken.
    moved: watch::Sender<u64>,
    /// What other nodes keep is heard.
    listens: watch::Sender<bool>,
    catching_up: sessions::CatchingUp,
    store: OnceLock<Store>,
    /// Where the offset of an event will be, while it is written: nobody can send it by chance or guess it.
    blank: String,
}

/// Events, as far as this node knows them.
#[derive(Debug)]
struct Log {
    epoch: Epoch,
    /// What this node sent, and what came for all.
    shelf: Shelf,
    /// What other nodes sent to their own sockets, of which some have come here.
    others: FxHashMap<NodeTag, Others>,
    /// The number of the last event of this node.
    number: u64,
    /// All for all nodes up to this place has been taken.
    place: u64,
    /// Messages of each publisher so far.
    heads: FxHashMap<Publisher, u64>,
}

#[derive(Debug)]
struct Others {
    shelf: Shelf,
    /// Up to this sequence it has been read.
    read: u64,
}

impl Log {
    fn position(&self, me: Publisher) -> Position {
        Position { tag: Some(me.tag), own: self.number, place: self.place }
    }

    fn trim(&mut self, limits: &Limits, now: Instant) {
        self.shelf.expire(limits.event_age, now);
        while self.shelf.bytes() > limits.total_bytes && self.shelf.oldest().is_some() {
            self.shelf.drop_oldest();
        }
        for others in self.others.values_mut() {
            others.shelf.expire(limits.event_age, now);
            while others.shelf.bytes() > limits.total_bytes / 4 {
                others.shelf.drop_oldest();
            }
        }
    }
}

impl fmt::Debug for StreamHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHistory").field("me", &self.me).field("head", &self.head()).finish_non_exhaustive()
    }
}

impl StreamHistory {
    pub(crate) fn new(shared: &Arc<Shared>, store: Store, limits: Limits) -> Self {
        let me = shared.me();
        let log = Log {
            epoch: store.epoch,
            shelf: Shelf::new(me.tag, 0),
            others: FxHashMap::default(),
            number: 0,
            place: 0,
            heads: FxHashMap::default(),
        };
        let blank = std::iter::repeat_with(NodeTag::random).map(|tag| tag.to_string()).take(WIDTH.div_ceil(4)).collect::<String>();
        let options = shared.options.jetstream.clone().unwrap_or_default();
        Self {
            me,
            limits,
            shared: Arc::downgrade(shared),
            log: Mutex::new(log),
            outbound: Outbound::new(shared.options.queue_bytes, options.deadline),
            sessions: Sessions::default(),
            wake: Notify::new(),
            moved: watch::Sender::new(0),
            listens: watch::Sender::new(false),
            catching_up: sessions::CatchingUp::default(),
            store: OnceLock::from(store),
            blank: blank[..WIDTH].to_owned(),
        }
    }

    fn store(&self) -> Result<&Store, store::Trouble> {
        self.store.get().ok_or_else(|| "there is no stream".into())
    }

    fn refresh(&self) -> Duration {
        (self.limits.session_age / 2).clamp(REFRESH.0, REFRESH.1)
    }

    /// Tells all nodes something that is no event of the history, in order with those that are.
    pub(crate) fn tell(&self, record: Vec<u8>, limit: usize, counters: &Counters) -> Result<(), AdapterError> {
        // Nothing may get between the number of an event and its record.
        let _log = self.log.lock();
        self.outbound.push(Lane::All, record, None, limit, counters)
    }

    /// Ends when what other nodes keep is heard.
    pub(crate) async fn listening(&self) {
        drop(self.listens.subscribe().wait_for(|listens| *listens).await);
    }

    /// Ends when all events and sessions are kept.
    pub(crate) async fn all_is_kept(&self) {
        drop(self.flushed().await);
        self.sessions.settled(None).await;
    }

    /// Does what has to be done for as long as the node lives.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>, client: async_nats::Client) {
        if let Some(store) = self.store.get() {
            let (events, sessions) = (self.limits.event_age + SLACK, self.limits.session_age + 3 * self.refresh());
            if let Err(error) = store.keep_for(events, sessions).await {
                tracing::warn!(target: "sociable::recovery", %error, "events may be kept for a shorter time than clients may be away");
            }
        }
        tokio::join!(
            outbound::run(Arc::clone(&self), Arc::clone(&shared)),
            inbound::run(Arc::clone(&self), Arc::clone(&shared), client.clone()),
            sessions::run(Arc::clone(&self), Arc::clone(&shared)),
            sessions::guard(Arc::clone(&self), Arc::clone(&shared)),
            sessions::give_up(Arc::clone(&self), Arc::clone(&shared), client),
        );
    }

    /// What is for all up to this message is not here.
    fn begins_behind(&self, sequence: u64) {
        let mut log = self.log.lock();
        log.shelf.begins_behind(place_behind(sequence));
        log.place = log.place.max(place_behind(sequence));
    }

    /// There is nothing for all up to this message that has not been taken.
    fn nothing_up_to(&self, sequence: u64, shared: &Shared) {
        let mut log = self.log.lock();
        if place_behind(sequence) <= log.place {
            return;
        }
        log.place = place_behind(sequence);
        // Before what comes next.
        if let Some(node) = shared.node.get() {
            node.reached(log.position(self.me));
        }
        drop(log);
        self.moved.send_replace(sequence);
    }

    /// The stream is another one, of which this message and those before are not here.
    fn begin_anew(&self, epoch: Epoch, sequence: u64) {
        let mut log = self.log.lock();
        let (number, place) = (log.number, place_behind(sequence));
        let mut shelf = Shelf::new(self.me.tag, place);
        shelf.owns_behind(number);
        *log = Log { epoch, shelf, others: FxHashMap::default(), number, place, heads: FxHashMap::default() };
    }

    /// Takes an event of another node from its message. It is delivered if `node` is given.
    fn take_event(&self, log: &mut Log, publisher: NodeTag, place: u64, kept: wire::Kept, node: Option<&Arc<dyn Node>>) -> Option<()> {
        let reached = Position { tag: Some(self.me.tag), own: log.number, place };
        let entry = Arc::new(read_event(log.epoch, publisher, place, kept, reached)?);
        let now = Instant::now();
        log.place = place;
        log.shelf.push(&entry, now);
        log.trim(&self.limits, now);
        if let Some(node) = node {
            node.keep(&entry);
        }
        Some(())
    }
}

/// Publishes what waits, for a process that has no sockets.
pub(crate) async fn publish(history: Arc<StreamHistory>, shared: Arc<Shared>) {
    outbound::run(history, shared).await;
}

/// An event out of its record, with the offset that clients of this node are shown.
fn read_event(epoch: Epoch, publisher: NodeTag, place: u64, kept: wire::Kept, reached: Position) -> Option<Entry> {
    let wire::Kept { number, at, namespace, target, compress, frames } = kept;
    let mut bytes = frames.to_vec();
    if let Some(at) = at {
        bytes.get_mut(at..at.checked_add(WIDTH)?)?.copy_from_slice(offset::write(epoch, &reached).as_bytes());
    }
    let frames = Frames::read(Bytes::from(bytes))?;
    Some(Entry::new(namespace, target, frames, compress, number, reached, true).placed(publisher, place))
}

impl History for StreamHistory {
    fn append(
        &self,
        namespace: &ByteString,
        target: Target,
        compress: bool,
        reach: Reach,
        write: &mut dyn FnMut(&str) -> Frames,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    ) -> Result<(), AdapterError> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(AdapterError::Unreachable("this process has taken leave".into()));
        };
        let limit = shared.outgoing.max_record();
        let mut log = self.log.lock();
        let number = log.number + 1;
        let reached = Position { tag: Some(self.me.tag), own: number, place: log.place };
        let mut bytes = write(&self.blank).into_bytes().to_vec();
        // It is nearly always at the end.
        let at = bytes.windows(WIDTH).rposition(|window| window == self.blank.as_bytes());
        if let Some(at) = at {
            bytes[at..at + WIDTH].copy_from_slice(offset::write(log.epoch, &reached).as_bytes());
        }
        let record = wire::kept(number, at, namespace, &target, compress, &bytes);
        let Some(frames) = Frames::read(bytes.into()) else {
            return Err(AdapterError::Unreachable("a packet could not be written".into()));
        };
        let entry = Arc::new(Entry::new(namespace.clone(), target, frames, compress, number, reached, true));
        let lane = match reach {
            Reach::Everywhere => Lane::All,
            Reach::Here => Lane::Own,
        };
        self.outbound.push(lane, record, Some(Arc::clone(&entry)), limit, &shared.counters)?;
        let now = Instant::now();
        log.number = number;
        log.shelf.push(&entry, now);
        log.trim(&self.limits, now);
        deliver(&entry);
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn head(&self) -> Position {
        self.log.lock().position(self.me)
    }

    fn offset(&self, position: &Position) -> String {
        let epoch = self.log.lock().epoch;
        offset::write(epoch, position)
    }

    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed> {
        let log = self.log.lock();
        let seen = self.seen(&log, offset);
        let mut known = vec![session.since];
        known.extend(seen.iter().chain(&session.shown));
        if session.sent.is_none_or(|sent| known.iter().any(|position| position.covers(&sent))) {
            // It has all that it was sent, so that there is nothing for it up to where it was served.
            known.push(session.until);
        }
        let shelves = || log.others.values().map(|others| &others.shelf).chain([&log.shelf]);
        if !shelves().all(|shelf| shelf.is_complete_behind(&known)) {
            return None;
        }
        let entries = shelf::in_order(shelves().flat_map(|shelf| shelf.find(session, &known)).collect());
        let (head, epoch) = (log.position(self.me), log.epoch);
        drop(log);
        let bytes: usize = entries.iter().map(|entry| entry.frames.len() + OVERHEAD).sum();
        if bytes > self.limits.session_bytes {
            return None;
        }
        // If the connection is lost again in the midst of all this, it has to be known which of it has come.
        let mut begin = seen.first().copied().unwrap_or(session.since);
        let mut besides: Vec<(NodeTag, u64)> = seen.iter().skip(1).filter_map(|position| Some((position.tag?, position.own))).collect();
        let offsets = entries.iter().map(|entry| {
            if begin.tag == Some(entry.publisher) {
                begin.own = begin.own.max(entry.number);
            } else if let Some((_, own)) = besides.iter_mut().find(|(tag, _)| *tag == entry.publisher) {
                *own = (*own).max(entry.number);
            } else {
                besides.push((entry.publisher, entry.number));
            }
            offset::write_besides(epoch, &begin, &besides)
        });
        let offsets = offsets.collect();
        Some(Missed { entries, offsets, head })
    }

    fn save(&self, session: SavedSession) -> bool {
        if session.cost() > self.limits.session_bytes {
            return false;
        }
        let limit = self.shared.upgrade().map_or(0, |shared| shared.outgoing.max_record());
        let epoch = self.log.lock().epoch;
        self.sessions.save(&session, self.me, epoch, limit, self.outbound.pushed())
    }

    fn keeps_living(&self) -> Option<Duration> {
        Some(self.refresh())
    }

    fn forget(&self, pid: &Id) {
        self.sessions.forget(pid);
    }

    fn holds(&self, pid: &Id) -> bool {
        self.sessions.holds(pid)
    }

    fn take(&self, namespace: &str, pid: &Id, offset: Option<&str>) -> BoxFuture<'static, Option<SavedSession>> {
        let Some(shared) = self.shared.upgrade() else { return futures_util::future::ready(None).boxed() };
        let Some(this) = shared.history.get().cloned() else { return futures_util::future::ready(None).boxed() };
        let seen = self.seen(&self.log.lock(), offset);
        // On the thread of the adapter, whatever runtime this one has.
        let taken = shared.runtime.spawn(sessions::take(this, Arc::clone(&shared), namespace.into(), *pid, seen));
        async move { taken.await.ok().flatten() }.boxed()
    }

    fn flushed(&self) -> BoxFuture<'static, Result<(), AdapterError>> {
        self.outbound.flushed(self.outbound.pushed())
    }

    fn sweep(&self) {
        let mut log = self.log.lock();
        log.trim(&self.limits, Instant::now());
        log.shelf.shrink();
        log.others.retain(|_, others| others.shelf.len() > 0);
        drop(log);
        self.sessions.sweep(self.limits.session_age);
    }

    fn usage(&self) -> Usage {
        let log = self.log.lock();
        let others: usize = log.others.values().map(|others| others.shelf.bytes()).sum();
        let (events, bytes) = (log.shelf.len(), log.shelf.bytes() + others);
        drop(log);
        let (sessions, of_sessions) = self.sessions.usage();
        Usage { events, sessions, bytes: bytes + of_sessions }
    }
}

impl StreamHistory {
    /// What a client shows that it has. An offset of another stream, or of a place that nobody has got to, says nothing.
    fn seen(&self, log: &Log, offset: Option<&str>) -> Vec<Position> {
        let seen = offset.and_then(|offset| offset::read(log.epoch, offset)).unwrap_or_default();
        let made_up = |position: &Position| position.tag == Some(self.me.tag) && position.own > log.number;
        if seen.iter().any(made_up) { vec![] } else { seen }
    }
}
