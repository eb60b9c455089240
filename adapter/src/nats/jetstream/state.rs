//! The state of the shared history on this node.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sociable_protocol::NodeTag;
use tokio::sync::{Notify, watch};

use super::log::StreamLog;
use super::offset::WIDTH;
use super::publish_queue::{PublishQueue, StreamSubject};
use super::sessions::Sessions;
use super::store::{Store, StoreError};
use crate::maps::Map;
use crate::nats::bounded_queue::OutboundRecord;
use crate::nats::options::NatsOptions;
use crate::nats::stats::Counters;
use crate::nats::wire::Publisher;
use crate::{AdapterError, Limits, Node, SavedSession};

/// The interval at which living sessions are saved again, at least and at most.
const REFRESH: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// The delay of an event that its age allows for.
const SLACK: Duration = Duration::from_secs(60);
/// The age of the oldest events and sessions at most.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);
/// The time for which the server's clock is extrapolated.
const CLOCK: Duration = Duration::from_secs(10);

/// The state of the shared history on this node. Its tasks and [`StreamHistory`](super::history::StreamHistory) work on it.
pub(crate) struct StreamState {
    pub(crate) me: Publisher,
    pub(crate) limits: Limits,
    /// The most bytes of a session.
    pub(crate) max_session: usize,
    pub(crate) log: Mutex<StreamLog>,
    pub(crate) queue: PublishQueue,
    pub(crate) sessions: Sessions,
    /// Notified when the stream has to be looked at now.
    pub(crate) wake: Notify,
    /// Notified when more of the stream has been read.
    pub(crate) moved: watch::Sender<()>,
    /// True while the stream is subscribed to.
    pub(crate) listens: watch::Sender<bool>,
    pub(crate) catching_up: CatchingUp,
    /// The time of the server, and when it said so.
    clock: tokio::sync::Mutex<Option<(i128, Instant)>>,
    pub(crate) store: Store,
    /// Stands for the offset of an event while it is written: nobody can send it by chance or guess it.
    pub(crate) blank: String,
}

/// The state of catching up: who needs the whole stream at the same time reads it once.
#[derive(Debug, Default)]
pub(crate) struct CatchingUp {
    pub(crate) asked: AtomicU64,
    /// The last question that was there when it was done last, and when each node was read last.
    pub(crate) done: tokio::sync::Mutex<(u64, Map<NodeTag, u64>)>,
}

impl StreamState {
    pub(crate) fn new(me: Publisher, options: &NatsOptions, store: Store, limits: Limits) -> Self {
        let log = StreamLog::new(me.tag, store.epoch, store.last);
        let blank = std::iter::repeat_with(NodeTag::random).map(|tag| tag.to_string()).take(WIDTH.div_ceil(4)).collect::<String>();
        let jetstream = options.jetstream.clone().unwrap_or_default();
        Self {
            me,
            limits,
            max_session: jetstream.max_session,
            log: Mutex::new(log),
            queue: PublishQueue::new(options.queue_bytes, jetstream.deadline),
            sessions: Sessions::default(),
            wake: Notify::new(),
            moved: watch::Sender::new(()),
            listens: watch::Sender::new(false),
            catching_up: CatchingUp::default(),
            clock: tokio::sync::Mutex::default(),
            store,
            blank: blank[..WIDTH].to_owned(),
        }
    }

    /// The time by the clock of the server that writes sessions, in milliseconds since the Unix epoch. Many who need it at the same time ask once.
    pub(crate) async fn server_time(&self) -> Result<i128, StoreError> {
        let mut clock = self.clock.lock().await;
        match &*clock {
            Some((time, told)) if told.elapsed() < CLOCK => Ok(time + told.elapsed().as_millis() as i128),
            _ => {
                let time = self.store.now().await?;
                *clock = Some((time, Instant::now()));
                Ok(time)
            }
        }
    }

    /// How often a living session is saved anew.
    pub(crate) fn refresh(&self) -> Duration {
        (self.limits.session_age / 2).clamp(REFRESH.0, REFRESH.1)
    }

    /// How old an event may be that a returning client has missed.
    pub(crate) fn max_age(&self) -> Duration {
        let session = self.limits.session_age.saturating_add(self.refresh());
        self.limits.event_age.max(session).saturating_add(SLACK).min(FOREVER)
    }

    /// How long a session is persisted without being refreshed.
    pub(crate) fn session_age(&self) -> Duration {
        self.limits.session_age.saturating_add(3 * self.refresh()).min(FOREVER)
    }

    /// Queues a record for all nodes that is no event of the history, in order with those that are.
    pub(crate) fn push_record(&self, record: impl Into<OutboundRecord>, limit: usize, counters: &Counters) -> Result<(), AdapterError> {
        // Nothing may get between the number of an event and its record.
        let _log = self.log.lock();
        self.queue.push(StreamSubject::All, record, None, limit, counters)
    }

    /// False if a record would have to wait for older ones.
    pub(crate) fn keeps_up(&self) -> bool {
        self.queue.keeps_up()
    }

    /// False while the server refuses to persist events.
    pub(crate) fn persists(&self) -> bool {
        !self.queue.is_refused()
    }

    /// True if the stream is subscribed to.
    pub(crate) fn listens(&self) -> bool {
        *self.listens.borrow()
    }

    /// Waits until the stream is subscribed to.
    pub(crate) async fn listening(&self) {
        drop(self.listens.subscribe().wait_for(|listens| *listens).await);
    }

    /// Waits until all events and sessions are persisted.
    pub(crate) async fn wait_until_persisted(&self) {
        drop(self.queue.flushed(self.queue.pushed()).await);
        self.sessions.all_settled().await;
    }

    /// Queues a session to be persisted. Returns false if it is too large: then it is forgotten.
    pub(crate) fn save(&self, session: &SavedSession, max_record: usize) -> bool {
        let (epoch, here) = {
            let log = self.log.lock();
            (log.epoch(), log.position().own)
        };
        // All that this node sent until now was sent while the socket was here, whatever of it has been delivered.
        let left = session.lost.map(|_| here);
        let limit = max_record.min(self.max_session);
        let saved =
            session.cost() <= self.limits.session_bytes && self.sessions.save(session, self.me, epoch, left, limit, self.queue.pushed());
        if !saved {
            // It must not be recovered in an earlier state.
            self.sessions.forget(&session.pid);
        }
        saved
    }

    /// Notes that the stream has nothing for all nodes up to this message that has not been read.
    pub(crate) fn skip_to(&self, sequence: u64, node: Option<&Arc<dyn Node>>) {
        let mut log = self.log.lock();
        if sequence <= log.sequence() {
            return;
        }
        log.advance_to(sequence);
        // Before what comes next.
        if let Some(node) = node {
            node.advance_to(log.position());
        }
        drop(log);
        self.moved.send_replace(());
    }
}
