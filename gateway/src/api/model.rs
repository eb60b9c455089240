//! Requests and responses of the operations.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::format::Object;
use super::idempotency::Reach;
use super::peers::NodeInfo;
use crate::emit::EmitEvent;
use crate::json::Json;

/// The namespace of requests that name none.
pub(crate) fn main_namespace() -> String {
    "/".into()
}

/// The deadline for acknowledgements of requests that name none, in milliseconds.
pub(crate) const DEFAULT_TIMEOUT_MS: u64 = 5000;
/// The most sockets or rooms in the answer to requests that name no limit.
pub(crate) const DEFAULT_LIMIT: usize = 1000;

/// Reads a list of objects.
fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// Reads a whole number. JSON has one kind of numbers, so `13.0` is one too.
fn whole_number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    /// The numbers below have no fraction that a float could lose.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
            let is_whole = number.fract() == 0.0 && (0.0..EXACT).contains(&number);
            if is_whole { Ok(number as u64) } else { Err(E::invalid_value(Unexpected::Float(number), &self)) }
        }
    }
    let number = deserializer.deserialize_any(Whole)?;
    T::try_from(number).map(Some).map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(number), &Whole))
}

/// The request of `emit`: an event for sockets.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Emit {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The rooms whose sockets get the event. A socket id is a room too. All sockets of the namespace if it is empty.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// The rooms whose sockets do not get the event.
    #[serde(default)]
    pub except: Vec<String>,
    /// The name of the event.
    pub event: String,
    /// The arguments of the event. A binary value is `{"$binary":"<Base64>"}`.
    #[serde(default)]
    pub args: Vec<Json>,
    /// Whether the event is dropped for clients that cannot get it at once.
    #[serde(default)]
    pub volatile: bool,
    /// Whether the answer waits until the event is persisted. The cluster needs JetStream for that.
    #[serde(default)]
    pub durable: bool,
}

/// The request of `emit-with-ack`: an event for sockets that acknowledge it.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmitWithAck {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The rooms whose sockets get the event. A socket id is a room too. All sockets of the namespace if it is empty.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// The rooms whose sockets do not get the event.
    #[serde(default)]
    pub except: Vec<String>,
    /// The name of the event.
    pub event: String,
    /// The arguments of the event. A binary value is `{"$binary":"<Base64>"}`.
    #[serde(default)]
    pub args: Vec<Json>,
    /// The deadline for the acknowledgements, in milliseconds. 5000 by default, or the limit if that is shorter.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(value_type = u64, minimum = 1)]
    pub timeout_ms: Option<u64>,
}

/// The request of `join`: sockets join rooms.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The rooms of the sockets. A socket id is a room too. All sockets of the namespace if it is empty.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// The rooms whose sockets are left out.
    #[serde(default)]
    pub except: Vec<String>,
    /// The rooms to join.
    pub join: Vec<String>,
}

/// The request of `leave`: sockets leave rooms.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The rooms of the sockets. A socket id is a room too. All sockets of the namespace if it is empty.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// The rooms whose sockets are left out.
    #[serde(default)]
    pub except: Vec<String>,
    /// The rooms to leave.
    pub leave: Vec<String>,
}

/// The request of `disconnect`: sockets leave the namespace.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The rooms of the sockets. A socket id is a room too. All sockets of the namespace if it is empty.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// The rooms whose sockets are left out.
    #[serde(default)]
    pub except: Vec<String>,
    /// Whether the connections are closed too, with the sockets of other namespaces on them.
    #[serde(default)]
    pub close: bool,
}

/// The request of `sockets`: a list of sockets.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sockets {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The rooms of the sockets. All sockets of the namespace if it is empty.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// The rooms whose sockets are left out.
    #[serde(default)]
    pub except: Vec<String>,
    /// The most sockets in the answer. 1000 by default, or the limit of the API if that is less.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(value_type = usize, minimum = 1)]
    pub limit: Option<usize>,
    /// Whether the answer has the `auth` payloads of the clients.
    #[serde(default)]
    pub auth: bool,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { namespace: main_namespace(), rooms: vec![], except: vec![], limit: None, auth: false }
    }
}

/// The request of `rooms`: a list of rooms. Rooms of the ids of sockets are left out.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rooms {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The beginning of the names of the rooms. All rooms if it is empty.
    #[serde(default)]
    pub prefix: String,
    /// The most rooms in the answer. 1000 by default.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(value_type = usize, minimum = 1, maximum = 10_000)]
    pub limit: Option<usize>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { namespace: main_namespace(), prefix: String::new(), limit: None }
    }
}

/// The request of `count`: a number of sockets.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The namespace.
    #[serde(default = "main_namespace")]
    #[schema(default = main_namespace)]
    pub namespace: String,
    /// The rooms of the sockets. All sockets of the namespace if it is empty.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// The rooms whose sockets are left out.
    #[serde(default)]
    pub except: Vec<String>,
}

impl Default for Count {
    fn default() -> Self {
        Self { namespace: main_namespace(), rooms: vec![], except: vec![] }
    }
}

/// The request of `info`: the nodes of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Info {}

/// The answer of `emit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Emitted {
    /// Whether the event is persisted.
    pub durable: bool,
    /// The nodes at which a repetition with the same `Idempotency-Key` sends nothing. `null` if the request has no such key.
    pub idempotency: Option<Reach>,
}

/// The answer of operations that have nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Done {}

/// The answer of `emit-with-ack`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Answers {
    /// The acknowledgements that arrived.
    pub answers: Vec<Answer>,
    /// The sockets and nodes that did not answer.
    pub missing: MissingAnswers,
    /// Whether the deadline passed.
    pub timed_out: bool,
}

/// The acknowledgement of a socket.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// The id of the socket.
    pub socket: String,
    /// The arguments of the acknowledgement. A binary value is `{"$binary":"<Base64>"}`.
    pub args: Vec<Json>,
}

/// The sockets and nodes that did not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MissingAnswers {
    /// The ids of the sockets that did not answer.
    pub sockets: Vec<String>,
    /// The names of the nodes whose sockets are unknown, or that were lost meanwhile.
    pub nodes: Vec<String>,
}

/// The answer of `sockets`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SocketList {
    /// The sockets.
    pub sockets: Vec<SocketReport>,
    /// The nodes that did not answer.
    pub missing: MissingNodes,
    /// Whether there are more sockets than the limit.
    pub truncated: bool,
}

/// A socket of a client.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SocketReport {
    /// The id.
    pub id: String,
    /// The rooms, with that of the id.
    pub rooms: Vec<String>,
    /// The data that the application attached.
    pub data: Json,
    /// The `auth` payload of the client, if the request asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub auth: Option<Json>,
    /// The address of the client, as its node sees it.
    pub address: String,
    /// When the session was opened, in milliseconds since the Unix epoch.
    pub issued: u64,
}

/// The answer of `rooms`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RoomList {
    /// The rooms, in the order of their names.
    pub rooms: Vec<RoomReport>,
    /// The nodes that did not answer.
    pub missing: MissingNodes,
    /// Whether there are more rooms after these.
    pub truncated: bool,
}

/// A room with its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomReport {
    /// The name.
    pub room: String,
    /// The number of sockets.
    pub sockets: u64,
}

/// The answer of `count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SocketCount {
    /// The number of sockets.
    pub sockets: u64,
    /// The nodes that did not answer.
    pub missing: MissingNodes,
}

/// The answer of `info`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct NodeList {
    /// The nodes, in the order of their names.
    pub nodes: Vec<NodeInfo>,
    /// The nodes that did not answer.
    pub missing: MissingNodes,
}

/// The nodes that did not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MissingNodes {
    /// The names of the nodes that did not answer.
    pub nodes: Vec<String>,
}

/// The request of `batch`: operations that run one after the other.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The operations, in the order in which they run.
    #[serde(deserialize_with = "objects")]
    pub operations: Vec<Operation>,
}

/// An operation with its arguments, as a batch has it.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "operation", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// Sends an event.
    Emit(Emit),
    /// Sends an event, and collects its acknowledgements.
    EmitWithAck(EmitWithAck),
    /// Makes sockets join rooms.
    Join(Join),
    /// Makes sockets leave rooms.
    Leave(Leave),
    /// Disconnects sockets.
    Disconnect(Disconnect),
    /// Lists sockets.
    Sockets(Sockets),
    /// Lists rooms.
    Rooms(Rooms),
    /// Counts sockets.
    Count(Count),
    /// Lists the nodes.
    Info(Info),
}

/// The answer of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Outcome {
    /// That of `emit`.
    Emitted(Emitted),
    /// That of `emit-with-ack`.
    Answers(Answers),
    /// That of `sockets`.
    Sockets(SocketList),
    /// That of `rooms`.
    Rooms(RoomList),
    /// That of `count`.
    Count(SocketCount),
    /// That of `info`.
    Info(NodeList),
    /// That of `join`, `leave` and `disconnect`.
    Done(Done),
}

impl From<EmitWithAck> for EmitEvent {
    fn from(EmitWithAck { namespace: _, rooms, except, event, args, timeout_ms: _ }: EmitWithAck) -> Self {
        Self { rooms, except, event, args, volatile: false }
    }
}

impl From<Emit> for EmitEvent {
    fn from(Emit { namespace: _, rooms, except, event, args, volatile, durable: _ }: Emit) -> Self {
        Self { rooms, except, event, args, volatile }
    }
}
