//! The sockets of this node that the admin UI sees: a sample with a bound.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytestring::ByteString;
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use sociable_engine::Transport;
use sociable_protocol::Id;
use sociable_protocol::maps::Map;

use super::hooks::{Hooks, Observer};
use super::options::AdminOptions;
use super::records::{Records, now};
use super::serialized::{SerializedSocket, data, fingerprint};
use crate::handler::registry::{RoomEvent, RoomListener};
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::server::Server;
use crate::socket::Socket;
use crate::thread::socket::LocalSocket;
use crate::thread::{ThreadState, ask_threads, on_thread};

/// Most namespaces that are watched.
const MAX_NAMESPACES: usize = 1000;

/// The length of the start of a session id that names the client.
const CLIENT_ID: usize = 12;

/// A socket of a namespace. Sockets of old clients have one id in all namespaces.
type Key = (ByteString, Id);

pub(super) struct Sample {
    /// The namespace of the admin UI. The events of its own sockets are not reported.
    admin: ByteString,
    max: usize,
    records: Records,
    /// True while the sample is watched.
    is_on: AtomicBool,
    /// Held while the watch begins or ends.
    switching: tokio::sync::Mutex<()>,
    shown: RwLock<Map<Key, Shown>>,
    /// The listener for the rooms of each namespace.
    watched: Mutex<Map<ByteString, RoomListener>>,
    hooks: Arc<Hooks>,
}

/// A socket of the sample, and its state that was reported last.
struct Shown {
    socket: Socket,
    client_id: String,
    transport: Transport,
    data: u64,
}

impl Sample {
    pub(super) fn new(options: &AdminOptions, records: Records) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            admin: options.namespace.as_str().into(),
            max: options.sockets,
            records,
            is_on: AtomicBool::new(false),
            switching: tokio::sync::Mutex::default(),
            shown: RwLock::default(),
            watched: Mutex::default(),
            hooks: Arc::new(Hooks::new(this.clone())),
        })
    }

    /// Begins to watch, if this is not so yet.
    pub(super) async fn begin(self: &Arc<Self>, io: &Server) {
        let _switching = self.switching.lock().await;
        if self.is_on.swap(true, Ordering::AcqRel) {
            return;
        }
        io.namespaces().iter().for_each(|namespace| self.watch(namespace));
        self.fill(io).await;
    }

    /// Ends the watch. No listener remains.
    pub(super) async fn end(&self, io: Option<&Server>) {
        let _switching = self.switching.lock().await;
        self.is_on.store(false, Ordering::Release);
        for (name, rooms) in self.watched.lock().drain() {
            if let Some(namespace) = io.and_then(|io| io.namespace(&name)) {
                self.hooks.remove_from(&namespace, &rooms);
            }
        }
        let shown: Vec<_> = self.shown.write().drain().map(|(_, shown)| shown.socket).collect();
        for socket in shown {
            let hooks = Arc::clone(&self.hooks);
            socket.configure(move |own| hooks.remove_own(own));
        }
        self.records.take();
    }

    /// Watches a namespace, if the sample is watched.
    pub(super) fn watch(&self, namespace: &Namespace) {
        let mut watched = self.watched.lock();
        if self.is_on.load(Ordering::Acquire) && watched.len() < MAX_NAMESPACES && !self.hooks.are_in(namespace) {
            let rooms = self.hooks.add_to(namespace);
            watched.insert(namespace.name().clone(), rooms);
        }
    }

    /// Forgets namespaces that are gone, and marks the sample as stale if it has become small.
    pub(super) fn tidy(&self, io: &Server) {
        let namespaces = io.namespaces();
        let mut watched = self.watched.lock();
        if watched.len() > namespaces.len() {
            watched.retain(|name, _| io.namespace(name).is_some());
        }
        let shown = self.shown.read().len();
        if shown < self.max / 2 && namespaces.iter().map(Namespace::socket_count).sum::<usize>() > shown * 2 {
            self.records.mark_stale();
        }
    }

    /// Adds sockets of all threads, up to the bound.
    async fn fill(self: &Arc<Self>, io: &Server) {
        let engine = io.inner.engine();
        let share = self.max.div_ceil(engine.workers().len().max(1));
        let this = Arc::clone(self);
        ask_threads(engine, move |thread| thread.spread(share).iter().for_each(|socket| this.show(socket, false))).await;
    }

    /// Adds a socket, if there is room for it. A `reported` one spends the budget of changes.
    fn show(&self, local: &Rc<LocalSocket>, reported: bool) {
        let socket = local.socket();
        let key = (socket.namespace().name().clone(), socket.id());
        let has_room = {
            let shown = self.shown.read();
            shown.len() < self.max && !shown.contains_key(&key)
        };
        if !has_room || !socket.is_connected() || reported && !self.records.spend_change() {
            return;
        }
        let client_id = local.session.id().as_str()[..CLIENT_ID].to_owned();
        let shown = Shown { client_id, transport: local.session.transport(), data: fingerprint(&data(&socket)), socket };
        let serialized = reported.then(|| serde_json::to_value(shown.serialized()).unwrap_or_default());
        let events = key.0 != self.admin;
        {
            let mut all = self.shown.write();
            // Under the lock, so that the end of the watch removes what was added before.
            if !self.is_on.load(Ordering::Acquire) || all.len() >= self.max || all.insert(key, shown).is_some() {
                return;
            }
        }
        local.configure(|own| self.hooks.add_own(own, events));
        if let Some(serialized) = serialized {
            self.records.add("socket_connected", &(serialized, now()));
        }
    }

    /// Reports changed transports and data. Nothing notifies of them, so all sockets of the sample are compared.
    pub(super) fn compare(self: &Arc<Self>, io: &Server) {
        for worker in io.inner.engine().workers().iter() {
            let this = Arc::clone(self);
            // An ended thread has no sockets.
            let _ = worker.call(0, on_thread(move |thread| this.compare_on(thread)));
        }
    }

    fn compare_on(&self, thread: &Rc<ThreadState>) {
        let index = thread.worker.index();
        let mine: Vec<_> = {
            let shown = self.shown.read();
            let mine = shown.values().filter(|shown| shown.socket.0.worker() == index);
            mine.map(|shown| (shown.socket.clone(), shown.transport, shown.data)).collect()
        };
        for (socket, last, last_data) in mine {
            let Some(local) = thread.socket(&socket.0) else { continue };
            let (transport, data) = (local.session.transport(), data(&socket));
            let mark = fingerprint(&data);
            if (transport, mark) == (last, last_data) || !self.records.spend_change() {
                continue;
            }
            let key = (socket.namespace().name().clone(), socket.id());
            if let Some(shown) = self.shown.write().get_mut(&key) {
                (shown.transport, shown.data) = (transport, mark);
            }
            let update = json!({ "id": key.1.as_str(), "nsp": &*key.0, "transport": transport.as_str(), "data": data });
            self.records.add("socket_updated", &[update]);
        }
    }

    /// Returns the sockets of the sample as JSON, up to a number of bytes.
    pub(super) async fn serialized(self: &Arc<Self>, io: &Server, bytes: usize) -> Vec<String> {
        self.begin(io).await;
        self.fill(io).await;
        let this = Arc::clone(self);
        // Not on this thread, which serves clients.
        tokio::task::spawn_blocking(move || this.texts(bytes)).await.unwrap_or_default()
    }

    fn texts(&self, bytes: usize) -> Vec<String> {
        let mut left = bytes;
        let fits = |text: &String| {
            left = left.saturating_sub(text.len() + 1);
            left > 0
        };
        let shown = self.shown.read();
        shown.values().filter_map(|shown| serde_json::to_string(&shown.serialized()).ok()).take_while(fits).collect()
    }
}

impl Observer for Sample {
    fn connected(&self, socket: &Rc<LocalSocket>) {
        self.show(socket, true);
    }

    fn left(&self, socket: &Socket, reason: DisconnectReason) {
        let key = (socket.namespace().name().clone(), socket.id());
        if self.shown.write().remove(&key).is_some() {
            self.records.add("socket_disconnected", &(&*key.0, key.1.as_str(), reason.as_str(), now()));
        }
    }

    fn room_changed(&self, namespace: &ByteString, event: &RoomEvent) {
        let (name, room, id) = match event {
            RoomEvent::Join(room, id) => ("room_joined", room, id),
            RoomEvent::Leave(room, id) => ("room_left", room, id),
            RoomEvent::Create(_) | RoomEvent::Delete(_) => return,
        };
        if !self.shown.read().contains_key(&(namespace.clone(), *id)) {
            return;
        }
        if self.records.spend_change() {
            self.records.add(name, &(&**namespace, &**room, id.as_str(), now()));
        } else {
            self.records.mark_stale();
        }
    }

    fn records(&self) -> &Records {
        &self.records
    }
}

impl Shown {
    fn serialized(&self) -> SerializedSocket<'_> {
        SerializedSocket::new(&self.socket, &self.client_id, self.transport)
    }
}
