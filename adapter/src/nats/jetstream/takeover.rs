//! A client comes to another node than the one that has its session: the other is asked to let it go, and what the client may have missed is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::kv::UpdateErrorKind;
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt;
use sociable_protocol::{Id, NodeTag};
use tokio::sync::Semaphore;

use super::sessions::{Kept, PAUSE, Place, Saved, kept};
use super::store::{From, Trouble, is_full};
use super::{MAX_SHOWN, StreamHistory};
use crate::SavedSession;
use crate::history::Position;
use crate::maps::Map;
use crate::nats::Shared;
use crate::nats::wire::{self, Record};

/// Sessions that are given up at the same time.
const GIVING_UP: usize = 20_000;
/// How long the node that has a session is given to give it up: milliseconds are enough but while the servers elect a leader, or it is frozen.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a node tries to keep what it sent before it says that it still tries: shorter than the asking node waits.
const TRYING: Duration = Duration::from_secs(4);
/// The answer of a node that still tries.
const STILL: &[u8] = b"still";
/// How long a client that comes back may wait for its session.
const TAKE: Duration = Duration::from_secs(12);
/// How long what was kept for all may be under way, before it is read from the stream.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// Nodes of which it is remembered when they were read.
const MAX_READ: usize = 1024;
/// Stays of a session whose events its client may not have: what those nodes sent to it alone may have to be sent again. A session with more is not
/// recovered.
const MAX_PAST: usize = 16;

/// Takes a session over, whose client has come to this node.
pub(super) async fn take(
    history: Arc<StreamHistory>,
    shared: Arc<Shared>,
    namespace: ByteString,
    pid: Id,
    seen: Vec<Position>,
) -> Option<SavedSession> {
    // Who shows the same a second time is another.
    if !history.sessions.taking.lock().insert(pid) {
        return None;
    }
    let taken = async {
        history.listening().await;
        Taking { history: &history, shared: &shared, pid, asked: false, owner: None, tried: false, away: Duration::ZERO }
            .take(&namespace, &seen)
            .await
    };
    let taken = tokio::time::timeout(TAKE, taken).await;
    history.sessions.taking.lock().remove(&pid);
    if taken.is_err() {
        tracing::warn!(target: "sociable::recovery", "a session can't be taken over in time");
        history.sessions.forget(&pid);
    }
    taken.ok().flatten()
}

/// A session that is being taken over.
struct Taking<'a> {
    history: &'a Arc<StreamHistory>,
    shared: &'a Arc<Shared>,
    pid: Id,
    /// Its node was asked to give it up.
    asked: bool,
    /// Who had it at first.
    owner: Option<(NodeTag, u64)>,
    /// It may have been written, though nobody said so.
    tried: bool,
    /// For how long it had been lost, or not refreshed.
    away: Duration,
}

impl Taking<'_> {
    async fn take(&mut self, namespace: &str, seen: &[Position]) -> Option<SavedSession> {
        self.history.sessions.settled(&self.pid).await;
        loop {
            match self.try_take(namespace, seen).await {
                Ok(Some(taken)) => return taken,
                // Anew, with what is there now.
                Ok(None) => {}
                // A server without room writes no new owner: the client begins anew at once.
                Err(error) if is_full(&*error) => {
                    self.history.outbound.refused(&*error);
                    return None;
                }
                Err(error) => {
                    tracing::debug!(target: "sociable::recovery", %error, "a session is not taken over yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Gives what has come of it, `None` if it has to be tried again.
    async fn try_take(&mut self, namespace: &str, seen: &[Position]) -> Result<Option<Option<SavedSession>>, Trouble> {
        let (history, pid) = (self.history, self.pid);
        let (mut saved, session) = match kept(history, &pid).await? {
            Kept::Session(saved, session) => (saved, session),
            Kept::Deleted => return Ok(Some(None)),
            // It may be so new that it has not been saved yet where it was made.
            Kept::Nothing => return Ok(if self.give_up(pid.tag()).await { None } else { Some(None) }),
        };
        if *saved.namespace != *namespace || saved.epoch != history.log.lock().epoch().as_str() {
            return Ok(Some(None));
        }
        let (owner, is_mine) = ((saved.owner, saved.owner_epoch), saved.is_of(history.me));
        if is_mine && self.tried {
            // It was written, though nobody said so.
            return Ok(Some(self.taken(*saved, session.revision).await));
        }
        // Another was faster, or has it here.
        let has_it = is_mine && saved.lost.is_none() && history.sessions.has_living(&pid);
        if has_it || *self.owner.get_or_insert(owner) != owner {
            return Ok(Some(None));
        }
        if saved.lost.is_none() && !is_mine && self.give_up(saved.owner).await {
            return Ok(None);
        }
        self.away = saved.away(session.written, history.server_time().await?);
        // If nobody has seen its loss, it lived when it was refreshed last.
        let refresh = if saved.lost.is_some() { Duration::ZERO } else { history.refresh() };
        if self.away > history.limits.session_age.saturating_add(refresh) {
            return Ok(Some(None));
        }
        // What its node sends to its own sockets from now on is not for it.
        let to = saved.left.take().unwrap_or(u64::MAX);
        match saved.past.last_mut().filter(|(tag, ..)| *tag == saved.owner) {
            Some(stay) => stay.2 = to,
            // It has been there from the beginning.
            None => saved.past.push((saved.owner, 0, to)),
        }
        if saved.past.len() >= MAX_PAST {
            return Ok(Some(None));
        }
        saved.past.push((history.me.tag, history.log.lock().position().own, u64::MAX));
        (saved.owner, saved.owner_epoch) = (history.me.tag, history.me.epoch);
        saved.shown.extend(seen.iter().map(|seen| Place::from(*seen)));
        saved.shown.drain(..saved.shown.len().saturating_sub(MAX_SHOWN));
        let lost = saved.lost.take();
        let Some(bytes) = wire::pack(&*saved) else { return Ok(Some(None)) };
        self.tried = true;
        match history.store()?.sessions.update(pid.as_str(), bytes.into(), session.revision).await {
            Ok(revision) => {
                saved.lost = lost;
                Ok(Some(self.taken(*saved, revision).await))
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                self.tried = false;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks a node once to give it up. True if it did, or still tries: then it is asked again.
    async fn give_up(&mut self, owner: NodeTag) -> bool {
        if std::mem::replace(&mut self.asked, true) {
            return false;
        }
        match ask_to_give_up(self.history, self.shared, owner, &self.pid).await {
            Some(Answer::GivenUp) => true,
            Some(Answer::Still) => {
                self.asked = false;
                true
            }
            None => false,
        }
    }

    /// This node has it: sees to it that all is there that it may have missed.
    async fn taken(&self, saved: Saved, revision: u64) -> Option<SavedSession> {
        let (history, pid) = (self.history, self.pid);
        let past: Vec<NodeTag> = saved.past.iter().map(|(tag, ..)| *tag).collect();
        history.sessions.has_taken(pid, revision);
        while let Err(error) = catch_up(history, self.shared, &past).await {
            tracing::debug!(target: "sociable::recovery", %error, "what a session has missed can't be read now");
            tokio::time::sleep(PAUSE).await;
        }
        // A node that could not say when it let it go, being dead or frozen: what it sends from now on is not for it.
        let mut saved = saved;
        let before = saved.past.len().saturating_sub(1);
        for (tag, _, to) in saved.past[..before].iter_mut().filter(|(.., to)| *to == u64::MAX) {
            *to = history.log.lock().last_of(*tag);
        }
        let shown = saved.shown.iter().map(|shown| (*shown).into()).collect();
        let session = saved.into_session(pid, shown, self.away);
        history.sessions.remember_stays(&pid, &session.past);
        Some(session)
    }
}

/// The answer of the node that has a session.
enum Answer {
    /// All that it sent to the session is in the stream.
    GivenUp,
    /// It has let the session go, and tries to keep what it sent before.
    Still,
}

/// Asks the node that has a session to give it up. `None` if it is dead, or does not answer.
async fn ask_to_give_up(history: &StreamHistory, shared: &Shared, owner: NodeTag, pid: &Id) -> Option<Answer> {
    if owner == history.me.tag {
        return None;
    }
    let client = history.store().ok()?.context.client();
    let request = client.request(shared.subject(&format!("give.{owner}")), Bytes::copy_from_slice(pid.as_str().as_bytes()));
    let answer = tokio::time::timeout(PATIENCE, request).await.ok()?.ok()?;
    Some(if answer.payload == STILL { Answer::Still } else { Answer::GivenUp })
}

/// Gives sessions up whose clients have come to other nodes.
pub(super) async fn give_up(history: Arc<StreamHistory>, shared: Arc<Shared>, client: Client) {
    let giving = Arc::new(Semaphore::new(GIVING_UP));
    loop {
        let Ok(mut asked) = client.subscribe(shared.subject(&format!("give.{}", history.me.tag))).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while let Some(message) = asked.next().await {
            let pid = std::str::from_utf8(&message.payload).ok().and_then(|pid| Id::try_from(pid).ok());
            let (Some(pid), Some(reply), Some(node)) = (pid, message.reply, shared.node.get().cloned()) else {
                shared.counters.malformed.one();
                continue;
            };
            // The asking node waits only for so long anyway.
            let Ok(permit) = Arc::clone(&giving).try_acquire_owned() else {
                shared.counters.unanswered.one();
                continue;
            };
            let (history, client) = (Arc::clone(&history), client.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let kept = async {
                    node.give_up(&pid).await;
                    // What was sent to it before has to be found in the stream.
                    drop(history.outbound.flushed(history.outbound.pushed()).await);
                    history.sessions.settled(&pid).await;
                };
                let answer = match tokio::time::timeout(TRYING, kept).await {
                    Ok(()) => Bytes::new(),
                    Err(_) => Bytes::from_static(STILL),
                };
                drop(client.publish(reply, answer).await);
            });
        }
    }
}

/// Sees to it that this node has all that was kept. Many who need it at the same time do it once.
#[derive(Debug, Default)]
pub(crate) struct CatchingUp {
    asked: AtomicU64,
    /// The last question that was there when it was done last, and when each node was read last.
    done: tokio::sync::Mutex<(u64, Map<NodeTag, u64>)>,
}

/// Ends when all that was kept before has come, and what these nodes sent to their own sockets.
async fn catch_up(history: &Arc<StreamHistory>, shared: &Arc<Shared>, past: &[NodeTag]) -> Result<(), Trouble> {
    let mine = history.catching_up.asked.fetch_add(1, Ordering::AcqRel) + 1;
    let mut done = history.catching_up.done.lock().await;
    if done.0 < mine {
        let asked = history.catching_up.asked.load(Ordering::Acquire);
        let store = history.store()?;
        let last = store.range().await?.last;
        let for_all = store.last_of(&store.subjects.all).await?;
        let come = |(): &()| history.log.lock().sequence() >= for_all;
        let mut moved = history.moved.subscribe();
        // What comes by itself does so at once.
        if tokio::time::timeout(UNDER_WAY, moved.wait_for(come)).await.is_err() {
            history.wake.notify_one();
            moved.wait_for(come).await?;
        }
        history.nothing_up_to(last, shared);
        done.0 = asked;
    }
    for tag in past.iter().filter(|tag| **tag != history.me.tag) {
        if done.1.get(tag).is_none_or(|read| *read < mine) {
            let asked = history.catching_up.asked.load(Ordering::Acquire);
            read_others(history, shared, *tag).await?;
            if done.1.len() >= MAX_READ {
                done.1.clear();
            }
            done.1.insert(*tag, asked);
        }
    }
    Ok(())
}

/// Reads what a node sent to its own sockets.
async fn read_others(history: &StreamHistory, shared: &Shared, tag: NodeTag) -> Result<(), Trouble> {
    let store = history.store()?;
    let subject = store.subjects.own(tag);
    let read = history.log.lock().has_read(tag);
    if store.last_of(&subject).await? <= read {
        return Ok(());
    }
    let age = history.max_age();
    let from = if read == 0 { From::Age(age) } else { From::Sequence(read + 1) };
    let reading = store.read(&subject, from, |sequence, payload| {
        let (mut events, mut understood) = (vec![], true);
        match wire::records(&payload) {
            Some(mut reader) => {
                while let Some(record) = reader.record() {
                    match record {
                        Ok(Record::Kept(kept)) => events.push(kept),
                        _ => understood = false,
                    }
                }
            }
            None => understood = false,
        }
        let mut log = history.log.lock();
        log.take_others(tag, sequence, events.into_iter(), &history.limits);
        if !understood {
            shared.counters.malformed.one();
            shared.counters.gaps.one();
            log.others_begin_behind(tag, sequence);
        }
    });
    reading.await?;
    // What went, if only while it was read, is not here.
    let lacks = store.range().await?.lacks(age);
    if lacks > read {
        history.log.lock().others_begin_behind(tag, lacks);
    }
    Ok(())
}
