//! The server's part of one worker thread: its sockets, and its part of each namespace.

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
use sociable_protocol::Args;
use sociable_protocol::Latency;
use sociable_protocol::maps::Map;
use tokio::sync::oneshot;

use crate::namespace::Namespace;
use crate::recovery::progress::RecoveryHandle;
use crate::socket_state::SocketState;
use crate::stats::{AllCounters, Count, Counters};
use crate::thread::namespace::LocalNamespace;
use crate::thread::socket::{Connected, LocalSocket};

/// How long a change of a socket waits for others before it is saved.
const GATHER: Duration = Duration::from_millis(20);
/// In so many turns all sockets are saved anew.
const TURNS: usize = 16;

/// All that this thread has of one server.
pub(crate) struct ThreadState {
    pub(crate) worker: Rc<Worker>,
    pub(crate) counters: Arc<Counters>,
    /// How long clients took to acknowledge.
    pub(crate) acks: Latency,
    sockets: RefCell<Slab<Rc<LocalSocket>>>,
    namespaces: RefCell<Map<ByteString, Rc<LocalNamespace>>>,
    /// How far this thread has got with the events of the history.
    cursor: Cell<Position>,
    /// Sockets that have changed since they were saved, where they are saved while they live.
    changed: RefCell<Vec<Rc<LocalSocket>>>,
    /// They are saved anew now and then.
    refreshing: Cell<bool>,
}

impl fmt::Debug for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadState").field("worker", &self.worker.index()).finish_non_exhaustive()
    }
}

impl ThreadState {
    /// Returns what the server has on a new worker thread.
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

    /// Returns this thread's part of the server, if the thread is one of its workers.
    #[inline]
    pub(crate) fn current(engine: &Arc<EngineState>) -> Option<Rc<Self>> {
        Worker::layer_here(engine)
    }

    /// Counts one.
    #[inline]
    pub(crate) fn count(&self, count: Count) {
        self.counters.increment(count);
    }

    /// The socket behind a handle, unless it has left.
    #[inline]
    pub(crate) fn socket(&self, shared: &Arc<SocketState>) -> Option<Rc<LocalSocket>> {
        self.sockets.borrow().get(shared.slot as usize).filter(|socket| Arc::ptr_eq(&socket.shared, shared)).cloned()
    }

    /// Makes a socket that is not connected yet: a new one, or the one that comes back.
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
        // An old client knows its socket by the id of the session.
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

    /// This thread's part of a namespace.
    pub(crate) fn namespace(self: &Rc<Self>, namespace: &Namespace) -> Rc<LocalNamespace> {
        if let Some(known) = self.namespaces.borrow().get(namespace.name()) {
            return Rc::clone(known);
        }
        let part = Rc::new(LocalNamespace::new(namespace.clone(), self));
        self.namespaces.borrow_mut().insert(namespace.name().clone(), Rc::clone(&part));
        part
    }

    /// Delivers an entry of the history. Each thread gets those that are for it in their order.
    pub(crate) fn deliver(&self, entry: &Entry) {
        let before = self.cursor.replace(entry.reached);
        if let Some(part) = self.known(&entry.namespace) {
            match &entry.order {
                None => part.fan_out_persisted(entry, before),
                Some(operation) => part.obey(entry, operation),
            }
        }
    }

    /// Lists the namespaces that have sockets here.
    pub(crate) fn namespaces(&self) -> Vec<Rc<LocalNamespace>> {
        self.namespaces.borrow().values().cloned().collect()
    }

    /// How far this thread has got with the events of the history.
    pub(crate) fn cursor(&self) -> Position {
        self.cursor.get()
    }

    /// There was nothing for this thread up to here.
    pub(crate) fn reached(&self, position: Position) {
        self.cursor.set(self.cursor.get().later(position));
    }

    /// Saves a socket soon, and now and then from then on, if sockets are saved while they live.
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
                // What changes together is saved once.
                tokio::time::sleep(GATHER).await;
                this.save_changed();
            });
        }
        if !self.refreshing.replace(true) {
            let this = Rc::downgrade(self);
            actix_rt::spawn(async move {
                for turn in (0..TURNS).cycle() {
                    tokio::time::sleep(refresh / TURNS as u32).await;
                    let Some(this) = this.upgrade() else { break };
                    let due: Vec<_> = this
                        .sockets
                        .borrow()
                        .iter()
                        .filter(|(slot, _)| slot % TURNS == turn)
                        .map(|(_, socket)| Rc::clone(socket))
                        .collect();
                    due.iter().for_each(|socket| this.save_soon(socket));
                }
            });
        }
    }

    /// Saves the sockets that have changed since they were saved.
    pub(crate) fn save_changed(&self) {
        for socket in self.changed.take() {
            let (Some(progress), Some(recoveries)) = (&socket.progress, socket.shared.namespace.recoveries()) else { continue };
            progress.changed.set(false);
            if socket.shared.is_connected() {
                recoveries.save_living(&socket.shared, progress, self.cursor());
            }
        }
    }

    /// This thread's part of a namespace, if any socket of it is here.
    pub(crate) fn known(&self, name: &ByteString) -> Option<Rc<LocalNamespace>> {
        self.namespaces.borrow().get(name).cloned()
    }

    /// A socket has left a namespace's part, or has not got into it.
    pub(super) fn on_left(&self, part: &Rc<LocalNamespace>) {
        part.sockets.set(part.sockets.get() - 1);
        let mut parts = self.namespaces.borrow_mut();
        if part.sockets.get() == 0 && parts.get(part.namespace.name()).is_some_and(|known| Rc::ptr_eq(known, part)) {
            parts.remove(part.namespace.name());
        }
    }

    pub(super) fn sockets_of(&self, namespace: &Namespace) -> Vec<Rc<LocalSocket>> {
        let sockets = self.sockets.borrow();
        let mine = sockets.iter().map(|(_, socket)| socket);
        mine.filter(|socket| socket.namespace.namespace == *namespace && socket.shared.is_connected() && !socket.exited.get())
            .cloned()
            .collect()
    }
}

/// Returns a call for a worker that does something with the server's part of its thread.
pub(crate) fn on_thread(act: impl FnOnce(&Rc<ThreadState>) + Send + 'static) -> impl FnOnce(&Rc<Worker>) + Send + 'static {
    move |worker| {
        // A thread that is ending has none any more.
        if let Some(thread) = worker.layer() {
            act(&thread);
        }
    }
}

/// Counts on this thread; on those that are no workers, for all of them together.
pub(crate) fn count_on(engine: &Arc<EngineState>, counters: &AllCounters, count: Count) {
    match ThreadState::current(engine) {
        Some(thread) => thread.count(count),
        None => counters.elsewhere.increment(count),
    }
}

/// How long a thread has to answer. One that is blocked is told of by its absence.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks every worker thread something. Returns the answers that come within a second.
pub(crate) async fn ask_threads<T: Send + 'static>(
    engine: &Arc<EngineState>,
    look: impl Fn(&Rc<ThreadState>) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let look = Arc::new(look);
    let mut answers = vec![];
    for handle in engine.workers().iter() {
        let (tell, told) = oneshot::channel();
        let look = Arc::clone(&look);
        // A thread that has ended has nothing to say.
        if handle.call(0, on_thread(move |thread| drop(tell.send(look(thread))))).is_ok() {
            answers.push(told);
        }
    }
    let deadline = tokio::time::sleep(PATIENCE);
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
