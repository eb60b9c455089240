//! The state of the shared history on this node.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sociable_protocol::NodeTag;
use sociable_protocol::maps::Map;
use tokio::sync::{Notify, watch};

use super::log::StreamLog;
use super::offset::WIDTH;
use super::publish_queue::{PublishQueue, StreamSubject};
use super::sessions::Sessions;
use super::store::{Store, StoreError};
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

/// The state of the shared history on this node. The tasks and [`StreamHistory`](super::history::StreamHistory) share
/// it.
pub(crate) struct StreamState {
    pub(crate) me: Publisher,
    pub(crate) limits: Limits,
    /// The most bytes of a session.
    pub(crate) max_session: usize,
    pub(crate) log: Mutex<StreamLog>,
    pub(crate) queue: PublishQueue,
    pub(crate) sessions: Sessions,
    /// Notified when the stream needs a look now.
    pub(crate) wake: Notify,
    /// Notified when more of the stream has been read.
    pub(crate) moved: watch::Sender<()>,
    /// True while the stream is subscribed to.
    pub(crate) listens: watch::Sender<bool>,
    pub(crate) catching_up: CatchingUp,
    /// The time of the server, and when this node got it.
    clock: tokio::sync::Mutex<Option<(i128, Instant)>>,
    pub(crate) store: Store,
    /// A placeholder for the offset of an event while it is written. The text is random, so that no application can
    /// send or guess it.
    pub(crate) blank: String,
}

/// The state of catching up. Concurrent readers of the whole stream share one read.
#[derive(Debug, Default)]
pub(crate) struct CatchingUp {
    pub(crate) asked: AtomicU64,
    /// The last question that the last read answered, and when each node was read last.
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

    /// Returns the time by the clock of the server that writes sessions, in milliseconds since the Unix epoch.
    /// Concurrent callers share one request.
    pub(crate) async fn server_time(&self) -> Result<i128, StoreError> {
        let mut clock = self.clock.lock().await;
        match &*clock {
            Some((time, read)) if read.elapsed() < CLOCK => Ok(time + read.elapsed().as_millis() as i128),
            _ => {
                let time = self.store.now().await?;
                *clock = Some((time, Instant::now()));
                Ok(time)
            }
        }
    }

    /// Returns the interval at which a living session is saved again.
    pub(crate) fn refresh(&self) -> Duration {
        (self.limits.session_age / 2).clamp(REFRESH.0, REFRESH.1)
    }

    /// Returns the highest age of an event that a returning client may have missed.
    pub(crate) fn max_age(&self) -> Duration {
        let session = self.limits.session_age.saturating_add(self.refresh());
        self.limits.event_age.max(session).saturating_add(SLACK).min(FOREVER)
    }

    /// Returns the time for which a session is persisted without a refresh.
    pub(crate) fn session_age(&self) -> Duration {
        self.limits.session_age.saturating_add(3 * self.refresh()).min(FOREVER)
    }

    /// Queues a record for all nodes that is no event of the history, in order with the events.
    pub(crate) fn push_record(&self, record: impl Into<OutboundRecord>, limit: usize, counters: &Counters) -> Result<(), AdapterError> {
        // The lock keeps other records from between an event's number and its record.
        let _log = self.log.lock();
        self.queue.push(StreamSubject::All, record, None, limit, counters)
    }

    /// Returns false if a record would have to wait for older ones.
    pub(crate) fn keeps_up(&self) -> bool {
        self.queue.keeps_up()
    }

    /// Returns false while the server refuses to persist events.
    pub(crate) fn persists(&self) -> bool {
        !self.queue.is_refused()
    }

    /// Returns true if the stream is subscribed to.
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

    /// Queues a session to be persisted. A session that is too large is forgotten: then this returns false.
    pub(crate) fn save(&self, session: &SavedSession, max_record: usize) -> bool {
        let (epoch, here) = {
            let log = self.log.lock();
            (log.epoch(), log.position().own)
        };
        // The stay includes all events that this node has sent until now, delivered or not.
        let left = session.lost.map(|_| here);
        let limit = max_record.min(self.max_session);
        let saved =
            session.cost() <= self.limits.session_bytes && self.sessions.save(session, self.me, epoch, left, limit, self.queue.pushed());
        if !saved {
            // An earlier state of the session must not be recovered.
            self.sessions.forget(&session.pid);
        }
        saved
    }

    /// Notes that all messages for all nodes up to this one have been read.
    pub(crate) fn skip_to(&self, sequence: u64, node: Option<&Arc<dyn Node>>) {
        let mut log = self.log.lock();
        if sequence <= log.sequence() {
            return;
        }
        log.advance_to(sequence);
        // The marks come before later events.
        if let Some(node) = node {
            node.advance_to(log.position());
        }
        drop(log);
        self.moved.send_replace(());
    }
}
