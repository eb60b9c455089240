//! Broadcasts: the selection of sockets, and the operations on them.

use std::time::Duration;

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sociable_adapter::{Operation, Room, Target};
use sociable_protocol::{Encoding, Id};

use crate::ack::{AckReply, BroadcastAckError};
use crate::emit::{EmitArgs, EmitError, check_name};
use crate::namespace::Namespace;
use crate::remote_socket::{FetchError, RemoteSocket};
use crate::socket::Socket;

/// One room or several.
pub trait IntoRooms {
    /// Returns the rooms.
    fn into_rooms(self) -> Vec<Room>;
}

macro_rules! one_room {
    ($($type:ty: $room:ident => $name:expr),* $(,)?) => {
        $(impl IntoRooms for $type {
            fn into_rooms(self) -> Vec<Room> {
                let $room = self;
                vec![$name]
            }
        })*
    };
}
one_room!(&str: room => room.into(), String: room => room.into(), &String: room => room.as_str().into(), ByteString: room => room,
    &ByteString: room => room.clone(), Id: id => id.as_str().into(), &Id: id => id.as_str().into());

impl<T: Into<ByteString>> IntoRooms for Vec<T> {
    fn into_rooms(self) -> Vec<Room> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<ByteString>, const N: usize> IntoRooms for [T; N] {
    fn into_rooms(self) -> Vec<Room> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: AsRef<str>> IntoRooms for &[T] {
    fn into_rooms(self) -> Vec<Room> {
        self.iter().map(|room| room.as_ref().into()).collect()
    }
}

/// The delivery options of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    pub(crate) local: bool,
    pub(crate) volatile: bool,
    pub(crate) compress: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Default for Flags {
    fn default() -> Self {
        Self { local: false, volatile: false, compress: true, timeout: None }
    }
}

/// A selection of sockets in a namespace.
///
/// The selection holds the sockets in any of the chosen rooms, or all if none was chosen. Sockets in an excepted room are left out. A socket in
/// several of the rooms gets the event once.
///
/// ```
/// # async fn show(io: sociable::Server) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// io.to("red").to("blue").except("muted").emit("news", "hello")?;
/// for reply in io.to("red").timeout(Duration::from_secs(1)).emit_with_ack("ready?", ()).await? {
///     println!("{} says {:?}", reply.id, reply.args.decode::<bool>(0));
/// }
/// io.within("red").sockets_join("purple")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing by itself: call `emit` or another of its methods"]
pub struct BroadcastOperator {
    namespace: Namespace,
    target: Target,
    flags: Flags,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self { namespace, target: Target::default(), flags: Flags::default() }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.namespace.encoding()
    }

    /// Adds the sockets in these rooms.
    pub fn to(mut self, rooms: impl IntoRooms) -> Self {
        self.target.rooms.extend(rooms.into_rooms());
        self
    }

    /// Adds the sockets in these rooms, like [`to`](Self::to). Other languages call this `in`.
    pub fn within(self, rooms: impl IntoRooms) -> Self {
        self.to(rooms)
    }

    /// Excludes the sockets in these rooms.
    pub fn except(mut self, rooms: impl IntoRooms) -> Self {
        self.target.except.extend(rooms.into_rooms());
        self
    }

    /// Restricts the selection to this node.
    pub fn local(mut self) -> Self {
        self.flags.local = true;
        self
    }

    /// Marks the event as volatile: it is dropped for each client that cannot take it at once.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Sets whether the event may be compressed for its receivers: yes by default.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// Sets the deadline for acknowledgements, or for the answers of other nodes: 5 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Sends an event to the sockets.
    ///
    /// # Errors
    ///
    /// The name is reserved, or the arguments cannot be encoded. A worker thread is overloaded, or the other nodes cannot be reached. In the last two
    /// cases all other sockets get the event.
    pub fn emit(self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        check_name(event)?;
        let args = args.into_args(self.namespace.encoding())?;
        self.namespace.send_event(self.target, event, args, self.flags)
    }

    /// Sends a `message` event to the sockets.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit).
    pub fn send(self, args: impl EmitArgs) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Sends an event to the sockets and collects their acknowledgements.
    ///
    /// The event is sent at once, even if the future is never awaited. A socket that leaves meanwhile is listed in the error as missing.
    pub fn emit_with_ack(self, event: &str, args: impl EmitArgs) -> BoxFuture<'static, Result<Vec<AckReply>, BroadcastAckError>> {
        let encoded = check_name(event).and_then(|()| Ok(args.into_args(self.namespace.encoding())?));
        self.namespace.broadcast_with_ack(self.target, self.flags, event.into(), encoded)
    }

    /// Sends an event to the sockets and returns their acknowledgements one by one, as they arrive.
    ///
    /// The stream ends when all have answered. If some are missing, or at the deadline, its last item is the error, which repeats no acknowledgement.
    /// The event is sent at once. Dropping the stream ends the wait.
    ///
    /// ```
    /// # async fn show(io: sociable::Server) {
    /// use futures_util::StreamExt;
    ///
    /// let mut votes = io.to("voters").emit_with_ack_stream("vote", ());
    /// while let Some(vote) = votes.next().await {
    ///     match vote {
    ///         Ok(reply) => println!("{:?} votes {:?}", reply.id, reply.args.decode::<String>(0)),
    ///         Err(error) => println!("{} did not vote: {error}", error.missing.len()),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn emit_with_ack_stream(self, event: &str, args: impl EmitArgs) -> BoxStream<'static, Result<AckReply, BroadcastAckError>> {
        let encoded = check_name(event).and_then(|()| Ok(args.into_args(self.namespace.encoding())?));
        self.namespace.broadcast_with_ack_stream(self.target, self.flags, event.into(), encoded)
    }

    /// Returns the sockets, over the whole cluster.
    ///
    /// # Errors
    ///
    /// A node did not answer in time. The error holds the sockets of the others.
    pub fn fetch_sockets(self) -> BoxFuture<'static, Result<Vec<RemoteSocket>, FetchError>> {
        self.namespace.fetch(self.target, self.flags)
    }

    /// Returns the number of the sockets on this node.
    ///
    /// No socket is copied for it: each worker thread counts its own.
    ///
    /// ```
    /// # async fn show(io: sociable::Server) {
    /// let listening = io.to("red").except("muted").local_count().await;
    /// # let _ = listening;
    /// # }
    /// ```
    pub async fn local_count(self) -> usize {
        self.namespace.count_local(self.target).await
    }

    /// Returns handles of the sockets on this node.
    ///
    /// Unlike a [`RemoteSocket`], a handle reaches the handshake, the handlers and the attached values of its socket.
    ///
    /// ```
    /// # async fn show(io: sociable::Server) {
    /// for socket in io.to("red").local_sockets().await {
    ///     println!("{:?} {:?}", socket.id(), socket.handshake().header("user-agent"));
    /// }
    /// # }
    /// ```
    pub async fn local_sockets(self) -> Vec<Socket> {
        self.namespace.find_local(self.target).await
    }

    /// Makes the sockets join rooms.
    ///
    /// # Errors
    ///
    /// A worker thread is overloaded, or the other nodes cannot be reached.
    pub fn sockets_join(self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.broadcast(Operation::Join(rooms.into_rooms()))
    }

    /// Makes the sockets leave rooms.
    ///
    /// # Errors
    ///
    /// As [`sockets_join`](Self::sockets_join).
    pub fn sockets_leave(self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.broadcast(Operation::Leave(rooms.into_rooms()))
    }

    /// Disconnects the sockets from the namespace; with `close`, also closes their connections.
    ///
    /// # Errors
    ///
    /// As [`sockets_join`](Self::sockets_join).
    pub fn disconnect_sockets(self, close: bool) -> Result<(), EmitError> {
        self.broadcast(Operation::Disconnect { close })
    }

    fn broadcast(self, operation: Operation) -> Result<(), EmitError> {
        self.namespace.broadcast(self.target, operation, self.flags.local, None)
    }
}
