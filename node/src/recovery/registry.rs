//! The sockets that may be recovered, and the sessions that clients claim.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use sociable_adapter::{History, Missed, Position, SavedSession};
use sociable_engine::CloseReason;
use sociable_engine::layer::Ending;
use sociable_protocol::maps::Map;
use sociable_protocol::{Args, Id};
use tokio::sync::oneshot;

use crate::namespace::Namespace;
use crate::recovery::options::Recovery;
use crate::recovery::progress::{DeliveryProgress, RecoveryHandle};
use crate::socket::Socket;
use crate::socket_state::SocketState;
use crate::stats::Count;
use crate::trace;

/// The longest interval between two removals of expired entries.
const SWEEP: Duration = Duration::from_secs(30);

/// The state of recovery on this node.
pub(crate) struct Recoveries {
    pub(crate) history: Arc<dyn History>,
    pub(crate) skip_middlewares: bool,
    max_age: Duration,
    /// The live sockets by the secrets of their clients. A client may return before its loss is noticed.
    live: Mutex<Map<Id, Arc<SocketState>>>,
    /// The sockets that returned to another worker than the one of their ids.
    relocated: RwLock<Map<Id, usize>>,
    any_relocated: AtomicUsize,
    sweeping: AtomicBool,
}

impl fmt::Debug for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recoveries").field("history", &self.history).finish_non_exhaustive()
    }
}

/// The part of the `auth` payload by which a client claims its session.
#[derive(Debug, Deserialize)]
struct Claim {
    pid: String,
    #[serde(default)]
    offset: Option<String>,
}

/// A claimed session. Dropped unused, it is saved again for the next attempt.
#[derive(Debug)]
pub(crate) struct Claimed {
    recoveries: Arc<Recoveries>,
    session: Option<SavedSession>,
    offset: Option<String>,
}

impl Claimed {
    /// Returns the claimed session.
    pub(crate) fn session(&self) -> Option<&SavedSession> {
        self.session.as_ref()
    }

    /// Returns what the session missed. `None` if the history no longer has all of it.
    pub(crate) fn missed(&self) -> Option<Missed> {
        self.recoveries.history.missed(self.session.as_ref()?, self.offset.as_deref())
    }

    /// Removes the session for good.
    pub(crate) fn discard(&mut self) {
        if let Some(session) = self.session.take() {
            self.recoveries.history.forget(&session.pid);
        }
    }

    /// Takes the session, so that a drop does not save it.
    pub(crate) fn take_session(&mut self) -> Option<SavedSession> {
        self.session.take()
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.lost.get_or_insert_with(Instant::now);
            self.recoveries.history.save(session);
        }
    }
}

impl Recoveries {
    pub(crate) fn new(options: &Recovery, history: Arc<dyn History>) -> Self {
        Self {
            history,
            skip_middlewares: options.skip_middlewares,
            max_age: options.max_disconnection_duration,
            live: Mutex::default(),
            relocated: RwLock::default(),
            any_relocated: AtomicUsize::new(0),
            sweeping: AtomicBool::new(false),
        }
    }

    /// Claims the session that the client names in its `auth` payload.
    pub(crate) async fn claim(self: &Arc<Self>, namespace: &Namespace, auth: &Args) -> Option<Claimed> {
        let Claim { pid, offset } = auth.decode(0).ok()?;
        let pid = Id::try_from(&*pid).ok()?;
        self.end_earlier(namespace, &pid).await;
        let session = self.history.claim_session(namespace.name(), &pid, offset.as_deref()).await;
        let mut claimed = Claimed { recoveries: Arc::clone(self), session, offset };
        // A session that was lost before its namespace was created again missed the events in between.
        let lost_before = |session: &SavedSession| session.lost.is_some_and(|lost| lost < namespace.began());
        let gap = !self.history.is_shared() && claimed.session.as_ref().is_some_and(lost_before);
        let count = match (claimed.session.is_some(), !gap && claimed.missed().is_some()) {
            (true, true) => return Some(claimed),
            (true, false) => Count::RecoveriesIncomplete,
            (false, _) => Count::RecoveriesUnknown,
        };
        claimed.discard();
        namespace.count(count);
        tracing::debug!(target: "sociable::recovery", namespace = %trace::plain(namespace.name()), ?count, "session not recovered");
        None
    }

    /// Ends an earlier connection of the same client whose loss was not noticed yet.
    async fn end_earlier(&self, namespace: &Namespace, pid: &Id) {
        let earlier = self.live.lock().get(pid).filter(|socket| socket.namespace == *namespace).cloned();
        if let Some(earlier) = earlier {
            let _ = cut_off(earlier).await;
        }
    }

    /// Ends the connection of a client that has returned to another node.
    pub(crate) async fn give_up(&self, pid: &Id) {
        let socket = self.live.lock().get(pid).cloned();
        if let Some(socket) = socket {
            let _ = cut_off(socket).await;
        }
    }

    /// Ends the connection of a client whose session another node has.
    pub(crate) fn fence(&self, pid: &Id) {
        let socket = self.live.lock().get(pid).cloned();
        if let Some(socket) = socket {
            socket.namespace.count(Count::SessionsFenced);
            tracing::warn!(target: "sociable::recovery", id = %socket.id.shortened(), "session claimed by another node; connection closed");
            revoke(socket);
        }
    }

    /// Handles the loss of other nodes' events: no client may be recovered without them unnoticed.
    pub(crate) fn note_loss(&self) {
        if !self.history.is_shared() {
            return self.history.mark_incomplete();
        }
        tracing::error!(target: "sociable::recovery", "lost cluster events; closing recoverable sessions");
        let sockets: Vec<_> = self.live.lock().values().cloned().collect();
        for socket in sockets {
            socket.namespace.count(Count::SessionsVoided);
            revoke(socket);
        }
    }

    /// Registers a socket that is connected on this worker.
    pub(crate) fn on_connected(self: &Arc<Self>, socket: &Arc<SocketState>, worker: usize) {
        let Some(recovery) = &socket.recovery else { return };
        self.live.lock().insert(recovery.pid, Arc::clone(socket));
        let engine = socket.namespace.engine();
        if socket.id.tag() != engine.tag() || engine.owner_of(&socket.id) != worker {
            self.relocated.write().insert(socket.id, worker);
            self.any_relocated.fetch_add(1, Ordering::Release);
        }
        if socket.id.tag() != engine.tag()
            && let Some(server) = socket.namespace.server_state()
        {
            server.adapter.adopt(socket.id);
        }
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            let (this, pause) = (Arc::downgrade(self), SWEEP.min(self.max_age).max(Duration::from_millis(100)));
            actix_rt::spawn(async move {
                loop {
                    tokio::time::sleep(pause).await;
                    let Some(this) = this.upgrade() else { break };
                    this.history.sweep();
                }
            });
        }
    }

    /// Unregisters a socket that has left, and saves its session if it is `lost`.
    pub(crate) fn on_disconnected(&self, socket: &SocketState, progress: &DeliveryProgress, cursor: Position, lost: bool) {
        let Some(recovery) = &socket.recovery else { return };
        if lost && !recovery.void.load(Ordering::Acquire) {
            recovery.leaves.store(true, Ordering::Release);
            self.save(socket, recovery, progress, cursor, Some(Instant::now()));
            recovery.lost.store(true, Ordering::Release);
        } else {
            self.history.forget(&recovery.pid);
        }
        self.on_removed(socket);
    }

    /// Saves a live socket, in case this process crashes.
    pub(crate) fn save_living(&self, socket: &SocketState, progress: &DeliveryProgress, cursor: Position) {
        if let Some(recovery) = socket.recovery.as_ref().filter(|recovery| !recovery.void.load(Ordering::Acquire)) {
            self.save(socket, recovery, progress, cursor, None);
        }
    }

    fn save(&self, socket: &SocketState, recovery: &RecoveryHandle, progress: &DeliveryProgress, cursor: Position, lost: Option<Instant>) {
        let (rooms, data) = socket.joined_and_data();
        let joined = progress.joined.borrow();
        let rooms = rooms.into_iter().map(|room| {
            let since = joined.get(&room).copied().unwrap_or_default();
            (room, since)
        });
        let own = joined.get_key_value(socket.id.as_str()).map(|(room, since)| (room.clone(), *since));
        let session = SavedSession {
            namespace: socket.namespace.name().clone(),
            pid: recovery.pid,
            id: socket.id,
            own_is_listed: socket.has_left_own_room() || own.is_some(),
            rooms: rooms.chain(own).collect(),
            left_rooms: progress.left_rooms.borrow().clone(),
            data,
            lost,
            since: progress.since.get(),
            sent: progress.sent.get(),
            until: progress.until(cursor),
            shown: progress.shown.borrow().clone(),
            // The history fills this in.
            past: vec![],
        };
        if !self.history.save(session) {
            socket.namespace.count(Count::SessionsTooLarge);
            tracing::warn!(target: "sociable::recovery", id = %socket.id.shortened(), "session not saved: rooms and data exceed max_session_bytes");
        }
    }

    /// Unregisters a socket.
    pub(crate) fn on_removed(&self, socket: &SocketState) {
        let Some(recovery) = &socket.recovery else { return };
        let mut live = self.live.lock();
        if !live.get(&recovery.pid).is_some_and(|known| std::ptr::eq(&raw const **known, socket)) {
            return;
        }
        live.remove(&recovery.pid);
        drop(live);
        if socket.id.tag() != socket.namespace.engine().tag()
            && let Some(server) = socket.namespace.server_state()
        {
            server.adapter.release(socket.id);
        }
        if self.relocated.write().remove(&socket.id).is_some() {
            self.any_relocated.fetch_sub(1, Ordering::Release);
        }
    }

    /// Returns the worker of a returned socket, if it differs from that of the id.
    pub(crate) fn relocated(&self, id: &Id) -> Option<usize> {
        if self.any_relocated.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.relocated.read().get(id).copied()
    }
}

/// Ends the connection of a socket whose loss was not noticed. The receiver resolves when the session has ended, or cannot.
fn cut_off(socket: Arc<SocketState>) -> oneshot::Receiver<()> {
    let (done, ended) = oneshot::channel::<()>();
    Socket(socket).with_session(move |session| {
        session.end(CloseReason::TransportClose, Ending::Abrupt);
        drop(done);
    });
    ended
}

/// Ends the connection of a socket without saving its session.
fn revoke(socket: Arc<SocketState>) {
    if let Some(recovery) = &socket.recovery {
        recovery.void.store(true, Ordering::Release);
    }
    drop(cut_off(socket));
}
