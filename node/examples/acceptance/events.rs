//! The events that every namespace has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use sociable::{Ack, Args, Data, DisconnectReason, EventName, Failure, RawArgs, Socket, SocketError, Value};

use crate::log::{Disconnect, Logs};

/// The names that the catch-all listeners of a socket have caught.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Names>>);

#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Names {
    incoming: Vec<String>,
    outgoing: Vec<String>,
}

impl Seen {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> Names {
        self.names().clone()
    }
}

/// A room or several, as a client names them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rooms {
    One(String),
    Many(Vec<String>),
}

pub(crate) fn install(socket: &Socket, logs: &Logs) -> Seen {
    let seen = Seen::default();
    catch_all(socket, &seen);
    log_life(socket, logs);

    socket.middleware(async |EventName(name): EventName| match &*name {
        "blocked" => Err(Failure::new("event blocked")),
        _ => Ok(()),
    });
    socket.on_error(|socket, error| {
        if let SocketError::Refused { message, .. } = error {
            socket.emit("error-seen", message).ok();
        }
    });

    socket.on("message", async |socket: Socket, args: RawArgs| {
        socket.emit("message-back", args).ok();
    });
    socket.on("message-with-ack", async |args: RawArgs, ack: Ack| {
        ack.send(args).ok();
    });
    socket.on("echo", async |socket: Socket, args: RawArgs, ack: Option<Ack>| {
        match ack {
            Some(ack) => ack.send(args).ok(),
            None => socket.emit("echo", args).ok(),
        };
    });
    socket.on("join", async |socket: Socket, Data(rooms): Data<Rooms>, ack: Ack| {
        match rooms {
            Rooms::One(room) => socket.join(room),
            Rooms::Many(rooms) => socket.join(rooms),
        }
        ack.send(()).ok();
    });
    socket.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room);
        ack.send(()).ok();
    });
    socket.on("broadcast", async |socket: Socket, args: RawArgs| {
        if let (Ok(room), Some(payload)) = (args.decode::<String>(0), args.get(1)) {
            socket.namespace().to(room).emit("msg", payload).ok();
        }
    });
    socket.on("ask-me", async |socket: Socket, Args((ms,)): Args<(u64,)>| {
        let answer = socket.timeout(Duration::from_millis(ms)).emit_with_ack("question", "ready?").await;
        match answer {
            Ok(args) => socket.emit("answer", args.decode::<Value>(0).unwrap_or_default()).ok(),
            Err(_) => socket.emit("answer-timeout", ()).ok(),
        };
    });
    socket.on("crash", async || -> () { panic!("crash") });
    seen
}

fn catch_all(socket: &Socket, seen: &Seen) {
    let incoming = seen.clone();
    socket.on_any(move |event| {
        if event.name != "op" {
            incoming.names().incoming.push(event.name.to_string());
        }
    });
    let outgoing = seen.clone();
    socket.on_any_outgoing(move |event| outgoing.names().outgoing.push(event.name.to_string()));
}

fn log_life(socket: &Socket, logs: &Logs) {
    let log = logs.of(socket.namespace());
    log.entries().connections += 1;
    let rooms = Arc::new(Mutex::new(vec![]));
    let last_rooms = Arc::clone(&rooms);
    socket.on_disconnecting(move |socket: Socket| {
        let mut rooms: Vec<_> = socket.rooms().iter().map(ToString::to_string).collect();
        rooms.sort();
        *last_rooms.lock().unwrap_or_else(PoisonError::into_inner) = rooms;
        std::future::ready(())
    });
    socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
        let rooms = std::mem::take(&mut *rooms.lock().unwrap_or_else(PoisonError::into_inner));
        log.entries().disconnects.push(Disconnect { id: socket.id(), reason: reason.as_str(), rooms });
        std::future::ready(())
    });
}
