//! Who the clients of this node are, as the server keeps it while they live; and who takes one over.
//!
//! Each session is one key of a bucket. It is written by compare-and-set alone: who finds that another node has written it has lost it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use async_nats::jetstream::kv::{self, CreateErrorKind, UpdateErrorKind};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sociable_protocol::{Id, NodeTag, Value};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::offset::Epoch;
use super::store::{From, Trouble};
use super::{MAX_SHOWN, StreamHistory};
use crate::history::Position;
use crate::nats::Shared;
use crate::nats::link::Link;
use crate::nats::wire::{self, HEAD, Publisher, Reader, Record};
use crate::{History, Room, SavedSession};

/// Sessions that are written at the same time.
const WRITERS: usize = 128;
/// Sessions that are given up at the same time.
const GIVING_UP: usize = 1024;
/// How often it is looked whether this node was away.
const GUARD: Duration = Duration::from_secs(1);
/// How long nothing is tried after it failed, and how often.
const PAUSE: Duration = Duration::from_millis(200);
const TRIES: usize = 150;
/// How long the node that has a session is given to give it up: milliseconds are enough but while the servers elect a leader, or it is frozen.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client that comes back may wait for its session.
const TAKE: Duration = Duration::from_secs(12);
/// How long what was kept for all may be under way, before it is read from the stream.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// Nodes that had a session before are remembered, as what they sent to it alone may have to be sent again.
const MAX_PAST: usize = 8;

/// A session as the server keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    epoch: String,
    owner: NodeTag,
    owner_epoch: u64,
    past: Vec<NodeTag>,
    /// When its connection was lost, in milliseconds since the Unix epoch, if it was.
    lost: Option<u64>,
    namespace: ByteString,
    id: Id,
    rooms: Vec<(Room, Place)>,
    data: Option<Value>,
    since: Place,
    sent: Option<Place>,
    until: Place,
    shown: Vec<Place>,
}

/// A position as it is kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place(Option<NodeTag>, u64, u64);

impl std::convert::From<Position> for Place {
    fn from(Position { tag, own, place }: Position) -> Self {
        Self(tag, own, place)
    }
}

impl std::convert::From<Place> for Position {
    fn from(Place(tag, own, place): Place) -> Self {
        Self { tag, own, place }
    }
}

impl Saved {
    fn is_of(&self, me: Publisher) -> bool {
        (self.owner, self.owner_epoch) == (me.tag, me.epoch)
    }

    fn into_session(self, pid: Id, shown: Vec<Position>) -> SavedSession {
        // When it was lost by the clocks of this node.
        let ago = self.lost.map(|lost| Duration::from_millis(now().saturating_sub(lost)));
        SavedSession {
            namespace: self.namespace,
            pid,
            id: self.id,
            rooms: self.rooms.into_iter().map(|(room, since)| (room, since.into())).collect(),
            data: self.data,
            since: self.since.into(),
            sent: self.sent.map(Position::from),
            until: self.until.into(),
            shown,
            lost: ago.map(|ago| Instant::now().checked_sub(ago).unwrap_or_else(Instant::now)),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What is to become of a key.
#[derive(Debug)]
enum Write {
    /// When so much is kept of what this node sent.
    Put(Bytes, u64),
    Delete,
}

/// A session that this node has, or has saved.
#[derive(Debug, Default)]
struct Known {
    /// Of what is kept.
    revision: Option<u64>,
    next: Option<Write>,
    under_way: bool,
    lost: Option<Instant>,
    past: Vec<NodeTag>,
    bytes: usize,
}

/// The sessions that this node has.
#[derive(Debug)]
pub(crate) struct Sessions {
    known: Mutex<FxHashMap<Id, Known>>,
    changed: mpsc::UnboundedSender<Id>,
    changes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Id>>,
    settled: Notify,
}

impl Default for Sessions {
    fn default() -> Self {
        let (changed, changes) = mpsc::unbounded_channel();
        Self { known: Mutex::default(), changed, changes: tokio::sync::Mutex::new(changes), settled: Notify::new() }
    }
}

impl Sessions {
    pub(crate) fn save(&self, session: &SavedSession, me: Publisher, epoch: Epoch, limit: usize, pushed: u64) -> bool {
        let mut known = self.known.lock();
        let past = known.get(&session.pid).map(|known| known.past.clone()).unwrap_or_default();
        let saved = Saved {
            epoch: epoch.as_str().to_owned(),
            owner: me.tag,
            owner_epoch: me.epoch,
            past,
            lost: session.lost.map(|lost| now().saturating_sub(lost.elapsed().as_millis() as u64)),
            namespace: session.namespace.clone(),
            id: session.id,
            rooms: session.rooms.iter().map(|(room, since)| (room.clone(), (*since).into())).collect(),
            data: session.data.clone(),
            since: session.since.into(),
            sent: session.sent.map(Place::from),
            until: session.until.into(),
            shown: session.shown.iter().map(|shown| (*shown).into()).collect(),
        };
        let Some(bytes) = wire::pack(&saved).filter(|bytes| bytes.len() <= limit) else { return false };
        let entry = known.entry(session.pid).or_default();
        (entry.lost, entry.bytes) = (session.lost, bytes.len());
        // Who takes over one that is lost has to find in the stream what was sent to it.
        let after = if session.lost.is_some() { pushed } else { 0 };
        self.write(session.pid, entry, Write::Put(bytes.into(), after));
        true
    }

    pub(crate) fn forget(&self, pid: &Id) {
        if let Some(entry) = self.known.lock().get_mut(pid) {
            self.write(*pid, entry, Write::Delete);
        }
    }

    /// What was to be written before is not worth it any more.
    fn write(&self, pid: Id, entry: &mut Known, write: Write) {
        if entry.next.replace(write).is_none() && !entry.under_way {
            // If its task has died, the next will find what there is.
            let _ = self.changed.send(pid);
        }
    }

    pub(crate) fn holds(&self, pid: &Id) -> bool {
        self.known.lock().get(pid).is_some_and(|known| known.lost.is_some() && !matches!(known.next, Some(Write::Delete)))
    }

    /// Forgets the sessions that are too old.
    pub(crate) fn sweep(&self, age: Duration) {
        let mut known = self.known.lock();
        for (pid, entry) in known.iter_mut() {
            if entry.lost.is_some_and(|lost| lost.elapsed() > age) {
                entry.lost = None;
                self.write(*pid, entry, Write::Delete);
            }
        }
    }

    pub(crate) fn usage(&self) -> (usize, usize) {
        let known = self.known.lock();
        let lost = known.values().filter(|known| known.lost.is_some());
        lost.fold((0, 0), |(sessions, bytes), known| (sessions + 1, bytes + known.bytes))
    }

    /// Ends when nothing of a session is to be written; of any, if none is named.
    pub(crate) async fn settled(&self, pid: Option<&Id>) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.is_settled(pid) {
                return;
            }
            settled.await;
        }
    }

    fn is_settled(&self, pid: Option<&Id>) -> bool {
        let is_settled = |known: &Known| known.next.is_none() && !known.under_way;
        let known = self.known.lock();
        match pid {
            Some(pid) => known.get(pid).is_none_or(is_settled),
            None => known.values().all(is_settled),
        }
    }

    /// What is to be written now.
    fn begin(&self, pid: &Id) -> Option<(Write, Option<u64>)> {
        let mut known = self.known.lock();
        let entry = known.get_mut(pid)?;
        let write = entry.next.take()?;
        entry.under_way = true;
        Some((write, entry.revision))
    }

    /// What was being written may be or not: it is written anew when it changes, or after a while.
    fn interrupted(&self) {
        self.known.lock().values_mut().for_each(|known| known.under_way = false);
        self.settled.notify_waiters();
    }

    /// It was written; tells whether there is more.
    fn written(&self, pid: &Id, revision: Option<u64>) -> bool {
        let mut known = self.known.lock();
        let Some(entry) = known.get_mut(pid) else { return false };
        (entry.under_way, entry.revision) = (false, revision);
        let more = entry.next.is_some();
        if !more && revision.is_none() {
            known.remove(pid);
        }
        drop(known);
        self.settled.notify_waiters();
        more
    }
}

/// Writes what changes.
pub(super) async fn run(history: Arc<StreamHistory>, shared: Arc<Shared>) {
    let mut changes = history.sessions.changes.lock().await;
    history.sessions.interrupted();
    let mut writers = JoinSet::new();
    while let Some(pid) = changes.recv().await {
        while writers.len() >= WRITERS {
            writers.join_next().await;
        }
        while writers.try_join_next().is_some() {}
        let (history, shared) = (Arc::clone(&history), Arc::clone(&shared));
        writers.spawn(async move {
            while let Some((write, revision)) = history.sessions.begin(&pid) {
                let revision = write_one(&history, &shared, &pid, &write, revision).await;
                if !history.sessions.written(&pid, revision) {
                    break;
                }
            }
        });
    }
}

/// Writes a session until it is kept, deleted, or found to be another node's. Gives its revision.
async fn write_one(history: &StreamHistory, shared: &Shared, pid: &Id, write: &Write, mut revision: Option<u64>) -> Option<u64> {
    if let Write::Put(_, after) = write {
        // What could not be kept is told where that is found.
        drop(history.outbound.flushed(*after).await);
    }
    for _ in 0..TRIES {
        shared.links.is_up(Link::History).await;
        match try_write(history, pid, write, revision).await {
            Ok(written) => {
                shared.counters.sessions_saved.one();
                return written;
            }
            Err(Refused::Other(error)) => {
                tracing::debug!(target: "sociable::recovery", %error, "a session is not saved yet");
                tokio::time::sleep(PAUSE).await;
            }
            Err(Refused::Changed) => match owner(history, pid).await {
                // What this node had written before, without hearing of it.
                Ok(Some((saved, known))) if saved.is_of(history.me) => revision = Some(known),
                Ok(None) => match write {
                    Write::Delete => return None,
                    Write::Put(..) => revision = None,
                },
                Ok(Some(_)) => {
                    shared.counters.fenced.one();
                    if let (Write::Put(..), Some(node)) = (write, shared.node.get()) {
                        node.fence(pid);
                    }
                    return None;
                }
                Err(error) => {
                    tracing::debug!(target: "sociable::recovery", %error, "a session can't be read now");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    shared.counters.sessions_unsaved.one();
    tracing::warn!(target: "sociable::recovery", "a session could not be saved");
    revision
}

enum Refused {
    /// What is kept is not what was thought.
    Changed,
    Other(Trouble),
}

async fn try_write(history: &StreamHistory, pid: &Id, write: &Write, revision: Option<u64>) -> Result<Option<u64>, Refused> {
    let store = history.store().map_err(Refused::Other)?;
    match (write, revision) {
        (Write::Put(bytes, _), None) => {
            store.sessions.create(pid.as_str(), bytes.clone()).await.map(Some).map_err(|error| match error.kind() {
                CreateErrorKind::AlreadyExists => Refused::Changed,
                _ => Refused::Other(error.into()),
            })
        }
        (Write::Put(bytes, _), Some(revision)) => {
            store.sessions.update(pid.as_str(), bytes.clone(), revision).await.map(Some).map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => Refused::Changed,
                _ => Refused::Other(error.into()),
            })
        }
        (Write::Delete, None) => Ok(None),
        (Write::Delete, Some(revision)) => {
            store.sessions.delete_expect_revision(pid.as_str(), Some(revision)).await.map(|()| None).map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => Refused::Changed,
                _ => Refused::Other(error.into()),
            })
        }
    }
}

/// Looks whether other nodes have taken sessions, after a time in which this one may have been taken for dead.
pub(super) async fn guard(history: Arc<StreamHistory>, shared: Arc<Shared>) {
    let mut was_up = true;
    loop {
        let before = Instant::now();
        tokio::time::sleep(GUARD).await;
        let was_away = before.elapsed() > GUARD + shared.options.heartbeat_interval;
        let up = shared.links.are_up();
        if up && (was_away || !was_up) {
            tracing::info!(target: "sociable::recovery", "this node was away: its sessions are checked");
            check(&history, &shared).await;
        }
        was_up = up;
    }
}

async fn check(history: &Arc<StreamHistory>, shared: &Arc<Shared>) {
    let mine: Vec<Id> = history.sessions.known.lock().iter().filter(|(_, known)| known.revision.is_some()).map(|(pid, _)| *pid).collect();
    let check_one = |pid: Id| async move {
        if let Ok(Some((saved, _))) = owner(history, &pid).await
            && !saved.is_of(history.me)
        {
            shared.counters.fenced.one();
            history.sessions.known.lock().remove(&pid);
            if let Some(node) = shared.node.get() {
                node.fence(&pid);
            }
        }
    };
    futures_util::stream::iter(mine).for_each_concurrent(WRITERS, check_one).await;
}

/// A session as it is kept, with its revision.
async fn owner(history: &StreamHistory, pid: &Id) -> Result<Option<(Saved, u64)>, Trouble> {
    Ok(read(history, pid).await?.map(|(saved, entry)| (saved, entry.revision)))
}

async fn read(history: &StreamHistory, pid: &Id) -> Result<Option<(Saved, kv::Entry)>, Trouble> {
    let entry = history.store()?.sessions.entry(pid.as_str()).await?;
    let Some(entry) = entry.filter(|entry| entry.operation == kv::Operation::Put) else { return Ok(None) };
    Ok(wire::unpack(&entry.value).map(|saved| (saved, entry)))
}

/// Takes a session over, whose client has come to this node.
pub(super) async fn take(
    history: Arc<StreamHistory>,
    shared: Arc<Shared>,
    namespace: ByteString,
    pid: Id,
    seen: Vec<Position>,
) -> Option<SavedSession> {
    match tokio::time::timeout(TAKE, try_take(&history, &shared, &namespace, pid, seen)).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => {
            tracing::warn!(target: "sociable::recovery", %error, "a session can't be taken over");
            None
        }
        Err(_) => {
            tracing::warn!(target: "sociable::recovery", "a session can't be taken over in time");
            None
        }
    }
}

async fn try_take(
    history: &Arc<StreamHistory>,
    shared: &Arc<Shared>,
    namespace: &str,
    pid: Id,
    seen: Vec<Position>,
) -> Result<Option<SavedSession>, Trouble> {
    history.sessions.settled(Some(&pid)).await;
    let mut asked = false;
    let mut owner = None;
    loop {
        let Some((mut saved, entry)) = read(history, &pid).await? else {
            // It may be so new that it has not been saved yet where it was made.
            if !std::mem::replace(&mut asked, true) && ask_to_give_up(history, shared, pid.tag(), &pid).await {
                continue;
            }
            return Ok(None);
        };
        if *saved.namespace != *namespace || saved.epoch != history.log.lock().epoch().as_str() {
            return Ok(None);
        }
        if owner.get_or_insert((saved.owner, saved.owner_epoch)) != &(saved.owner, saved.owner_epoch) {
            // Another was faster.
            return Ok(None);
        }
        if saved.lost.is_none() && !saved.is_of(history.me) && !std::mem::replace(&mut asked, true) {
            if ask_to_give_up(history, shared, saved.owner, &pid).await {
                continue;
            }
        }
        if is_too_old(history, &saved, &entry) {
            return Ok(None);
        }
        let before = saved.owner;
        let mut shown: Vec<Position> = saved.shown.iter().map(|shown| (*shown).into()).chain(seen.iter().copied()).collect();
        shown.drain(..shown.len().saturating_sub(MAX_SHOWN));
        saved.past.retain(|tag| *tag != before);
        saved.past.push(before);
        saved.past.drain(..saved.past.len().saturating_sub(MAX_PAST));
        let lost = saved.lost.take();
        (saved.owner, saved.owner_epoch) = (history.me.tag, history.me.epoch);
        saved.shown = shown.iter().map(|shown| (*shown).into()).collect();
        let Some(bytes) = wire::pack(&saved) else { return Ok(None) };
        let length = bytes.len();
        match history.store()?.sessions.update(pid.as_str(), bytes.into(), entry.revision).await {
            Ok(revision) => {
                let past = saved.past.clone();
                catch_up(history, shared, &past).await?;
                let known = Known { revision: Some(revision), past, bytes: length, ..Known::default() };
                history.sessions.known.lock().insert(pid, known);
                return Ok(Some(Saved { lost, ..saved }.into_session(pid, shown)));
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks the node that has a session to give it up. False if it is dead, or does not answer.
async fn ask_to_give_up(history: &StreamHistory, shared: &Shared, owner: NodeTag, pid: &Id) -> bool {
    if owner == history.me.tag {
        return false;
    }
    let Ok(store) = history.store() else { return false };
    let client = store.context.client();
    let request = client.request(shared.subject(&format!("give.{owner}")), Bytes::copy_from_slice(pid.as_str().as_bytes()));
    matches!(tokio::time::timeout(PATIENCE, request).await, Ok(Ok(_)))
}

fn is_too_old(history: &StreamHistory, saved: &Saved, entry: &kv::Entry) -> bool {
    let age = match saved.lost {
        Some(lost) => now().saturating_sub(lost),
        // Nobody has seen its loss. It lived when it was refreshed last.
        None => {
            let written = u64::try_from(entry.created.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
            now().saturating_sub(written).saturating_sub(history.refresh().as_millis() as u64)
        }
    };
    u128::from(age) > history.limits.session_age.as_millis()
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
            // Who asks waits only for so long anyway.
            let Ok(permit) = Arc::clone(&giving).try_acquire_owned() else { continue };
            let (history, client) = (Arc::clone(&history), client.clone());
            tokio::spawn(async move {
                let _permit = permit;
                node.give_up(&pid).await;
                // What was sent to it before has to be found in the stream.
                let kept = async {
                    drop(history.flushed().await);
                    history.sessions.settled(Some(&pid)).await;
                };
                if tokio::time::timeout(TAKE, kept).await.is_ok() {
                    drop(client.publish(reply, Bytes::new()).await);
                }
            });
        }
    }
}

/// Sees to it that this node has all that was kept. Many who need it at the same time do it once.
#[derive(Debug, Default)]
pub(crate) struct CatchingUp {
    asked: AtomicU64,
    /// The last question that was there when it was done last.
    done: tokio::sync::Mutex<u64>,
}

/// Ends when all that was kept before has come, and what these nodes sent to their own sockets.
async fn catch_up(history: &Arc<StreamHistory>, shared: &Arc<Shared>, past: &[NodeTag]) -> Result<(), Trouble> {
    let mine = history.catching_up.asked.fetch_add(1, Ordering::AcqRel) + 1;
    let mut done = history.catching_up.done.lock().await;
    if *done < mine {
        let asked = history.catching_up.asked.load(Ordering::Acquire);
        let store = history.store()?;
        let (_, _, last) = store.range().await?;
        let for_all = store.last_of(&store.subjects.all).await?;
        let has_come = |known: &u64| *known >= for_all;
        let mut moved = history.moved.subscribe();
        // What comes by itself does so at once.
        let come = |moved: &u64| has_come(moved) || history.log.lock().sequence() >= for_all;
        if tokio::time::timeout(UNDER_WAY, moved.wait_for(come)).await.is_err() {
            history.wake.notify_one();
            moved.wait_for(come).await?;
        }
        history.nothing_up_to(last, shared);
        *done = asked;
    }
    for tag in past.iter().filter(|tag| **tag != history.me.tag) {
        read_others(history, *tag).await?;
    }
    Ok(())
}

/// Reads what a node sent to its own sockets.
async fn read_others(history: &StreamHistory, tag: NodeTag) -> Result<(), Trouble> {
    let store = history.store()?;
    let subject = store.subjects.own(tag);
    let read = history.log.lock().has_read(tag);
    if store.last_of(&subject).await? <= read {
        return Ok(());
    }
    let (_, first, _) = store.range().await?;
    store
        .read(&subject, From::Sequence(read + 1), |sequence, payload| {
            let mut reader = Reader::new(payload.get(HEAD..).unwrap_or_default());
            let events = std::iter::from_fn(|| reader.record()).filter_map(|record| match record {
                Ok(Record::Kept(kept)) => Some(kept),
                _ => None,
            });
            history.log.lock().take_others(tag, first, sequence, events, &history.limits);
        })
        .await
}
