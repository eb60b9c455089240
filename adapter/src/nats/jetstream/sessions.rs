//! Who the clients of this node are, as the server keeps it while they live; and who takes one over.
//!
//! Each session is one key of a bucket. It is written by compare-and-set alone: who finds that another node has written it has lost it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use async_nats::jetstream::kv::{UpdateError, UpdateErrorKind};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use sociable_protocol::{Id, NodeTag, Value};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::offset::Epoch;
use super::store::{From, Session, Store, Trouble};
use super::{MAX_SHOWN, StreamHistory};
use crate::history::Position;
use crate::nats::Shared;
use crate::nats::link::Link;
use crate::nats::wire::{self, HEAD, Publisher, Reader, Record};
use crate::{History, Room, SavedSession, Stay};

/// Sessions that are written at the same time.
const WRITERS: usize = 128;
/// Sessions that are given up at the same time.
const GIVING_UP: usize = 20_000;
/// How often it is looked whether all is written.
const NAP: Duration = Duration::from_millis(10);
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
/// Nodes of which it is remembered when they were read.
const MAX_READ: usize = 1024;
/// Nodes that had a session before are remembered, as what they sent to it alone may have to be sent again.
const MAX_PAST: usize = 16;

/// A session as the server keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    epoch: String,
    owner: NodeTag,
    owner_epoch: u64,
    /// Its stays on nodes: tag, from, to.
    past: Vec<(NodeTag, u64, u64)>,
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
            past: self.past.into_iter().map(|(tag, from, to)| Stay { tag, from, to }).collect(),
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
    past: Vec<Stay>,
    bytes: usize,
    /// Told when nothing is to be written any more.
    settled: Arc<Notify>,
}

impl Known {
    fn is_settled(&self) -> bool {
        self.next.is_none() && !self.under_way
    }
}

/// The sessions that this node has.
#[derive(Debug)]
pub(crate) struct Sessions {
    known: Mutex<FxHashMap<Id, Known>>,
    changed: mpsc::UnboundedSender<Id>,
    changes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Id>>,
    /// Sessions that are being taken over.
    taking: Mutex<FxHashSet<Id>>,
}

impl Default for Sessions {
    fn default() -> Self {
        let (changed, changes) = mpsc::unbounded_channel();
        Self { known: Mutex::default(), changed, changes: tokio::sync::Mutex::new(changes), taking: Mutex::default() }
    }
}

impl Sessions {
    pub(crate) fn save(&self, session: &SavedSession, me: Publisher, epoch: Epoch, limit: usize, pushed: u64) -> bool {
        let past = self.known.lock().get(&session.pid).map_or_else(|| session.past.clone(), |known| known.past.clone());
        let saved = Saved {
            epoch: epoch.as_str().to_owned(),
            owner: me.tag,
            owner_epoch: me.epoch,
            past: past.iter().map(|stay| (stay.tag, stay.from, stay.to)).collect(),
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
        let mut known = self.known.lock();
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

    /// Ends when nothing of a session is to be written.
    pub(crate) async fn settled(&self, pid: &Id) {
        loop {
            let Some(settled) = self.known.lock().get(pid).map(|known| Arc::clone(&known.settled)) else { return };
            let told = settled.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.known.lock().get(pid).is_none_or(Known::is_settled) {
                return;
            }
            told.await;
        }
    }

    /// Ends when nothing of any session is to be written.
    pub(crate) async fn all_settled(&self) {
        while !self.known.lock().values().all(Known::is_settled) {
            tokio::time::sleep(NAP).await;
        }
    }

    /// True while this node has a session: a socket of it lives here, or is about to.
    fn has_living(&self, pid: &Id) -> bool {
        self.known.lock().get(pid).is_some_and(|known| known.lost.is_none())
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
        for known in self.known.lock().values_mut() {
            known.under_way = false;
            known.settled.notify_waiters();
        }
    }

    /// It was written; tells whether there is more.
    fn written(&self, pid: &Id, revision: Option<u64>) -> bool {
        let mut known = self.known.lock();
        let Some(entry) = known.get_mut(pid) else { return false };
        (entry.under_way, entry.revision) = (false, revision);
        let (more, settled) = (entry.next.is_some(), Arc::clone(&entry.settled));
        if !more && revision.is_none() {
            known.remove(pid);
        }
        drop(known);
        settled.notify_waiters();
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
async fn write_one(history: &StreamHistory, shared: &Shared, pid: &Id, mut write: &Write, mut revision: Option<u64>) -> Option<u64> {
    if let Write::Put(_, after) = write
        && history.outbound.flushed(*after).await.is_err()
    {
        // Not all that was sent to it is in the stream: it can't come back.
        write = &Write::Delete;
    }
    for _ in 0..TRIES {
        shared.links.is_up(Link::History).await;
        match try_write(history, pid, write, revision).await {
            Ok(written) => {
                shared.counters.sessions_saved.one();
                return written;
            }
            Err(Refused::Changed) => match kept(history, pid).await {
                // What this node had written before, without hearing of it.
                Ok(Kept::Session(saved, session)) if saved.is_of(history.me) => revision = Some(session.revision),
                Ok(Kept::Nothing) => revision = None,
                Ok(Kept::Session(..) | Kept::Deleted) => {
                    if matches!(write, Write::Put(..)) {
                        fence(shared, pid);
                    }
                    return None;
                }
                Err(error) => tracing::debug!(target: "sociable::recovery", %error, "a session can't be read now"),
            },
            Err(Refused::Other(error)) => {
                tracing::debug!(target: "sociable::recovery", %error, "a session is not saved yet");
                history.mend(shared).await;
            }
        }
        if matches!((write, revision), (Write::Delete, None)) {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    shared.counters.sessions_unsaved.one();
    tracing::warn!(target: "sociable::recovery", "a session could not be saved");
    if matches!(write, Write::Delete) { None } else { revision }
}

/// Another node has a session of this one.
fn fence(shared: &Shared, pid: &Id) {
    shared.counters.fenced.one();
    if let Some(node) = shared.node.get() {
        node.fence(pid);
    }
}

impl StreamHistory {
    /// Makes the bucket anew if it was deleted.
    async fn mend(&self, shared: &Shared) {
        // One does it for all.
        let Ok(_mending) = self.catching_up.mending.try_lock() else { return };
        let Ok(store) = self.store() else { return };
        if store.sessions_are_gone().await {
            tracing::error!(target: "sociable::recovery", "the bucket of sessions is gone, and is made anew");
            let options = shared.options.jetstream.clone().unwrap_or_default();
            drop(Store::open(&store.context.client(), &shared.options.cluster, &options).await);
        }
    }
}

enum Refused {
    /// What is kept is not what was thought.
    Changed,
    Other(Trouble),
}

impl std::convert::From<UpdateError> for Refused {
    fn from(error: UpdateError) -> Self {
        match error.kind() {
            UpdateErrorKind::WrongLastRevision => Self::Changed,
            _ => Self::Other(error.into()),
        }
    }
}

async fn try_write(history: &StreamHistory, pid: &Id, write: &Write, revision: Option<u64>) -> Result<Option<u64>, Refused> {
    let sessions = &history.store().map_err(Refused::Other)?.sessions;
    match (write, revision) {
        // Not if there ever was one: whoever deleted it had taken it over.
        (Write::Put(bytes, _), revision) => Ok(Some(sessions.update(pid.as_str(), bytes.clone(), revision.unwrap_or(0)).await?)),
        (Write::Delete, None) => Ok(None),
        (Write::Delete, Some(revision)) => Ok(sessions.delete_expect_revision(pid.as_str(), Some(revision)).await.map(|()| None)?),
    }
}

/// What the server has of a session.
enum Kept {
    /// It was never written, or is too old.
    Nothing,
    Deleted,
    Session(Box<Saved>, Session),
}

async fn kept(history: &StreamHistory, pid: &Id) -> Result<Kept, Trouble> {
    let Some(session) = history.store()?.session(pid).await? else { return Ok(Kept::Nothing) };
    let Some(value) = &session.value else { return Ok(Kept::Deleted) };
    Ok(wire::unpack(value).map_or(Kept::Nothing, |saved| Kept::Session(Box::new(saved), session)))
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
        // What is being written finds it out by itself.
        history.sessions.settled(&pid).await;
        let is_mine = match kept(history, &pid).await {
            Ok(Kept::Session(saved, _)) => saved.is_of(history.me),
            Ok(Kept::Deleted) => !history.sessions.known.lock().contains_key(&pid),
            Ok(Kept::Nothing) | Err(_) => true,
        };
        if !is_mine {
            history.sessions.known.lock().remove(&pid);
            fence(shared, &pid);
        }
    };
    futures_util::stream::iter(mine).for_each_concurrent(WRITERS, check_one).await;
}

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
        Taking { history: &history, shared: &shared, pid, asked: false, owner: None, tried: false }.take(&namespace, &seen).await
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
}

impl Taking<'_> {
    async fn take(&mut self, namespace: &str, seen: &[Position]) -> Option<SavedSession> {
        self.history.sessions.settled(&self.pid).await;
        loop {
            match self.try_take(namespace, seen).await {
                Ok(Some(taken)) => return taken,
                // Anew, with what is there now.
                Ok(None) => {}
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
        if is_too_old(history, &saved, session.written) {
            return Ok(Some(None));
        }
        // What its node sends to its own sockets from now on is not for it.
        let to = if saved.lost.is_some() && saved.until.0 == Some(saved.owner) { saved.until.1 } else { u64::MAX };
        match saved.past.last_mut().filter(|(tag, ..)| *tag == saved.owner) {
            Some(stay) => stay.2 = to,
            // It has been there from the beginning.
            None => saved.past.push((saved.owner, 0, to)),
        }
        saved.past.push((history.me.tag, history.log.lock().position().own, u64::MAX));
        saved.past.drain(..saved.past.len().saturating_sub(MAX_PAST));
        (saved.owner, saved.owner_epoch) = (history.me.tag, history.me.epoch);
        saved.shown.extend(seen.iter().map(|seen| Place::from(*seen)));
        saved.shown.drain(..saved.shown.len().saturating_sub(MAX_SHOWN));
        let lost = saved.lost.take();
        let Some(bytes) = wire::pack(&*saved) else { return Ok(Some(None)) };
        self.tried = true;
        match history.store()?.sessions.update(pid.as_str(), bytes.into(), session.revision).await {
            Ok(revision) => Ok(Some(self.taken(Saved { lost, ..*saved }, revision).await)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                self.tried = false;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks a node once to give it up. True if it did.
    async fn give_up(&mut self, owner: NodeTag) -> bool {
        !std::mem::replace(&mut self.asked, true) && ask_to_give_up(self.history, self.shared, owner, &self.pid).await
    }

    /// This node has it: sees to it that all is there that it may have missed.
    async fn taken(&self, saved: Saved, revision: u64) -> Option<SavedSession> {
        let (history, pid) = (self.history, self.pid);
        let past: Vec<NodeTag> = saved.past.iter().map(|(tag, ..)| *tag).collect();
        history.sessions.known.lock().insert(pid, Known { revision: Some(revision), ..Known::default() });
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
        let session = saved.into_session(pid, shown);
        if let Some(known) = history.sessions.known.lock().get_mut(&pid) {
            known.past.clone_from(&session.past);
        }
        Some(session)
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

fn is_too_old(history: &StreamHistory, saved: &Saved, written: i128) -> bool {
    let age = match saved.lost {
        Some(lost) => now().saturating_sub(lost),
        // Nobody has seen its loss. It lived when it was refreshed last.
        None => {
            let written = u64::try_from(written).unwrap_or(0);
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
                    history.sessions.settled(&pid).await;
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
    /// The last question that was there when it was done last, and when each node was read last.
    done: tokio::sync::Mutex<(u64, FxHashMap<NodeTag, u64>)>,
    mending: tokio::sync::Mutex<()>,
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
            read_others(history, *tag).await?;
            if done.1.len() >= MAX_READ {
                done.1.clear();
            }
            done.1.insert(*tag, asked);
        }
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
    let age = history.max_age();
    let from = if read == 0 { From::Age(age) } else { From::Sequence(read + 1) };
    let reading = store.read(&subject, from, |sequence, payload| {
        let mut reader = Reader::new(payload.get(HEAD..).unwrap_or_default());
        let events = std::iter::from_fn(|| reader.record()).filter_map(|record| match record {
            Ok(Record::Kept(kept)) => Some(kept),
            _ => None,
        });
        history.log.lock().take_others(tag, sequence, events, &history.limits);
    });
    reading.await?;
    // What went, if only while it was read, is not here.
    let lacks = store.range().await?.lacks(age);
    if lacks > read {
        history.log.lock().others_begin_behind(tag, lacks);
    }
    Ok(())
}
