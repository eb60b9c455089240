//! A history that the nodes of a cluster share, kept by JetStream: a client whose node was killed comes back to another one.
//!
//! # Layout, in the order of an event's way
//!
//! * [`StreamHistory`]: gives an event its number, keeps it in this node's memory, and has it sent to the clients of this node at once.
//! * `outbound`: what waits to be kept by the server, and the task that publishes it: one message at a time for each subject, each until it is
//!   confirmed, so that nothing is lost, doubled or exchanged while the servers elect a leader.
//! * `inbound`: what the server sends on when it has kept it. Who finds that something did not come reads it from the stream.
//! * `sessions`: who the clients of this node are, in a bucket, while they live. `takeover`: how one is taken over from another node.
//! * `log`: the events, as far as this node knows them. `store`: stream and bucket. `offset`: positions as clients are shown them.
//!
//! # Two numbers
//!
//! An event stands at a place that all nodes see: the sequence of its message in the stream, and where it is in the message. But its own node sends it to
//! its clients without waiting for that, so that what an application does in a row (emit, leave, disconnect) happens in a row. What a client
//! has is therefore two numbers, a [`Position`]: all of the node that served it up to the first, all of the others up to the second.

mod inbound;
mod log;
mod offset;
mod outbound;
mod sessions;
mod store;
mod takeover;

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sociable_protocol::{Frames, Id, NodeTag};
use tokio::sync::{Notify, oneshot, watch};

use self::log::Log;
use self::offset::WIDTH;
use self::outbound::{Lane, Outbound};
use self::sessions::Sessions;
pub(crate) use self::store::Store;
use super::wire::{self, Publisher};
use super::{Counters, Shared};
use crate::history::Position;
use crate::message::{Operation, Target};
use crate::{AdapterError, Entry, History, Limits, Message, Missed, Reach, SavedSession, Usage};

/// How often sessions that live are saved anew, at least and at most.
const REFRESH: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// What an event may be late by when its age is reckoned.
const SLACK: Duration = Duration::from_secs(60);
/// Nothing is kept for longer.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);
/// For how long the server's time is reckoned from when it was last told.
const CLOCK: Duration = Duration::from_secs(10);
/// How many positions that a client has shown are remembered. What they tell matters for seconds.
const MAX_SHOWN: usize = 2 * offset::MAX_BESIDES;

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
    sessions_bytes: i64,
    max_session: usize,
    deadline: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            replicas: None,
            in_memory: false,
            max_age: Duration::from_secs(600),
            max_bytes: 1 << 30,
            sessions_bytes: 512 << 20,
            max_session: 64 << 10,
            deadline: Duration::from_secs(60),
        }
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

    /// How long events are kept, 10 minutes by default, and 2 minutes at least; longer by itself where clients may be away for longer.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age.max(store::DUPLICATES);
        self
    }

    /// How many bytes of events are kept, 1 GiB by default. The server reserves them. What is oldest goes first; who would need it gets a new
    /// session.
    #[must_use]
    pub fn max_bytes(mut self, bytes: i64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How many bytes of sessions are kept, 512 MiB by default. The server reserves them, so that sessions take no room of events. What was
    /// written longest ago goes first; who would need it gets a new session.
    #[must_use]
    pub fn sessions_bytes(mut self, bytes: i64) -> Self {
        self.sessions_bytes = bytes;
        self
    }

    /// The most bytes of one session as it is kept, 64 KiB by default: its rooms and data. A longer one can't be recovered, and is counted.
    #[must_use]
    pub fn max_session(mut self, bytes: usize) -> Self {
        self.max_session = bytes;
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
    /// The most bytes of a session.
    max_session: usize,
    shared: Weak<Shared>,
    log: Mutex<Log>,
    outbound: Outbound,
    sessions: Sessions,
    /// What is asked for has to be looked after now.
    wake: Notify,
    /// Told when more of the stream has been taken.
    moved: watch::Sender<()>,
    /// What other nodes keep is heard.
    listens: watch::Sender<bool>,
    catching_up: takeover::CatchingUp,
    /// What time it was on the server, and when it said so.
    clock: tokio::sync::Mutex<Option<(i128, Instant)>>,
    store: OnceLock<Store>,
    /// Where the offset of an event will be, while it is written: nobody can send it by chance or guess it.
    blank: String,
}

impl fmt::Debug for StreamHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHistory").field("me", &self.me).field("head", &self.head()).finish_non_exhaustive()
    }
}

impl StreamHistory {
    pub(crate) fn new(shared: &Arc<Shared>, store: Store, limits: Limits) -> Self {
        let me = shared.me();
        let log = Log::new(me.tag, store.epoch, store.last);
        let blank = std::iter::repeat_with(NodeTag::random).map(|tag| tag.to_string()).take(WIDTH.div_ceil(4)).collect::<String>();
        let options = shared.options.jetstream.clone().unwrap_or_default();
        Self {
            me,
            limits,
            max_session: options.max_session,
            shared: Arc::downgrade(shared),
            log: Mutex::new(log),
            outbound: Outbound::new(shared.options.queue_bytes, options.deadline),
            sessions: Sessions::default(),
            wake: Notify::new(),
            moved: watch::Sender::new(()),
            listens: watch::Sender::new(false),
            catching_up: takeover::CatchingUp::default(),
            clock: tokio::sync::Mutex::default(),
            store: OnceLock::from(store),
            blank: blank[..WIDTH].to_owned(),
        }
    }

    fn store(&self) -> Result<&Store, store::Trouble> {
        self.store.get().ok_or_else(|| "there is no stream".into())
    }

    /// The time by the clock of the server that writes sessions, in milliseconds since the Unix epoch. Many who need it at the same time ask once.
    async fn server_time(&self) -> Result<i128, store::Trouble> {
        let mut clock = self.clock.lock().await;
        match &*clock {
            Some((time, told)) if told.elapsed() < CLOCK => Ok(time + told.elapsed().as_millis() as i128),
            _ => {
                let time = self.store()?.now().await?;
                *clock = Some((time, Instant::now()));
                Ok(time)
            }
        }
    }

    fn refresh(&self) -> Duration {
        (self.limits.session_age / 2).clamp(REFRESH.0, REFRESH.1)
    }

    /// How old an event may be that somebody has missed who comes back.
    fn max_age(&self) -> Duration {
        let session = self.limits.session_age.saturating_add(self.refresh());
        self.limits.event_age.max(session).saturating_add(SLACK).min(FOREVER)
    }

    /// Tells all nodes something that is no event of the history, in order with those that are.
    pub(crate) fn tell(&self, record: Vec<u8>, limit: usize, counters: &Counters) -> Result<(), AdapterError> {
        // Nothing may get between the number of an event and its record.
        let _log = self.log.lock();
        self.outbound.push(Lane::All, record, None, limit, counters)
    }

    /// False if what is told now would have to wait for what was told long before.
    pub(crate) fn keeps_up(&self) -> bool {
        self.outbound.keeps_up()
    }

    /// False while the server refuses to keep what it is given.
    pub(crate) fn keeps(&self) -> bool {
        !self.outbound.is_refused()
    }

    /// True if what other nodes keep is heard.
    pub(crate) fn listens(&self) -> bool {
        *self.listens.borrow()
    }

    /// Ends when what other nodes keep is heard.
    pub(crate) async fn listening(&self) {
        drop(self.listens.subscribe().wait_for(|listens| *listens).await);
    }

    /// Ends when all events and sessions are kept.
    pub(crate) async fn all_is_kept(&self) {
        drop(self.outbound.flushed(self.outbound.pushed()).await);
        self.sessions.all_settled().await;
    }

    /// Does what has to be done for as long as the node lives.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>, client: async_nats::Client) {
        if let Some(store) = self.store.get() {
            let sessions = self.limits.session_age.saturating_add(3 * self.refresh()).min(FOREVER);
            let options = shared.options.jetstream.clone().unwrap_or_default();
            if let Err(error) = store.adjust(self.max_age(), sessions, &options).await {
                tracing::error!(target: "sociable::recovery", %error, "the limits of events and sessions could not be set: has the NATS server room for both?");
            }
        }
        tokio::join!(
            outbound::run(Arc::clone(&self), Arc::clone(&shared)),
            inbound::run(Arc::clone(&self), Arc::clone(&shared), client.clone()),
            sessions::run(Arc::clone(&self), Arc::clone(&shared)),
            sessions::guard(Arc::clone(&self), Arc::clone(&shared)),
            takeover::give_up(Arc::clone(&self), Arc::clone(&shared), client),
        );
    }

    /// There is nothing for all up to this message that has not been taken.
    fn nothing_up_to(&self, sequence: u64, shared: &Shared) {
        let mut log = self.log.lock();
        if sequence <= log.sequence() {
            return;
        }
        log.has_taken(sequence);
        // Before what comes next.
        if let Some(node) = shared.node.get() {
            node.reached(log.position());
        }
        drop(log);
        self.moved.send_replace(());
    }
}

/// Publishes what waits, for a process that has no sockets.
pub(crate) async fn publish(history: Arc<StreamHistory>, shared: Arc<Shared>) {
    outbound::run(history, shared).await;
}

impl History for StreamHistory {
    fn append(
        &self,
        namespace: &ByteString,
        target: Target,
        compress: bool,
        reach: &dyn Fn() -> Reach,
        write: &mut dyn FnMut(&str) -> Frames,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    ) -> Result<(), AdapterError> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(AdapterError::Unreachable("this process has taken leave".into()));
        };
        let limit = shared.outgoing.max_record();
        let mut log = self.log.lock();
        let reach = reach();
        let (number, reached) = log.next();
        // Nobody else has it yet: it is not copied.
        let mut bytes = Vec::from(write(&self.blank).into_bytes());
        // It is nearly always at the end.
        let at = bytes.windows(WIDTH).rposition(|window| window == self.blank.as_bytes());
        if let Some(at) = at {
            bytes[at..at + WIDTH].copy_from_slice(log.offset(&reached).as_bytes());
        }
        let record = wire::kept(number, at, namespace, &target, compress, &bytes);
        let Some(frames) = Frames::read(bytes.into()) else {
            return Err(AdapterError::Unreachable("a packet could not be written".into()));
        };
        let entry = Arc::new(Entry::new(namespace.clone(), target, frames, compress, number, reached, true).reaching(reach));
        let lane = match reach {
            Reach::Everywhere => Lane::All,
            Reach::Here => Lane::Own,
        };
        self.outbound.push(lane, record, Some(Arc::clone(&entry)), limit, &shared.counters)?;
        log.add(&entry, &self.limits);
        deliver(&entry);
        Ok(())
    }

    fn order(
        &self,
        namespace: &ByteString,
        target: Target,
        operation: Operation,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    ) -> Result<(), AdapterError> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(AdapterError::Unreachable("this process has taken leave".into()));
        };
        let limit = shared.outgoing.max_record();
        let mut log = self.log.lock();
        let (number, reached) = log.next();
        let message = Message { namespace: namespace.clone(), target, operation };
        let record = wire::order(number, &message);
        let Message { namespace, target, operation } = message;
        let entry = Arc::new(Entry::order(namespace, target, operation, number, reached, true));
        self.outbound.push(Lane::All, record, Some(Arc::clone(&entry)), limit, &shared.counters)?;
        log.add(&entry, &self.limits);
        deliver(&entry);
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn head(&self) -> Position {
        self.log.lock().position()
    }

    fn offset(&self, position: &Position) -> String {
        self.log.lock().offset(position)
    }

    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed> {
        let mut log = self.log.lock();
        let seen = log.seen(offset, session.sent.is_none())?;
        let missed = log.missed(session, &seen, &self.limits)?;
        drop(log);
        self.sessions.remember_stays(&session.pid, &log::unfinished(&session.past, &missed));
        Some(missed)
    }

    fn save(&self, session: SavedSession) -> bool {
        let limit = self.shared.upgrade().map_or(0, |shared| shared.outgoing.max_record()).min(self.max_session);
        let (epoch, here) = {
            let log = self.log.lock();
            (log.epoch(), log.position().own)
        };
        // All that this node sent until now was sent while the socket was here, whatever of it has been delivered.
        let left = session.lost.map(|_| here);
        let saved = session.cost() <= self.limits.session_bytes
            && self.sessions.save(&session, self.me, epoch, left, limit, self.outbound.pushed());
        if !saved {
            // It must not come back as it was before.
            self.sessions.forget(&session.pid);
        }
        saved
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
        // One that was made up brings nothing back: see `missed`.
        let seen = self.log.lock().seen(offset, true).unwrap_or_default();
        let (tell, told) = oneshot::channel();
        let taking = takeover::take(Arc::clone(&this), Arc::clone(&shared), namespace.into(), *pid, seen);
        // On the thread of the adapter, whatever runtime this one has.
        shared.runtime.spawn(async move {
            if let Err(Some(mut session)) = tell.send(taking.await) {
                // The client has gone meanwhile.
                session.lost.get_or_insert_with(Instant::now);
                this.save(session);
            }
        });
        async move { told.await.ok().flatten() }.boxed()
    }

    fn flushed(&self) -> BoxFuture<'static, Result<(), AdapterError>> {
        let kept = self.outbound.flushed(self.outbound.pushed());
        let Some(this) = self.shared.upgrade().and_then(|shared| shared.history.get().cloned()) else { return kept };
        let unsettled = self.sessions.unsettled();
        async move {
            kept.await?;
            for pid in &unsettled {
                this.sessions.settled(pid).await;
            }
            Ok(())
        }
        .boxed()
    }

    fn sweep(&self) {
        self.log.lock().sweep(&self.limits);
        self.sessions.sweep(self.limits.session_age);
    }

    fn usage(&self) -> Usage {
        let (events, bytes) = self.log.lock().usage();
        let (sessions, of_sessions) = self.sessions.usage();
        Usage { events, sessions, bytes: bytes + of_sessions }
    }
}
