//! The state of a socket that all threads share.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use sociable_adapter::{Room, SocketInfo, own_room};
use sociable_engine::Handshake;
use sociable_protocol::maps::ByType;
use sociable_protocol::{Args, Id, Value};

use crate::joined_rooms::JoinedRooms;
use crate::namespace::Namespace;
use crate::recovery::progress::RecoveryHandle;

/// The values that an application attached to a socket, one of each type.
type Attached = ByType<Arc<dyn Any + Send + Sync>>;

/// The stage of a socket's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Middleware is deciding.
    Connecting,
    Connected,
    /// Leaving, and still in its rooms.
    Disconnecting,
    Disconnected,
}

/// The state of a socket that all threads share.
pub(crate) struct SocketState {
    pub(crate) id: Id,
    pub(crate) namespace: Namespace,
    worker: usize,
    /// The index among the sockets of its thread.
    pub(crate) slot: u32,
    handshake: Handshake,
    auth: Args,
    /// The state of recovery, if recovery is on.
    pub(crate) recovery: Option<Box<RecoveryHandle>>,
    /// True for clients of Socket.IO 2 or before.
    pub(crate) old: bool,
    stage: AtomicU8,
    /// True if the socket has left the room of its id. Written on its own thread only.
    left_own_room: AtomicBool,
    /// Rarely used state.
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    /// The joined rooms, without that of its id. While it is connecting: the rooms to join. Written on its own thread only.
    rooms: JoinedRooms,
    data: Option<Box<Value>>,
    /// The values that the application attached, one of each type.
    attached: Option<Box<Attached>>,
}

impl fmt::Debug for SocketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).field("namespace", self.namespace.name()).finish_non_exhaustive()
    }
}

impl SocketState {
    /// Returns the client's `auth` payload.
    pub(crate) fn auth(&self) -> &Args {
        &self.auth
    }

    /// Returns the index of its worker.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// Returns the request that opened the session.
    pub(crate) fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// Attaches data.
    pub(crate) fn set_data(&self, data: Value) {
        self.rest.lock().data = Some(Box::new(data));
    }

    /// Returns the attached data.
    pub(crate) fn data(&self) -> Option<Value> {
        self.rest.lock().data.as_deref().cloned()
    }

    /// Attaches a value. Returns the one of its type from before.
    pub(crate) fn attach<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        let before = self.rest.lock().attached.get_or_insert_default().insert(TypeId::of::<T>(), Arc::new(value));
        before.and_then(|before| before.downcast().ok())
    }

    /// Returns the attached value of a type.
    pub(crate) fn attached<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = self.rest.lock().attached.as_ref()?.get(&TypeId::of::<T>()).cloned();
        value.and_then(|value| value.downcast().ok())
    }

    /// Removes the attached value of a type.
    pub(crate) fn detach<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let mut rest = self.rest.lock();
        let attached = rest.attached.as_mut()?;
        let value = attached.remove(&TypeId::of::<T>());
        if attached.is_empty() {
            rest.attached = None;
        }
        drop(rest);
        value.and_then(|value| value.downcast().ok())
    }

    /// Returns the joined rooms, without that of its id.
    pub(crate) fn rooms(&self) -> Vec<Room> {
        self.rest.lock().rooms.iter().cloned().collect()
    }

    pub(crate) fn new(id: Id, namespace: Namespace, worker: usize, slot: u32, handshake: Handshake, auth: Args) -> Self {
        let stage = AtomicU8::new(Stage::Connecting as u8);
        Self {
            id,
            namespace,
            worker,
            slot,
            handshake,
            auth,
            recovery: None,
            old: false,
            stage,
            left_own_room: AtomicBool::new(false),
            rest: Mutex::default(),
        }
    }

    /// Returns the socket with a state of recovery, and with its data from before if it returned.
    pub(crate) fn with_recovery(self, recovery: RecoveryHandle, data: Option<Value>) -> Self {
        let rest = Mutex::new(Rest { data: data.map(Box::new), ..Rest::default() });
        Self { recovery: Some(Box::new(recovery)), rest, ..self }
    }

    /// Returns the socket, marked as one of a client of Socket.IO 2 or before.
    pub(crate) fn of_old_client(self, old: bool) -> Self {
        Self { old, ..self }
    }

    /// Advances from one stage to the next. False if the socket is not at the first.
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

    /// Returns true while the socket is connected or leaving.
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

    /// Returns whether it has joined a room, other than that of its id.
    pub(crate) fn is_in(&self, room: &Room) -> bool {
        self.rest.lock().rooms.contains(room)
    }

    /// Returns whether a room is that of the socket's id.
    pub(crate) fn is_own_room(&self, room: &str) -> bool {
        room == self.id.as_str() || self.old && own_room(room) == Some(self.id)
    }

    /// Returns whether the socket has left the room of its id.
    #[inline]
    pub(crate) fn has_left_own_room(&self) -> bool {
        self.left_own_room.load(Ordering::Acquire)
    }

    /// Notes whether the socket has left the room of its id. Returns false if it was so before.
    pub(crate) fn set_left_own_room(&self, left: bool) -> bool {
        self.left_own_room.swap(left, Ordering::AcqRel) != left
    }

    /// Adds rooms that the socket joins once it is connected.
    pub(crate) fn choose_rooms(&self, rooms: impl IntoIterator<Item = Room>) {
        let mut rest = self.rest.lock();
        for room in rooms {
            if !self.is_own_room(&room) && !rest.rooms.contains(&room) {
                rest.rooms.add(room);
            }
        }
    }

    pub(crate) fn take_rooms(&self) -> Vec<Room> {
        self.rest.lock().rooms.drain()
    }

    /// Returns the joined rooms, without that of its id, and the data.
    pub(crate) fn joined_and_data(&self) -> (Vec<Room>, Option<Value>) {
        let rest = self.rest.lock();
        (rest.rooms.iter().cloned().collect(), rest.data.as_deref().cloned())
    }

    /// Returns the information for other nodes.
    pub(crate) fn info(&self) -> SocketInfo {
        let rest = self.rest.lock();
        let own = (!self.has_left_own_room()).then(|| self.id.as_str().into());
        let rooms = rest.rooms.iter().cloned().chain(own).collect();
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
