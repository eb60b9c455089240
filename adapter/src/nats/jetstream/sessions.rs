//! Sessions of the clients of this node: their persisted state, and their pending writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use sociable_protocol::Id;
use sociable_protocol::maps::{Map, Set};
use tokio::sync::{Notify, mpsc};

use super::offset::Epoch;
use super::session_record::SessionRecord;
use crate::nats::wire::{self, Publisher};
use crate::{SavedSession, Stay};

/// The interval of the search for unwritten sessions.
const NAP: Duration = Duration::from_millis(10);

/// A change of a key.
#[derive(Debug)]
pub(super) enum Write {
    /// After so many records of this node are persisted.
    Put(Bytes, u64),
    Delete,
}

/// A session that this node has, or has saved.
#[derive(Debug, Default)]
struct Known {
    /// The revision of the persisted value.
    revision: Option<u64>,
    next: Option<Write>,
    under_way: bool,
    lost: Option<Instant>,
    past: Vec<Stay>,
    bytes: usize,
    /// Notified when no write is pending.
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
    pub(super) changes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Id>>,
    /// Sessions that are being taken over.
    pub(super) taking: Mutex<Set<Id>>,
    /// Held while a task restores the bucket.
    pub(super) mending: tokio::sync::Mutex<()>,
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
    /// Queues a session to be written. Returns false if it is longer than `limit`.
    pub(crate) fn save(&self, session: &SavedSession, me: Publisher, epoch: Epoch, left: Option<u64>, limit: usize, pushed: u64) -> bool {
        let past = self.known.lock().get(&session.pid).map_or_else(|| session.past.clone(), |known| known.past.clone());
        let record = SessionRecord::new(session, &past, me, epoch, left);
        let Some(bytes) = wire::encode_value(&record).filter(|bytes| bytes.len() <= limit) else { return false };
        let mut known = self.known.lock();
        let entry = known.entry(session.pid).or_default();
        (entry.lost, entry.bytes) = (session.lost, bytes.len());
        // The new owner of a lost session reads the earlier events from the stream.
        let after = if session.lost.is_some() { pushed } else { 0 };
        self.write(session.pid, entry, Write::Put(bytes.into(), after));
        true
    }

    pub(crate) fn forget(&self, pid: &Id) {
        if let Some(entry) = self.known.lock().get_mut(pid) {
            self.write(*pid, entry, Write::Delete);
        }
    }

    /// Replaces the pending write.
    fn write(&self, pid: Id, entry: &mut Known, write: Write) {
        if entry.next.replace(write).is_none() && !entry.under_way {
            // If the task of the writes has died, the next one finds this write.
            let _ = self.changed.send(pid);
        }
    }

    pub(crate) fn holds(&self, pid: &Id) -> bool {
        self.known.lock().get(pid).is_some_and(|known| known.lost.is_some() && !matches!(known.next, Some(Write::Delete)))
    }

    /// Forgets sessions that are too old.
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

    /// Waits until no write of a session is pending.
    pub(crate) async fn settled(&self, pid: &Id) {
        loop {
            let Some(settled) = self.known.lock().get(pid).map(|known| Arc::clone(&known.settled)) else { return };
            let notified = settled.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.known.lock().get(pid).is_none_or(Known::is_settled) {
                return;
            }
            notified.await;
        }
    }

    /// Returns the sessions with pending writes.
    pub(super) fn unsettled(&self) -> Vec<Id> {
        self.known.lock().iter().filter(|(_, known)| !known.is_settled()).map(|(pid, _)| *pid).collect()
    }

    /// Waits until no write of any session is pending.
    pub(crate) async fn all_settled(&self) {
        while !self.known.lock().values().all(Known::is_settled) {
            tokio::time::sleep(NAP).await;
        }
    }

    /// Records that this node has written itself as the owner of a session.
    pub(super) fn note_takeover(&self, pid: Id, revision: u64) {
        self.known.lock().insert(pid, Known { revision: Some(revision), ..Known::default() });
    }

    /// Sets the stays of a session's socket, which are saved with it from now on.
    pub(super) fn remember_stays(&self, pid: &Id, past: &[Stay]) {
        if let Some(known) = self.known.lock().get_mut(pid) {
            known.past = past.to_vec();
        }
    }

    /// Returns true while this node has a session: a socket of it lives here, or is about to.
    pub(super) fn has_living(&self, pid: &Id) -> bool {
        self.known.lock().get(pid).is_some_and(|known| known.lost.is_none())
    }

    /// Returns the pending write of a session.
    pub(super) fn begin_write(&self, pid: &Id) -> Option<(Write, Option<u64>)> {
        let mut known = self.known.lock();
        let entry = known.get_mut(pid)?;
        let write = entry.next.take()?;
        entry.under_way = true;
        Some((write, entry.revision))
    }

    /// Notes that writes were interrupted, with unknown outcome. They are repeated with the next change, or after a while.
    pub(super) fn note_interruption(&self) {
        for known in self.known.lock().values_mut() {
            known.under_way = false;
            known.settled.notify_waiters();
        }
    }

    /// Ends a write. Returns true if there is more to write.
    pub(super) fn finish_write(&self, pid: &Id, revision: Option<u64>) -> bool {
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

    /// Returns the sessions of this node that are persisted.
    pub(super) fn persisted(&self) -> Vec<Id> {
        self.known.lock().iter().filter(|(_, known)| known.revision.is_some()).map(|(pid, _)| *pid).collect()
    }

    pub(super) fn contains(&self, pid: &Id) -> bool {
        self.known.lock().contains_key(pid)
    }

    /// Forgets a session that another node has.
    pub(super) fn remove(&self, pid: &Id) {
        self.known.lock().remove(pid);
    }
}

#[cfg(test)]
mod tests {
    use sociable_protocol::{IdSource, NodeTag};

    use super::*;

    #[test]
    fn saved_session_has_the_time_since_its_loss() {
        let (sessions, me) = (Sessions::default(), Publisher { tag: NodeTag::random(), epoch: 1 });
        let pid = IdSource::new(me.tag).draw();
        let ago = Duration::from_secs(7);
        let session =
            SavedSession { lost: Instant::now().checked_sub(ago), ..SessionRecord::example(Some(0)).into_session(pid, vec![], ago) };
        assert!(sessions.save(&session, me, Epoch::of(1), None, 1 << 20, 0));
        let Some((Write::Put(bytes, _), _)) = sessions.begin_write(&pid) else { panic!("no write is pending") };
        let lost = wire::decode_value::<SessionRecord>(&bytes).unwrap().lost.unwrap();
        assert!((7_000..60_000).contains(&lost), "{lost}");
    }
}
