//! What all threads see of a socket.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use sociable_adapter::{Room, SocketInfo};
use sociable_engine::Handshake;
use sociable_protocol::{Args, Id, Value};

use crate::joined_rooms::JoinedRooms;
use crate::namespace::Namespace;
use crate::recovery::progress::RecoveryHandle;

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Middleware is asked.
    Connecting,
    Connected,
    /// On its way out, and still in its rooms.
    Disconnecting,
    Disconnected,
}

/// What all threads see of a socket.
pub(crate) struct SocketState {
    pub(crate) id: Id,
    pub(crate) namespace: Namespace,
    worker: usize,
    /// Its place among the sockets of its thread.
    pub(crate) slot: u32,
    handshake: Handshake,
    auth: Args,
    /// It may come back, if recovery is on.
    pub(crate) recovery: Option<Box<RecoveryHandle>>,
    /// The client is one of Socket.IO 2 or before.
    pub(crate) old: bool,
    stage: AtomicU8,
    /// What is seldom there.
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    /// The rooms that it has joined, without that of its id. Before it is connected: those that it will join then. Written on its thread alone.
    rooms: JoinedRooms,
    data: Option<Box<Value>>,
}

impl fmt::Debug for SocketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).field("namespace", self.namespace.name()).finish_non_exhaustive()
    }
}

impl SocketState {
    /// What the client sent to be let in.
    pub(crate) fn auth(&self) -> &Args {
        &self.auth
    }

    /// The index of the worker of its thread.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// The request that opened the session.
    pub(crate) fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// Attaches data.
    pub(crate) fn set_data(&self, data: Value) {
        self.rest.lock().data = Some(Box::new(data));
    }

    /// The data that was attached.
    pub(crate) fn data(&self) -> Option<Value> {
        self.rest.lock().data.as_deref().cloned()
    }

    /// The rooms that it has joined, that of its id not among them.
    pub(crate) fn rooms(&self) -> Vec<Room> {
        self.rest.lock().rooms.iter().cloned().collect()
    }

    pub(crate) fn new(id: Id, namespace: Namespace, worker: usize, slot: u32, handshake: Handshake, auth: Args) -> Self {
        let stage = AtomicU8::new(Stage::Connecting as u8);
        Self { id, namespace, worker, slot, handshake, auth, recovery: None, old: false, stage, rest: Mutex::default() }
    }

    /// The socket may come back; if it has done so, with its data of before.
    pub(crate) fn with_recovery(self, recovery: RecoveryHandle, data: Option<Value>) -> Self {
        let rest = Mutex::new(Rest { rooms: JoinedRooms::default(), data: data.map(Box::new) });
        Self { recovery: Some(Box::new(recovery)), rest, ..self }
    }

    /// The client is one of Socket.IO 2 or before.
    pub(crate) fn of_old_client(self, old: bool) -> Self {
        Self { old, ..self }
    }

    /// Goes from one stage to the next. False if it is not at the first.
    pub(crate) fn advance(&self, from: Stage, to: Stage) -> bool {
        self.stage.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Connecting,
            1 => Stage::Connected,
            2 => Stage::Disconnecting,
            _ => Stage::Disconnected,
        }
    }

    /// True until it has left: while it is leaving too.
    #[inline]
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.stage(), Stage::Connected | Stage::Disconnecting)
    }

    pub(crate) fn has_been_let_in(&self) -> bool {
        self.stage() != Stage::Connecting
    }

    pub(crate) fn add_room(&self, room: Room) {
        self.rest.lock().rooms.add(room);
    }

    pub(crate) fn drop_room(&self, room: &Room) {
        self.rest.lock().rooms.remove(room);
    }

    /// True if it has joined a room, other than that of its id.
    pub(crate) fn is_in(&self, room: &Room) -> bool {
        self.rest.lock().rooms.contains(room)
    }

    /// Notes rooms that the socket joins when it is connected.
    pub(crate) fn choose_rooms(&self, rooms: impl IntoIterator<Item = Room>) {
        let mut rest = self.rest.lock();
        for room in rooms {
            if *room != *self.id.as_str() && !rest.rooms.contains(&room) {
                rest.rooms.add(room);
            }
        }
    }

    pub(crate) fn take_rooms(&self) -> Vec<Room> {
        self.rest.lock().rooms.drain()
    }

    /// The rooms that it has joined, that of its id not among them, and its data.
    pub(crate) fn joined_and_data(&self) -> (Vec<Room>, Option<Value>) {
        let rest = self.rest.lock();
        (rest.rooms.iter().cloned().collect(), rest.data.as_deref().cloned())
    }

    /// What other nodes are told of it.
    pub(crate) fn info(&self) -> SocketInfo {
        let rest = self.rest.lock();
        let rooms = rest.rooms.iter().cloned().chain([self.id.as_str().into()]).collect();
        SocketInfo {
            id: self.id,
            rooms,
            data: rest.data.as_deref().cloned().unwrap_or_else(|| Value::Object(vec![])),
            auth: self.auth.decode(0).unwrap_or_default(),
            url: self.handshake.url().to_owned(),
            address: self.handshake.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default(),
            issued: self.handshake.issued(),
        }
    }
}
