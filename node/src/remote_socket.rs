//! A socket as it was when it was asked for, of whichever node.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use sociable_adapter::{Room, SocketInfo};
use sociable_protocol::{Id, Value};
use thiserror::Error;

use crate::broadcast::{BroadcastOperator, IntoRooms};
use crate::emit::{EmitArgs, EmitError};
use crate::namespace::Namespace;

/// A socket of some node, as it was when [`fetch_sockets`](Namespace::fetch_sockets) asked for it. What is done with it reaches the socket
/// wherever it is.
#[derive(Clone, Debug)]
pub struct RemoteSocket {
    namespace: Namespace,
    info: SocketInfo,
}

/// Not all nodes told of their sockets in time.
#[derive(Clone, Debug, Error)]
#[error("{}", .error.as_ref().map_or_else(|| format!("timeout reached: missing {} responses", .missing.len().max(1)), ToString::to_string))]
pub struct FetchError {
    /// The sockets of the nodes that answered.
    pub sockets: Vec<RemoteSocket>,
    /// The names of the nodes that did not answer, or were lost before they did.
    pub missing: Vec<String>,
    /// Why the other nodes were not asked, if that was it.
    pub error: Option<EmitError>,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: Namespace, info: SocketInfo) -> Self {
        Self { namespace, info }
    }

    /// Its id.
    pub fn id(&self) -> Id {
        self.info.id
    }

    /// The rooms that it was in, that of its id among them.
    pub fn rooms(&self) -> &[Room] {
        &self.info.rooms
    }

    /// The data that was attached to it; an empty object if none was.
    pub fn data(&self) -> &Value {
        &self.info.data
    }

    /// The data, as a type of yours. `None` if it does not fit.
    pub fn data_as<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(self.info.data.clone()).ok()
    }

    /// What the client sent to be let in.
    pub fn auth(&self) -> &Value {
        &self.info.auth
    }

    /// Path and query of the request that opened its session.
    pub fn url(&self) -> &str {
        &self.info.url
    }

    /// The names and values of the query, decoded.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.info.url.split_once('?').map_or("", |(_, query)| query).as_bytes())
    }

    /// The address of the client, as its node sees it.
    pub fn address(&self) -> &str {
        &self.info.address
    }

    /// When its session was opened, in milliseconds since the Unix epoch.
    pub fn issued(&self) -> u64 {
        self.info.issued
    }

    /// Sends it an event.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::emit`].
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        self.operator().emit(event, args)
    }

    /// Joins it to rooms.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::sockets_join`].
    pub fn join(&self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.operator().sockets_join(rooms)
    }

    /// Has it leave rooms.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::sockets_leave`].
    pub fn leave(&self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.operator().sockets_leave(rooms)
    }

    /// Puts it out of the namespace; with `close` its connection is closed.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::disconnect_sockets`].
    pub fn disconnect(&self, close: bool) -> Result<(), EmitError> {
        self.operator().disconnect_sockets(close)
    }

    /// The operator for this socket alone, for all else: acknowledgements, timeouts, volatile events.
    pub fn operator(&self) -> BroadcastOperator {
        self.namespace.to(self.info.id)
    }
}
