//! Socket.IO on one node: namespaces, events, acknowledgements, rooms, and how sockets end.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

mod acks;
mod argument_errors;
mod before_connected;
mod deflate;
mod ends;
mod events;
mod handles;
mod metrics;
mod namespaces;
mod once;
mod other_clients;
mod outbox;
mod own_room;
mod reentrancy;
mod regressions;
mod rooms;
mod sessions;
mod supervision;
mod test_client;

use serde_json::json;
use sociable::handler::EventContext;
use sociable::{
    Ack, AckError, Args, Auth, CloseReason, Data, DisconnectReason, EventName, Failure, Handshake, Namespace, RawArgs, Server,
    ServerBuilder, Socket, SocketError, State,
};
use sociable_tests::{Client, Kind, Node, ack, attachment, connect, connect_error, disconnect, event, eventually, note, patience, within};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Semaphore;

fn start(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Node) {
    let io = options(Server::builder()).build().unwrap();
    let node = Node::start(&io);
    (io, node)
}

/// Answers the event `echo` with what came.
fn echoes(io: &Server) {
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
}

/// Notes the ends of all sockets, in the form `event reason rooms connected`.
fn note_ends(namespace: &Namespace) -> std::sync::Arc<std::sync::Mutex<Vec<String>>> {
    let (ends, end) = note();
    let leaving = end.clone();
    namespace.on_disconnecting(move |socket: Socket, reason: DisconnectReason| {
        ready(leaving(format!("disconnecting {reason} {} {}", socket.rooms().len(), socket.is_connected())))
    });
    namespace.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
        ready(end(format!("disconnect {reason} {} {}", socket.rooms().len(), socket.is_connected())))
    });
    ends
}
