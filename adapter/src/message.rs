//! Messages, questions and answers between nodes.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use sociable_protocol::{Args, Frames, Id, TraceContext, Value};

use crate::AdapterError;

/// The name of a room. Every socket is in the room named like its id.
pub type Room = ByteString;

/// Returns the socket whose own room this would be. Clients of Socket.IO 2 and before use ids of the form
/// `/namespace#id`.
///
/// ```
/// use sociable_adapter::own_room;
///
/// assert!(own_room("AbCdEfGhIjKlMnOpQrSt").is_some());
/// assert!(own_room("/chat#AbCdEfGhIjKlMnOpQrSt").is_some());
/// assert!(own_room("lobby").is_none());
/// ```
pub fn own_room(room: &str) -> Option<Id> {
    let id = if room.starts_with('/') { room.rsplit_once('#')?.1 } else { room };
    Id::try_from(id).ok()
}

/// Sockets of a namespace: those in any of `rooms`, or all without rooms, except those in any of `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The rooms.
    pub rooms: Vec<Room>,
    /// The rooms that are left out.
    pub except: Vec<Room>,
}

impl Target {
    /// Returns true if a socket is among them; `is_in` returns true for the rooms that it is in.
    ///
    /// ```
    /// use sociable_adapter::Target;
    ///
    /// let target = Target { rooms: vec!["red".into()], except: vec!["muted".into()] };
    /// assert!(target.includes(|room| room == "red"));
    /// assert!(!target.includes(|room| room == "red" || room == "muted"));
    /// ```
    pub fn includes(&self, is_in: impl Fn(&str) -> bool) -> bool {
        (self.rooms.is_empty() || self.rooms.iter().any(|room| is_in(room))) && !self.except.iter().any(|room| is_in(room))
    }

    /// Returns the socket's id if its own room is the only room. The node that made the id has this socket, or a node
    /// that adopted the id.
    pub fn socket(&self) -> Option<Id> {
        let [room] = &self.rooms[..] else { return None };
        own_room(room)
    }
}

/// An operation for every node.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The namespace.
    pub namespace: ByteString,
    /// The sockets. A server event has none.
    pub target: Target,
    /// The operation.
    pub operation: Operation,
    /// The span that sent it, if it is traced. An adapter may lose it, but not the message.
    pub trace: Option<Box<TraceContext>>,
}

/// An operation on sockets, or an event for the application.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Send a packet that was encoded before.
    Emit {
        /// The packet.
        frames: Frames,
        /// True if it is dropped where it can't be sent at once.
        volatile: bool,
        /// True if it may be compressed.
        compress: bool,
    },
    /// Join the sockets to rooms.
    Join(Vec<Room>),
    /// Have the sockets leave rooms.
    Leave(Vec<Room>),
    /// Disconnect the sockets; with `close` their connections too.
    Disconnect {
        /// Close the whole connection.
        close: bool,
    },
    /// Send an event to the application of the other nodes.
    ServerEvent {
        /// The name of the event.
        name: ByteString,
        /// The arguments.
        args: Args,
    },
}

impl Operation {
    /// Returns true for a join, a leave and a disconnect. Orders apply to recoverable sockets without a client too.
    pub fn is_order(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Leave(_) | Self::Disconnect { .. })
    }
}

/// A question to every node.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The namespace.
    pub namespace: ByteString,
    /// The question.
    pub ask: Ask,
    /// The span that asks, if it is traced.
    pub trace: Option<Box<TraceContext>>,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Send a packet that asks for an acknowledgement, and return the acknowledgements. The answers are
    /// [`Answer::Clients`], then an [`Answer::Ack`] or [`Answer::Gone`] for each client.
    Ack {
        /// The sockets.
        target: Target,
        /// The event.
        name: ByteString,
        /// The arguments. Each node has its own acknowledgement ids, so each encodes the packet itself.
        args: Args,
        /// True if it may be compressed.
        compress: bool,
    },
    /// Describe sockets: [`Answer::Sockets`].
    Sockets {
        /// The sockets.
        target: Target,
    },
    /// Send an event to the application, and pass its acknowledgement on: [`Answer::ServerAck`].
    ServerEvent {
        /// The name of the event.
        name: ByteString,
        /// The arguments.
        args: Args,
    },
}

/// An answer of one node.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// These sockets were sent the packet.
    Clients(Vec<Id>),
    /// A client has acknowledged it.
    Ack(Id, Args),
    /// A client has left and will not answer.
    Gone(Id),
    /// The sockets.
    Sockets(Vec<SocketInfo>),
    /// The application has acknowledged a server event.
    ServerAck(Args),
    /// Added by the adapter, first of all: the names of the nodes that were asked.
    Asked(Vec<ByteString>),
    /// Added by the adapter: this node has given its last answer, or has left the cluster.
    Done(ByteString),
    /// Added by the adapter: this node was lost before its last answer, or refused to answer. The node's clients
    /// without an answer are [`Gone`](Self::Gone).
    Lost(ByteString),
    /// Added by the adapter: the other nodes could not be asked, for this reason. Each of them is also
    /// [`Lost`](Self::Lost).
    Failed(AdapterError),
}

/// A socket of another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SocketInfo {
    /// The socket's id.
    pub id: Id,
    /// The socket's rooms, including that of its id.
    pub rooms: Vec<Room>,
    /// The data that the application attached.
    pub data: Value,
    /// The client's `auth`.
    pub auth: Value,
    /// Path and query of the request that opened its session.
    pub url: String,
    /// The address of the client, as the node sees it.
    pub address: String,
    /// The time when the session was opened, in milliseconds since the Unix epoch.
    pub issued: u64,
}
