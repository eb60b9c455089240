//! Snapshots of sockets on any node.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use serde::de::DeserializeOwned;
use sociable_adapter::{Room, SocketInfo};
use sociable_protocol::{Args, Id, Value};
use thiserror::Error;

use crate::ack::{AckError, BroadcastAckError};
use crate::broadcast::{BroadcastOperator, IntoRooms};
use crate::emit::{EmitArgs, EmitError};
use crate::namespace::Namespace;

/// A snapshot of a socket on any node, as [`fetch_sockets`](Namespace::fetch_sockets) returns it. Operations reach the live socket.
#[derive(Clone, Debug)]
pub struct RemoteSocket {
    namespace: Namespace,
    info: SocketInfo,
}

/// An incomplete answer to a query for sockets.
#[derive(Clone, Debug, Error)]
#[error("{}", .error.as_ref().map_or_else(|| format!("timeout reached: missing {} responses", .missing.len().max(1)), ToString::to_string))]
pub struct FetchError {
    /// The sockets of the nodes that answered.
    pub sockets: Vec<RemoteSocket>,
    /// The names of the nodes that did not answer in time, or that failed meanwhile.
    pub missing: Vec<String>,
    /// The error that prevented the query, if any.
    pub error: Option<EmitError>,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: Namespace, info: SocketInfo) -> Self {
        Self { namespace, info }
    }

    /// Returns the socket's id.
    pub fn id(&self) -> Id {
        self.info.id
    }

    /// Returns the namespace of the socket.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Returns the rooms of the snapshot, with that of the socket's id.
    pub fn rooms(&self) -> &[Room] {
        &self.info.rooms
    }

    /// Returns the attached data; an empty object if there is none.
    pub fn data(&self) -> &Value {
        &self.info.data
    }

    /// Returns the data as a type. `None` if it does not fit.
    pub fn data_as<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(self.info.data.clone()).ok()
    }

    /// Returns the client's `auth` payload.
    pub fn auth(&self) -> &Value {
        &self.info.auth
    }

    /// Returns path and query of the request that opened the session.
    pub fn url(&self) -> &str {
        &self.info.url
    }

    /// Returns the decoded names and values of the query.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.info.url.split_once('?').map_or("", |(_, query)| query).as_bytes())
    }

    /// Returns the address of the client, as its node sees it.
    pub fn address(&self) -> &str {
        &self.info.address
    }

    /// Returns when the session was opened, in milliseconds since the Unix epoch.
    pub fn issued(&self) -> u64 {
        self.info.issued
    }

    /// Sends an event to the socket.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::emit`].
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        self.operator().emit(event, args)
    }

    /// Makes the socket join rooms.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::sockets_join`].
    pub fn join(&self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.operator().sockets_join(rooms)
    }

    /// Makes the socket leave rooms.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::sockets_leave`].
    pub fn leave(&self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.operator().sockets_leave(rooms)
    }

    /// Disconnects the socket from the namespace; with `close`, also closes its connection.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::disconnect_sockets`].
    pub fn disconnect(&self, close: bool) -> Result<(), EmitError> {
        self.operator().disconnect_sockets(close)
    }

    /// Sends an event to the socket and returns its acknowledgement.
    ///
    /// The deadline is the server's [`ack_timeout`](crate::ServerBuilder::ack_timeout); see [`timeout`](Self::timeout).
    ///
    /// ```
    /// # async fn show(io: sociable::Server) -> Result<(), Box<dyn std::error::Error>> {
    /// for socket in io.within("red").fetch_sockets().await? {
    ///     let version: String = socket.emit_with_ack("version?", ()).await?.decode(0)?;
    ///     println!("{:?} runs {version}", socket.id());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The deadline passed, the socket has left, or the event was not sent.
    pub fn emit_with_ack(&self, event: &str, args: impl EmitArgs) -> BoxFuture<'static, Result<Args, AckError>> {
        let (id, replies) = (self.info.id, self.operator().emit_with_ack(event, args));
        async move {
            match replies.await {
                Ok(replies) => replies.into_iter().find(|reply| reply.id == id).map(|reply| reply.args).ok_or(AckError::Disconnected),
                // Only others in the room of the id may be missing.
                Err(BroadcastAckError { replies, reason, .. }) => {
                    replies.into_iter().find(|reply| reply.id == id).map(|reply| reply.args).ok_or(reason)
                }
            }
        }
        .boxed()
    }

    /// Returns an operator for this socket alone, with a deadline for its acknowledgement.
    pub fn timeout(&self, timeout: Duration) -> BroadcastOperator {
        self.operator().timeout(timeout)
    }

    /// Returns an operator for this socket alone, for acknowledgements, timeouts and volatile events.
    pub fn operator(&self) -> BroadcastOperator {
        self.namespace.to(self.info.id)
    }
}
