//! Choosing the sockets of a broadcast, and what is done with them.

use std::time::Duration;

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use sociable_adapter::{Operation, Room, Target};
use sociable_protocol::{Encoding, Id};

use crate::ack::{AckReply, BroadcastAckError};
use crate::emit::{EmitArgs, EmitError, check_name};
use crate::namespace::Namespace;
use crate::remote_socket::{FetchError, RemoteSocket};

/// One room or several.
pub trait IntoRooms {
    /// The rooms.
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

/// How something is sent.
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

/// Some sockets of a namespace: those in any of the rooms, or all if no room was named, but those in any of the excepted rooms. Each is
/// met once, in however many of the rooms it is.
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

    /// The same as [`to`](Self::to): `in` in other languages.
    pub fn within(self, rooms: impl IntoRooms) -> Self {
        self.to(rooms)
    }

    /// Leaves out the sockets in these rooms.
    pub fn except(mut self, rooms: impl IntoRooms) -> Self {
        self.target.except.extend(rooms.into_rooms());
        self
    }

    /// This node alone.
    pub fn local(mut self) -> Self {
        self.flags.local = true;
        self
    }

    /// The event is dropped for each socket to which it can't leave at once.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Whether a poll response with the event may be compressed: yes by default.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// How long acknowledgements, or the answers of other nodes, may take: 5 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Sends an event to the sockets.
    ///
    /// # Errors
    ///
    /// The name is reserved, the arguments can't be written, a thread is too far behind, or the other nodes can't be told. In the last two
    /// cases all others have got it.
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

    /// Sends an event to the sockets and collects their acknowledgements. The event is sent at once, whether or not the future is awaited.
    ///
    /// A socket that leaves meanwhile is waited for no longer; it is named in the error.
    pub fn emit_with_ack(self, event: &str, args: impl EmitArgs) -> BoxFuture<'static, Result<Vec<AckReply>, BroadcastAckError>> {
        let encoded = check_name(event).and_then(|()| Ok(args.into_args(self.namespace.encoding())?));
        self.namespace.broadcast_with_ack(self.target, self.flags, event.into(), encoded)
    }

    /// Tells of the sockets, over the whole cluster.
    ///
    /// # Errors
    ///
    /// A node did not answer in time. The error holds the sockets of the others.
    pub fn fetch_sockets(self) -> BoxFuture<'static, Result<Vec<RemoteSocket>, FetchError>> {
        self.namespace.fetch(self.target, self.flags)
    }

    /// Joins the sockets to rooms.
    ///
    /// # Errors
    ///
    /// A thread is too far behind, or the other nodes can't be told.
    pub fn sockets_join(self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.broadcast(Operation::Join(rooms.into_rooms()))
    }

    /// Has the sockets leave rooms.
    ///
    /// # Errors
    ///
    /// As [`sockets_join`](Self::sockets_join).
    pub fn sockets_leave(self, rooms: impl IntoRooms) -> Result<(), EmitError> {
        self.broadcast(Operation::Leave(rooms.into_rooms()))
    }

    /// Puts the sockets out of the namespace; with `close` their whole connections are closed.
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
