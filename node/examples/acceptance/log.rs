//! The log of each namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sociable::{Ack, Args, Id, Namespace, RawArgs, RoomEvent, State, Value};

use crate::NodeName;

/// The logs by the names of the namespaces.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<HashMap<String, Arc<Log>>>);

/// The log of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Entries>);

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entries {
    pub(crate) notes: Vec<Value>,
    pub(crate) adapter_events: Vec<Vec<String>>,
    pub(crate) disconnects: Vec<Disconnect>,
    pub(crate) connections: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Disconnect {
    pub(crate) id: Id,
    pub(crate) reason: &'static str,
    pub(crate) rooms: Vec<String>,
}

impl Logs {
    pub(crate) fn of(&self, namespace: &Namespace) -> Arc<Log> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(logs.entry(namespace.name().to_string()).or_default())
    }
}

impl Log {
    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs the changes of a namespace's rooms, and the events of other servers.
pub(crate) fn watch(namespace: &Namespace) {
    let Some(logs) = namespace.server().and_then(|server| server.state::<Logs>()) else { return };
    let log = logs.of(namespace);
    namespace.on_room_event(move |event| {
        let entry = match event {
            RoomEvent::Create(room) => vec!["create-room".into(), room.to_string()],
            RoomEvent::Join(room, id) => vec!["join-room".into(), room.to_string(), id.to_string()],
            RoomEvent::Leave(room, id) => vec!["leave-room".into(), room.to_string(), id.to_string()],
            RoomEvent::Delete(room) => vec!["delete-room".into(), room.to_string()],
            _ => return,
        };
        log.entries().adapter_events.push(entry);
    });
    namespace.on_server_event("note", async |args: RawArgs, namespace: Namespace, logs: State<Logs>| {
        if let Ok(note) = args.decode_all() {
            logs.of(&namespace).entries().notes.push(Value::Array(note));
        }
    });
    namespace.on_server_event("whoami", async |ack: Ack, name: State<NodeName>| {
        ack.send(&name.0.0).ok();
    });
    namespace.on_server_event("sleep", async |Args((ms,)): Args<(u64,)>, ack: Ack, name: State<NodeName>| {
        tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
        ack.send(&name.0.0).ok();
    });
}
