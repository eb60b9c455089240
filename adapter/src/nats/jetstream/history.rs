//! The shared history, as the node uses it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use sociable_protocol::{Frames, Id};
use tokio::sync::oneshot;

use super::log::{StreamLog, unfinished_stays};
use super::offset::WIDTH;
use super::publish_queue::StreamSubject;
use super::state::StreamState;
use super::takeover::take_over;
use crate::history::Position;
use crate::nats::bounded_queue::OutboundRecord;
use crate::nats::context::NatsContext;
use crate::nats::wire;
use crate::{AdapterError, Entry, History, Message, Missed, NewEvent, Reach, SavedSession, Usage};

/// The history that the nodes share, as the node uses it.
pub(crate) struct StreamHistory {
    state: Arc<StreamState>,
    context: Weak<NatsContext>,
}

impl fmt::Debug for StreamHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHistory").field("me", &self.state.me).field("head", &self.head()).finish_non_exhaustive()
    }
}

/// An entry, its record, and the subject that it is published on.
struct Appended {
    entry: Entry,
    record: OutboundRecord,
    subject: StreamSubject,
}

impl StreamHistory {
    pub(crate) fn new(state: Arc<StreamState>, context: Weak<NatsContext>) -> Self {
        Self { state, context }
    }

    /// Gives an entry the next place of this node, queues it for the stream and delivers it. The lock of the log is
    /// held meanwhile.
    fn append_with(
        &self,
        write: impl FnOnce(&StreamLog) -> Result<Appended, AdapterError>,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    ) -> Result<(), AdapterError> {
        let Some(context) = self.context.upgrade() else {
            return Err(AdapterError::Unreachable("this process has left the cluster".into()));
        };
        let (state, longest) = (&*self.state, context.send_queue.max_record());
        let mut log = state.log.lock();
        let Appended { entry, record, subject } = write(&log)?;
        let entry = Arc::new(entry);
        state.queue.push(subject, record, Some(Arc::clone(&entry)), longest, &context.counters)?;
        log.append_local(&entry, &state.limits);
        deliver(&entry);
        Ok(())
    }
}

impl History for StreamHistory {
    fn append(&self, event: NewEvent<'_>, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError> {
        let NewEvent { namespace, target, compress, reach, write, trace } = event;
        let append = |log: &StreamLog| {
            let reach = reach();
            let (number, reached) = log.next_position();
            let blank = &self.state.blank;
            // The packet has no other owner yet, so this copies nothing.
            let mut bytes = Vec::from(write(blank).into_bytes());
            // The offset is nearly always at the end.
            let at = bytes.windows(WIDTH).rposition(|window| window == blank.as_bytes());
            if let Some(at) = at {
                bytes[at..at + WIDTH].copy_from_slice(log.offset(&reached).as_bytes());
            }
            let record = OutboundRecord { bytes: wire::encode_persisted(number, at, namespace, &target, compress, &bytes), trace };
            let Some(frames) = Frames::read(bytes.into()) else {
                return Err(AdapterError::Unreachable("encoding the packet failed".into()));
            };
            let entry = Entry::new(namespace.clone(), target, frames, compress, number, reached, true).reaching(reach);
            let subject = match reach {
                Reach::Everywhere => StreamSubject::All,
                Reach::Here => StreamSubject::Own,
            };
            Ok(Appended { entry, record, subject })
        };
        self.append_with(append, deliver)
    }

    fn append_order(&self, order: Message, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError> {
        let append = |log: &StreamLog| {
            let (number, reached) = log.next_position();
            let record = wire::encode_order(number, &order).into();
            Ok(Appended { entry: Entry::order(order, number, reached, true), record, subject: StreamSubject::All })
        };
        self.append_with(append, deliver)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn head(&self) -> Position {
        self.state.log.lock().position()
    }

    fn offset(&self, position: &Position) -> String {
        self.state.log.lock().offset(position)
    }

    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed> {
        let mut log = self.state.log.lock();
        let seen = log.decode_offset(offset, session.sent.is_none())?;
        let missed = log.missed(session, &seen, &self.state.limits)?;
        drop(log);
        self.state.sessions.remember_stays(&session.pid, &unfinished_stays(&session.past, &missed));
        Some(missed)
    }

    fn save(&self, session: SavedSession) -> bool {
        let limit = self.context.upgrade().map_or(0, |context| context.send_queue.max_record());
        self.state.save(&session, limit)
    }

    fn refresh_interval(&self) -> Option<Duration> {
        Some(self.state.refresh())
    }

    fn forget(&self, pid: &Id) {
        self.state.sessions.forget(pid);
    }

    fn holds(&self, pid: &Id) -> bool {
        self.state.sessions.holds(pid)
    }

    fn claim_session(&self, namespace: &str, pid: &Id, offset: Option<&str>) -> BoxFuture<'static, Option<SavedSession>> {
        let Some(context) = self.context.upgrade() else { return ready(None).boxed() };
        // A forged offset recovers nothing: see `missed`.
        let seen = self.state.log.lock().decode_offset(offset, true).unwrap_or_default();
        let (reply, taken) = oneshot::channel();
        let (state, at) = (Arc::clone(&self.state), Arc::clone(&context));
        let (namespace, pid) = (namespace.into(), *pid);
        // The task runs on the adapter's thread, whatever runtime the caller has.
        context.runtime.spawn(async move {
            let taking = take_over(&state, &at, namespace, pid, seen);
            if let Err(Some(mut session)) = reply.send(taking.await) {
                // The client has disconnected meanwhile.
                session.lost.get_or_insert_with(Instant::now);
                state.save(&session, at.send_queue.max_record());
            }
        });
        async move { taken.await.ok().flatten() }.boxed()
    }

    fn flushed(&self) -> BoxFuture<'static, Result<(), AdapterError>> {
        let persisted = self.state.queue.flushed(self.state.queue.pushed());
        let (state, unsettled) = (Arc::clone(&self.state), self.state.sessions.unsettled());
        async move {
            persisted.await?;
            for pid in &unsettled {
                state.sessions.settled(pid).await;
            }
            Ok(())
        }
        .boxed()
    }

    fn sweep(&self) {
        self.state.log.lock().sweep(&self.state.limits);
        self.state.sessions.sweep(self.state.limits.session_age);
    }

    fn usage(&self) -> Usage {
        let (events, bytes) = self.state.log.lock().usage();
        let (sessions, of_sessions) = self.state.sessions.usage();
        Usage { events, sessions, bytes: bytes + of_sessions }
    }
}
