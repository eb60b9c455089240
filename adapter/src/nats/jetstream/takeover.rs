//! The takeover of a session from another node. The other node is asked to give up the session, and the client's missed
//! events are read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::kv::UpdateErrorKind;
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt;
use sociable_protocol::{Id, NodeTag};
use tokio::sync::Semaphore;

use super::offset::MAX_BESIDES;
use super::session_lookup::{LoadedSession, load_session};
use super::session_record::{RecordedPosition, SessionRecord};
use super::state::StreamState;
use super::store::{From, StoreError, is_full};
use crate::SavedSession;
use crate::history::Position;
use crate::nats::context::NatsContext;
use crate::nats::wire::{self, Record};

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// The most remembered positions that a client has shown. They matter for seconds.
const MAX_SHOWN: usize = 2 * MAX_BESIDES;
/// The most sessions that are given up at the same time.
const GIVING_UP: usize = 20_000;
/// The time that the owner has to give a session up. Milliseconds are enough, except while the servers elect a leader, or the owner is frozen.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time after which an owner answers that its events are not persisted yet: shorter than the asking node waits.
const TRYING: Duration = Duration::from_secs(4);
/// The answer of an owner whose events are not persisted yet.
const STILL: &[u8] = b"still";
/// The time that a returning client waits for its session.
const DEADLINE: Duration = Duration::from_secs(12);
/// The time that a persisted message may be under way before it is read from the stream.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// The most nodes whose last read is remembered.
const MAX_READ: usize = 1024;
/// The most stays of a session whose private events its client may lack. A session with more is not recovered.
const MAX_PAST: usize = 16;

/// Takes over a session whose client has come to this node. `seen` are the positions that the client shows.
pub(super) async fn take_over(
    state: &StreamState,
    context: &NatsContext,
    namespace: ByteString,
    pid: Id,
    seen: Vec<Position>,
) -> Option<SavedSession> {
    // A second client with the same id is refused.
    if !state.sessions.taking.lock().insert(pid) {
        return None;
    }
    let taken = async {
        state.listening().await;
        Takeover { state, context, pid, asked: false, owner: None, tried: false, away: Duration::ZERO }.claim(&namespace, &seen).await
    };
    let taken = tokio::time::timeout(DEADLINE, taken).await;
    state.sessions.taking.lock().remove(&pid);
    if taken.is_err() {
        tracing::warn!(target: "sociable::recovery", "session takeover timed out");
        state.sessions.forget(&pid);
    }
    taken.ok().flatten()
}

/// A session that is being taken over.
struct Takeover<'a> {
    state: &'a StreamState,
    context: &'a NatsContext,
    pid: Id,
    /// True if the session's owner was asked to give it up.
    asked: bool,
    /// The first owner that was read.
    owner: Option<(NodeTag, u64)>,
    /// True if a write was tried whose outcome is unknown.
    tried: bool,
    /// The time since the session's loss, or its last refresh.
    away: Duration,
}

impl Takeover<'_> {
    async fn claim(&mut self, namespace: &str, seen: &[Position]) -> Option<SavedSession> {
        self.state.sessions.settled(&self.pid).await;
        loop {
            match self.try_claim(namespace, seen).await {
                Ok(Some(taken)) => return taken,
                // The record has changed, so the takeover is tried again.
                Ok(None) => {}
                // A full server writes no new owner. The client gets a new session at once.
                Err(error) if is_full(&*error) => {
                    self.state.queue.note_refusal(&*error);
                    return None;
                }
                Err(error) => {
                    tracing::debug!(target: "sociable::recovery", %error, "session takeover failed; retrying");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Returns the outcome, `None` if the takeover has to be tried again.
    async fn try_claim(&mut self, namespace: &str, seen: &[Position]) -> Result<Option<Option<SavedSession>>, StoreError> {
        let (state, pid) = (self.state, self.pid);
        let (mut record, stored) = match load_session(state, &pid).await? {
            LoadedSession::Found(record, stored) => (record, stored),
            LoadedSession::Deleted => return Ok(Some(None)),
            // A new session may not be saved yet on the node that made it.
            LoadedSession::Missing => return Ok(if self.give_up(pid.tag()).await { None } else { Some(None) }),
        };
        if *record.namespace != *namespace || record.epoch != state.log.lock().epoch().as_str() {
            return Ok(Some(None));
        }
        let (owner, is_mine) = ((record.owner, record.owner_epoch), record.is_of(state.me));
        if is_mine && self.tried {
            // The earlier write succeeded, though its answer was lost.
            return Ok(Some(self.finish(*record, stored.revision).await));
        }
        // Another node was faster, or the session is in use here.
        let has_it = is_mine && record.lost.is_none() && state.sessions.has_living(&pid);
        if has_it || *self.owner.get_or_insert(owner) != owner {
            return Ok(Some(None));
        }
        if record.lost.is_none() && !is_mine && self.give_up(record.owner).await {
            return Ok(None);
        }
        self.away = record.away(stored.written, state.server_time().await?);
        // A session without a noticed loss was alive at its last refresh.
        let refresh = if record.lost.is_some() { Duration::ZERO } else { state.refresh() };
        if self.away > state.limits.session_age.saturating_add(refresh) {
            return Ok(Some(None));
        }
        // Later private events of the owner are not for the session.
        let to = record.left.take().unwrap_or(u64::MAX);
        match record.past.last_mut().filter(|(tag, ..)| *tag == record.owner) {
            Some(stay) => stay.2 = to,
            // The socket was there from the beginning.
            None => record.past.push((record.owner, 0, to)),
        }
        if record.past.len() >= MAX_PAST {
            return Ok(Some(None));
        }
        record.past.push((state.me.tag, state.log.lock().position().own, u64::MAX));
        (record.owner, record.owner_epoch) = (state.me.tag, state.me.epoch);
        record.shown.extend(seen.iter().map(|seen| RecordedPosition::from(*seen)));
        record.shown.drain(..record.shown.len().saturating_sub(MAX_SHOWN));
        let lost = record.lost.take();
        let Some(bytes) = wire::encode_value(&*record) else { return Ok(Some(None)) };
        self.tried = true;
        match state.store.sessions.update(pid.as_str(), bytes.into(), stored.revision).await {
            Ok(revision) => {
                record.lost = lost;
                Ok(Some(self.finish(*record, revision).await))
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                self.tried = false;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the owner once to give up the session. Returns true if it did, or if it still persists events: then the
    /// owner is asked again.
    async fn give_up(&mut self, owner: NodeTag) -> bool {
        if std::mem::replace(&mut self.asked, true) {
            return false;
        }
        match ask_to_give_up(self.state, self.context, owner, &self.pid).await {
            Some(Answer::GivenUp) => true,
            Some(Answer::Still) => {
                self.asked = false;
                true
            }
            None => false,
        }
    }

    /// Reads all events that the session may have missed, now that this node owns it.
    async fn finish(&self, mut record: SessionRecord, revision: u64) -> Option<SavedSession> {
        let (state, pid) = (self.state, self.pid);
        let past: Vec<NodeTag> = record.past.iter().map(|(tag, ..)| *tag).collect();
        state.sessions.note_takeover(pid, revision);
        while let Err(error) = catch_up(state, self.context, &past).await {
            tracing::debug!(target: "sociable::recovery", %error, "reading missed events failed; retrying");
            tokio::time::sleep(PAUSE).await;
        }
        // A dead or frozen owner could not name its last event. Private events from now on are not for the session.
        let before = record.past.len().saturating_sub(1);
        for (tag, _, to) in record.past[..before].iter_mut().filter(|(.., to)| *to == u64::MAX) {
            *to = state.log.lock().last_private_of(*tag);
        }
        let shown = record.shown.iter().map(|shown| (*shown).into()).collect();
        let session = record.into_session(pid, shown, self.away);
        state.sessions.remember_stays(&pid, &session.past);
        Some(session)
    }
}

/// The answer of the owner of a session.
enum Answer {
    /// All events of the owner for the session are in the stream.
    GivenUp,
    /// The owner has given the session up, but its events are not persisted yet.
    Still,
}

/// Asks the owner of a session to give it up. Returns `None` if the owner is dead, or does not answer.
async fn ask_to_give_up(state: &StreamState, context: &NatsContext, owner: NodeTag, pid: &Id) -> Option<Answer> {
    if owner == state.me.tag {
        return None;
    }
    let client = state.store.context.client();
    let request = client.request(context.subject(&format!("give.{owner}")), Bytes::copy_from_slice(pid.as_str().as_bytes()));
    let answer = tokio::time::timeout(PATIENCE, request).await.ok()?.ok()?;
    Some(if answer.payload == STILL { Answer::Still } else { Answer::GivenUp })
}

/// Gives up sessions whose clients have come to other nodes.
pub(super) async fn give_up(state: Arc<StreamState>, context: Arc<NatsContext>, client: Client) {
    let giving = Arc::new(Semaphore::new(GIVING_UP));
    loop {
        let Ok(mut asked) = client.subscribe(context.subject(&format!("give.{}", state.me.tag))).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while let Some(message) = asked.next().await {
            let pid = std::str::from_utf8(&message.payload).ok().and_then(|pid| Id::try_from(pid).ok());
            let (Some(pid), Some(reply), Some(node)) = (pid, message.reply, context.node.get().cloned()) else {
                context.counters.malformed.increment();
                continue;
            };
            // The asking node waits no longer than this.
            let Ok(permit) = Arc::clone(&giving).try_acquire_owned() else {
                context.counters.unanswered.increment();
                continue;
            };
            let (state, client) = (Arc::clone(&state), client.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let persisted = async {
                    node.give_up_session(&pid).await;
                    // The new owner reads the earlier events from the stream.
                    drop(state.queue.flushed(state.queue.pushed()).await);
                    state.sessions.settled(&pid).await;
                };
                let answer = match tokio::time::timeout(TRYING, persisted).await {
                    Ok(()) => Bytes::new(),
                    Err(_) => Bytes::from_static(STILL),
                };
                drop(client.publish(reply, answer).await);
            });
        }
    }
}

/// Waits until all persisted events have come, and those of these nodes for their own sockets.
async fn catch_up(state: &StreamState, context: &NatsContext, past: &[NodeTag]) -> Result<(), StoreError> {
    let mine = state.catching_up.asked.fetch_add(1, Ordering::AcqRel) + 1;
    let mut done = state.catching_up.done.lock().await;
    if done.0 < mine {
        let asked = state.catching_up.asked.load(Ordering::Acquire);
        let store = &state.store;
        let last = store.range().await?.last;
        let for_all = store.last_of(&store.subjects.all).await?;
        let come = |(): &()| state.log.lock().sequence() >= for_all;
        let mut moved = state.moved.subscribe();
        // Most messages arrive without a read.
        if tokio::time::timeout(UNDER_WAY, moved.wait_for(come)).await.is_err() {
            state.wake.notify_one();
            moved.wait_for(come).await?;
        }
        state.skip_to(last, context.node.get());
        done.0 = asked;
    }
    for tag in past.iter().filter(|tag| **tag != state.me.tag) {
        if done.1.get(tag).is_none_or(|read| *read < mine) {
            let asked = state.catching_up.asked.load(Ordering::Acquire);
            read_private(state, context, *tag).await?;
            if done.1.len() >= MAX_READ {
                done.1.clear();
            }
            done.1.insert(*tag, asked);
        }
    }
    Ok(())
}

/// Reads the events of a node for its own sockets.
async fn read_private(state: &StreamState, context: &NatsContext, tag: NodeTag) -> Result<(), StoreError> {
    let store = &state.store;
    let subject = store.subjects.own(tag);
    let read = state.log.lock().private_read_of(tag);
    if store.last_of(&subject).await? <= read {
        return Ok(());
    }
    let age = state.max_age();
    let from = if read == 0 { From::Age(age) } else { From::Sequence(read + 1) };
    let reading = store.read(&subject, from, |sequence, payload| {
        let (mut events, mut understood) = (vec![], true);
        match wire::records(&payload) {
            Some(mut reader) => {
                while let Some(record) = reader.record() {
                    match record {
                        Ok(Record::Persisted(event)) => events.push(event),
                        _ => understood = false,
                    }
                }
            }
            None => understood = false,
        }
        let mut log = state.log.lock();
        log.append_private(tag, sequence, events.into_iter(), &state.limits);
        if !understood {
            context.counters.malformed.increment();
            context.counters.gaps.increment();
            log.mark_private_missing_up_to(tag, sequence);
        }
    });
    reading.await?;
    // Messages that were dropped, if only while they were read, are missing here.
    let lacks = store.range().await?.lacks(age);
    if lacks > read {
        state.log.lock().mark_private_missing_up_to(tag, lacks);
    }
    Ok(())
}
