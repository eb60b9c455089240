//! Who the clients of this node are, as the server keeps it while they live.
//!
//! Each session is one key of a bucket. It is written by compare-and-set alone: who finds that another node has written it has lost it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{UpdateError, UpdateErrorKind};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sociable_protocol::{Id, NodeTag, Value};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::StreamHistory;
use super::offset::Epoch;
use super::store::{Session, Store, Trouble, is_full};
use crate::history::Position;
use crate::maps::{Map, Set};
use crate::nats::Shared;
use crate::nats::link::Link;
use crate::nats::wire::{self, Publisher};
use crate::{LeftRoom, LeftRooms, Room, SavedSession, Stay};

/// Sessions that are written at the same time.
const WRITERS: usize = 128;
/// How often it is looked whether all is written.
const NAP: Duration = Duration::from_millis(10);
/// How often it is looked whether this node was away.
const GUARD: Duration = Duration::from_secs(1);
/// How long nothing is tried after it failed, and how often.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
const TRIES: usize = 150;

/// A session as the server keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) epoch: String,
    pub(super) owner: NodeTag,
    pub(super) owner_epoch: u64,
    /// Its stays on nodes: tag, from, to.
    pub(super) past: Vec<(NodeTag, u64, u64)>,
    /// For how long its connection had been lost when this was written, in milliseconds, if it was. When that was is told by the server's clock: those of the nodes differ.
    pub(super) lost: Option<u64>,
    pub(super) namespace: ByteString,
    id: Id,
    rooms: Vec<(Room, Place)>,
    data: Option<Value>,
    since: Place,
    sent: Option<Place>,
    pub(super) until: Place,
    pub(super) shown: Vec<Place>,
    /// The number of its owner's last event before it was lost, if it was.
    #[serde(default)]
    pub(super) left: Option<u64>,
    /// The rooms that it left last, each with the positions of its joining and its leaving.
    #[serde(default)]
    left_rooms: Vec<(Room, Place, Place)>,
    /// Rooms that it left here or before are not told.
    #[serde(default)]
    left_dropped: Option<Place>,
}

/// A position as it is kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Place(pub(super) Option<NodeTag>, pub(super) u64, pub(super) u64);

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
    pub(super) fn is_of(&self, me: Publisher) -> bool {
        (self.owner, self.owner_epoch) == (me.tag, me.epoch)
    }

    /// For how long it has been lost, or has not been refreshed, by the clock of the server that wrote it then.
    pub(super) fn away(&self, written: i128, now: i128) -> Duration {
        let since = u64::try_from(now.saturating_sub(written)).unwrap_or(0);
        Duration::from_millis(since.saturating_add(self.lost.unwrap_or(0)))
    }

    /// The session, which has been away for so long, if it was lost.
    pub(super) fn into_session(self, pid: Id, shown: Vec<Position>, away: Duration) -> SavedSession {
        let ago = self.lost.map(|_| away);
        SavedSession {
            namespace: self.namespace,
            pid,
            id: self.id,
            rooms: self.rooms.into_iter().map(|(room, since)| (room, since.into())).collect(),
            left_rooms: LeftRooms {
                stays: self.left_rooms.into_iter().map(|(room, from, to)| LeftRoom { room, from: from.into(), to: to.into() }).collect(),
                dropped: self.left_dropped.map(Position::from),
            },
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
    known: Mutex<Map<Id, Known>>,
    changed: mpsc::UnboundedSender<Id>,
    changes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Id>>,
    /// Sessions that are being taken over.
    pub(super) taking: Mutex<Set<Id>>,
    /// The bucket is being looked after.
    mending: tokio::sync::Mutex<()>,
}

impl Default for Sessions {
    fn default() -> Self {
        let (changed, changes) = mpsc::unbounded_channel();
        Self {
            known: Mutex::default(),
            changed,
            changes: tokio::sync::Mutex::new(changes),
            taking: Mutex::default(),
            mending: tokio::sync::Mutex::default(),
        }
    }
}

impl Sessions {
    pub(crate) fn save(&self, session: &SavedSession, me: Publisher, epoch: Epoch, left: Option<u64>, limit: usize, pushed: u64) -> bool {
        let past = self.known.lock().get(&session.pid).map_or_else(|| session.past.clone(), |known| known.past.clone());
        let left_rooms = &session.left_rooms;
        let saved = Saved {
            epoch: epoch.as_str().to_owned(),
            owner: me.tag,
            owner_epoch: me.epoch,
            past: past.iter().map(|stay| (stay.tag, stay.from, stay.to)).collect(),
            lost: session.lost.map(|lost| lost.elapsed().as_millis() as u64),
            namespace: session.namespace.clone(),
            id: session.id,
            rooms: session.rooms.iter().map(|(room, since)| (room.clone(), (*since).into())).collect(),
            data: session.data.clone(),
            since: session.since.into(),
            sent: session.sent.map(Place::from),
            until: session.until.into(),
            shown: session.shown.iter().map(|shown| (*shown).into()).collect(),
            left,
            left_rooms: left_rooms.iter().map(|stay| (stay.room.clone(), stay.from.into(), stay.to.into())).collect(),
            left_dropped: left_rooms.dropped.map(Place::from),
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

    /// The sessions of which something is to be written.
    pub(super) fn unsettled(&self) -> Vec<Id> {
        self.known.lock().iter().filter(|(_, known)| !known.is_settled()).map(|(pid, _)| *pid).collect()
    }

    /// Ends when nothing of any session is to be written.
    pub(crate) async fn all_settled(&self) {
        while !self.known.lock().values().all(Known::is_settled) {
            tokio::time::sleep(NAP).await;
        }
    }

    /// This node has written itself as the owner of a session.
    pub(super) fn has_taken(&self, pid: Id, revision: u64) {
        self.known.lock().insert(pid, Known { revision: Some(revision), ..Known::default() });
    }

    /// Where the socket of a session has been, which is saved with it from now on.
    pub(super) fn remember_stays(&self, pid: &Id, past: &[Stay]) {
        if let Some(known) = self.known.lock().get_mut(pid) {
            known.past = past.to_vec();
        }
    }

    /// True while this node has a session: a socket of it lives here, or is about to.
    pub(super) fn has_living(&self, pid: &Id) -> bool {
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
            Err(Refused::Other(error)) if is_full(&*error) => {
                shared.counters.sessions_unsaved.one();
                history.outbound.refused(&*error);
                // What is kept of it is not true any more.
                if let (Some(_), Ok(store)) = (revision, history.store())
                    && store.purge(pid).await.is_err()
                {
                    return revision;
                }
                return None;
            }
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
        let Ok(_mending) = self.sessions.mending.try_lock() else { return };
        let Ok(store) = self.store() else { return };
        if store.sessions_are_gone().await {
            tracing::error!(target: "sociable::recovery", "the bucket of sessions is gone, and is made anew");
            let options = shared.options.jetstream.clone().unwrap_or_default();
            drop(Store::open(&store.context.client(), &shared.options.connection.cluster, &options).await);
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
pub(super) enum Kept {
    /// It was never written, or is too old.
    Nothing,
    Deleted,
    Session(Box<Saved>, Session),
}

pub(super) async fn kept(history: &StreamHistory, pid: &Id) -> Result<Kept, Trouble> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Id {
        sociable_protocol::IdSource::new(NodeTag::random()).draw()
    }

    fn saved(lost: Option<u64>) -> Saved {
        Saved {
            epoch: String::new(),
            owner: NodeTag::random(),
            owner_epoch: 1,
            past: vec![],
            lost,
            namespace: "/".into(),
            id: id(),
            rooms: vec![],
            data: None,
            since: Place(None, 0, 0),
            sent: None,
            until: Place(None, 0, 0),
            shown: vec![],
            left: None,
            left_rooms: vec![],
            left_dropped: None,
        }
    }

    #[test]
    fn ages_are_told_by_the_clock_of_the_server_alone() {
        // Whatever the clocks of the nodes say.
        let written = 1_700_000_000_000;
        let away = |lost, passed| saved(lost).away(written, written + passed);
        assert_eq!(away(Some(5_000), 10_000), Duration::from_secs(15));
        assert_eq!(away(None, 10_000), Duration::from_secs(10));
        assert_eq!(away(Some(5_000), -10_000), Duration::from_secs(5), "another server leads, whose clock is behind");
        assert_eq!(away(Some(u64::MAX), 10_000), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn what_is_saved_tells_for_how_long_a_session_was_lost() {
        let (sessions, me) = (Sessions::default(), Publisher { tag: NodeTag::random(), epoch: 1 });
        let pid = id();
        let ago = Duration::from_secs(7);
        let session = SavedSession { lost: Instant::now().checked_sub(ago), ..saved(Some(0)).into_session(pid, vec![], ago) };
        assert!(sessions.save(&session, me, Epoch::of(1), None, 1 << 20, 0));
        let Some((Write::Put(bytes, _), _)) = sessions.begin(&pid) else { panic!("nothing is to be written") };
        let lost = wire::unpack::<Saved>(&bytes).unwrap().lost.unwrap();
        assert!((7_000..60_000).contains(&lost), "{lost}");
    }
}
