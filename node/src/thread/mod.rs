//! The state of one worker thread: its sockets, and its part of each namespace.

mod events;
mod fan_out;
pub(crate) mod namespace;
pub(crate) mod namespace_actor;
pub(crate) mod private_rooms;
pub(crate) mod room;
pub(crate) mod socket;
pub(crate) mod socket_actor;
pub(crate) mod sockets;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytestring::ByteString;
use slab::Slab;
use sociable_adapter::{Entry, Position, SavedSession};
use sociable_engine::Session;
use sociable_engine::layer::{EngineState, Worker};
use sociable_protocol::maps::Map;
use sociable_protocol::{Args, Frames, Latency};
use tokio::sync::oneshot;

use crate::namespace::Namespace;
use crate::recovery::progress::RecoveryHandle;
use crate::socket_state::SocketState;
use crate::stats::{AllCounters, Count, Counters};
use crate::thread::namespace::LocalNamespace;
use crate::thread::socket::{Connected, LocalSocket};

/// The time for which changes of sockets are gathered before a save.
const SAVE_DELAY: Duration = Duration::from_millis(20);
/// The number of turns in which all sockets are saved again.
const REFRESH_TURNS: usize = 16;

/// The state of a server on this thread.
pub(crate) struct ThreadState {
    pub(crate) worker: Rc<Worker>,
    pub(crate) counters: Arc<Counters>,
    /// The latencies of acknowledgements.
    pub(crate) acks: Latency,
    sockets: RefCell<Slab<Rc<LocalSocket>>>,
    namespaces: RefCell<Map<ByteString, Rc<LocalNamespace>>>,
    /// The position up to which this thread has delivered the history.
    cursor: Cell<Position>,
    /// The sockets that have changed since their last save, where live sockets are saved.
    changed: RefCell<Vec<Rc<LocalSocket>>>,
    /// True once live sockets are saved periodically.
    refreshing: Cell<bool>,
}

impl fmt::Debug for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadState").field("worker", &self.worker.index()).finish_non_exhaustive()
    }
}

impl ThreadState {
    /// Returns the state of the server for a new worker thread.
    pub(crate) fn new(worker: &Rc<Worker>, counters: Arc<Counters>) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(worker),
            counters,
            acks: Latency::default(),
            sockets: RefCell::default(),
            namespaces: RefCell::default(),
            cursor: Cell::default(),
            changed: RefCell::default(),
            refreshing: Cell::new(false),
        })
    }

    /// Returns this thread's state of the server, if the thread is one of its workers.
    #[inline]
    pub(crate) fn current(engine: &Arc<EngineState>) -> Option<Rc<Self>> {
        Worker::layer_here(engine)
    }

    /// Increments a counter.
    #[inline]
    pub(crate) fn count(&self, count: Count) {
        self.counters.increment(count);
    }

    /// Returns the local state of a socket, unless it has left.
    #[inline]
    pub(crate) fn socket(&self, shared: &Arc<SocketState>) -> Option<Rc<LocalSocket>> {
        self.sockets.borrow().get(shared.slot as usize).filter(|socket| Arc::ptr_eq(&socket.shared, shared)).cloned()
    }

    /// Adds a socket that is connecting: a new one, or a returning one.
    pub(crate) fn add(
        self: &Rc<Self>,
        session: &Rc<Session>,
        client: Weak<dyn Connected>,
        namespace: &Namespace,
        auth: Args,
        back: Option<&SavedSession>,
    ) -> Rc<LocalSocket> {
        let mut sockets = self.sockets.borrow_mut();
        let entry = sockets.vacant_entry();
        let slot = entry.key() as u32;
        // Old clients use the id of the session as that of the socket.
        let old = session.version().is_v3();
        let id = back.map_or_else(|| if old { session.id() } else { self.worker.draw_id() }, |back| back.id);
        let mut shared =
            SocketState::new(id, namespace.clone(), self.worker.index(), slot, session.handshake().clone(), auth).of_old_client(old);
        let recoverable = !old && namespace.recoveries().is_some();
        if recoverable {
            let pid = back.map_or_else(|| self.worker.draw_id(), |back| back.pid);
            shared = shared.with_recovery(
                RecoveryHandle {
                    pid,
                    recovered: back.is_some(),
                    lost: AtomicBool::new(false),
                    void: AtomicBool::new(false),
                    leaves: AtomicBool::new(false),
                },
                back.and_then(|back| back.data.clone()),
            );
        }
        let socket = Rc::new(LocalSocket::new(shared, session, self, self.namespace(namespace), client));
        socket.namespace.sockets.set(socket.namespace.sockets.get() + 1);
        entry.insert(Rc::clone(&socket));
        socket
    }

    pub(crate) fn remove(&self, socket: &LocalSocket) {
        let mut sockets = self.sockets.borrow_mut();
        sockets.try_remove(socket.slot as usize);
        if sockets.len() < sockets.capacity() / 8 {
            sockets.shrink_to_fit();
        }
    }

    /// Returns this thread's part of a namespace, and creates it if needed.
    pub(crate) fn namespace(self: &Rc<Self>, namespace: &Namespace) -> Rc<LocalNamespace> {
        if let Some(known) = self.namespaces.borrow().get(namespace.name()) {
            return Rc::clone(known);
        }
        let part = Rc::new(LocalNamespace::new(namespace.clone(), self));
        self.namespaces.borrow_mut().insert(namespace.name().clone(), Rc::clone(&part));
        part
    }

    /// Delivers an entry of the history. Each thread gets its entries in order.
    ///
    /// `frames` are those of the entry, which all threads share with their compressed form.
    pub(crate) fn deliver(&self, entry: &Entry, frames: &Frames) {
        let before = self.cursor.replace(entry.reached);
        if let Some(part) = self.known(&entry.namespace) {
            match &entry.order {
                None => part.fan_out_persisted(entry, frames, before),
                Some(operation) => part.obey(entry, operation),
            }
        }
    }

    /// Returns the namespaces that have sockets here.
    pub(crate) fn namespaces(&self) -> Vec<Rc<LocalNamespace>> {
        self.namespaces.borrow().values().cloned().collect()
    }

    /// Returns the position up to which this thread has delivered the history.
    pub(crate) fn cursor(&self) -> Position {
        self.cursor.get()
    }

    /// Advances the cursor past entries that do not concern this thread.
    pub(crate) fn reached(&self, position: Position) {
        self.cursor.set(self.cursor.get().later(position));
    }

    /// Schedules a save of a socket and, from then on, periodic ones, if live sockets are saved.
    fn save_soon(self: &Rc<Self>, socket: &Rc<LocalSocket>) {
        let (Some(progress), Some(recoveries)) = (&socket.progress, socket.shared.namespace.recoveries()) else { return };
        let Some(refresh) = recoveries.history.refresh_interval() else { return };
        if progress.changed.replace(true) {
            return;
        }
        let mut changed = self.changed.borrow_mut();
        changed.push(Rc::clone(socket));
        if changed.len() == 1 {
            let this = Rc::clone(self);
            actix_rt::spawn(async move {
                // Changes of several sockets are saved together.
                tokio::time::sleep(SAVE_DELAY).await;
                this.save_changed();
            });
        }
        if !self.refreshing.replace(true) {
            let this = Rc::downgrade(self);
            actix_rt::spawn(async move {
                for turn in (0..REFRESH_TURNS).cycle() {
                    tokio::time::sleep(refresh / REFRESH_TURNS as u32).await;
                    let Some(this) = this.upgrade() else { break };
                    let due: Vec<_> = this
                        .sockets
                        .borrow()
                        .iter()
                        .filter(|(slot, _)| slot % REFRESH_TURNS == turn)
                        .map(|(_, socket)| Rc::clone(socket))
                        .collect();
                    due.iter().for_each(|socket| this.save_soon(socket));
                }
            });
        }
    }

    /// Saves the sockets that have changed since their last save.
    pub(crate) fn save_changed(&self) {
        for socket in self.changed.take() {
            let (Some(progress), Some(recoveries)) = (&socket.progress, socket.shared.namespace.recoveries()) else { continue };
            progress.changed.set(false);
            if socket.shared.is_connected() {
                recoveries.save_living(&socket.shared, progress, self.cursor());
            }
        }
    }

    /// Returns this thread's part of a namespace, if any of its sockets is here.
    pub(crate) fn known(&self, name: &ByteString) -> Option<Rc<LocalNamespace>> {
        self.namespaces.borrow().get(name).cloned()
    }

    /// Counts out a socket that has left a namespace's part or was refused.
    pub(super) fn on_left(&self, part: &Rc<LocalNamespace>) {
        part.sockets.set(part.sockets.get() - 1);
        let mut parts = self.namespaces.borrow_mut();
        if part.sockets.get() == 0 && parts.get(part.namespace.name()).is_some_and(|known| Rc::ptr_eq(known, part)) {
            parts.remove(part.namespace.name());
        }
    }

    /// Returns sockets of all namespaces, at most `count` and evenly spread over all.
    #[cfg(feature = "admin")]
    pub(crate) fn spread(&self, count: usize) -> Vec<Rc<LocalSocket>> {
        let sockets = self.sockets.borrow();
        let step = sockets.len().div_ceil(count.max(1)).max(1);
        sockets.iter().map(|(_, socket)| socket).filter(|socket| socket.shared.is_connected()).step_by(step).cloned().collect()
    }

    pub(super) fn sockets_of(&self, namespace: &Namespace) -> Vec<Rc<LocalSocket>> {
        let sockets = self.sockets.borrow();
        let mine = sockets.iter().map(|(_, socket)| socket);
        mine.filter(|socket| socket.namespace.namespace == *namespace && socket.shared.is_connected() && !socket.exited.get())
            .cloned()
            .collect()
    }
}

/// Returns a call for a worker that acts on the thread's state of the server.
pub(crate) fn on_thread(act: impl FnOnce(&Rc<ThreadState>) + Send + 'static) -> impl FnOnce(&Rc<Worker>) + Send + 'static {
    move |worker| {
        // An ending thread has no state any more.
        if let Some(thread) = worker.layer() {
            act(&thread);
        }
    }
}

/// Counts on this thread. Threads that are no workers share one set of counters.
pub(crate) fn count_on(engine: &Arc<EngineState>, counters: &AllCounters, count: Count) {
    match ThreadState::current(engine) {
        Some(thread) => thread.count(count),
        None => counters.elsewhere.increment(count),
    }
}

/// The time that a thread has to answer. A blocked thread is missing from the answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Queries every worker thread. Returns the answers that arrive within a second.
pub(crate) async fn ask_threads<T: Send + 'static>(
    engine: &Arc<EngineState>,
    look: impl Fn(&Rc<ThreadState>) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let look = Arc::new(look);
    let mut answers = vec![];
    for handle in engine.workers().iter() {
        let (sender, receiver) = oneshot::channel();
        let look = Arc::clone(&look);
        // A thread that has ended has no answer.
        if handle.call(0, on_thread(move |thread| drop(sender.send(look(thread))))).is_ok() {
            answers.push(receiver);
        }
    }
    let deadline = tokio::time::sleep(ANSWER_TIMEOUT);
    tokio::pin!(deadline);
    let mut answered = vec![];
    for mut answer in answers {
        tokio::select! {
            biased;
            answer = &mut answer => answered.extend(answer),
            () = &mut deadline => answered.extend(answer.try_recv()),
        }
    }
    answered
}
