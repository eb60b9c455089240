//! The contexts of handlers, out of which they take their arguments.

use bytestring::ByteString;
use sociable_protocol::Args;

use crate::ack::Ack;
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::socket::Socket;

/// An event of a client.
#[derive(Clone, Debug)]
pub struct EventContext {
    /// The socket that received it.
    pub socket: Socket,
    /// The event's name.
    pub name: ByteString,
    /// The encoded arguments, as they were received.
    pub args: Args,
    /// The acknowledgement that the client asked for.
    pub ack: Option<Ack>,
}

impl EventContext {
    /// Returns the memory that the event takes while it or its handler waits, in bytes.
    pub(crate) fn cost(&self) -> usize {
        event_cost(&self.name, &self.args)
    }
}

/// Returns the memory of a waiting event: its bytes, and an estimate of the bookkeeping.
pub(crate) fn event_cost(name: &str, args: &Args) -> usize {
    256 + name.len() + args.encoded_len()
}

/// A socket that is connecting.
#[derive(Clone, Debug)]
pub struct ConnectContext {
    /// The socket.
    pub socket: Socket,
}

/// A socket that is disconnecting.
#[derive(Clone, Debug)]
pub struct DisconnectContext {
    /// The socket.
    pub socket: Socket,
    /// The reason.
    pub reason: DisconnectReason,
}

/// An event of another server of the cluster.
#[derive(Clone, Debug)]
pub struct ServerEventContext {
    /// The namespace.
    pub namespace: Namespace,
    /// The event's name.
    pub name: ByteString,
    /// The encoded arguments, as they were received.
    pub args: Args,
    /// The acknowledgement that the other server asked for.
    pub ack: Option<Ack>,
}

/// A context with a socket.
pub trait HasSocket {
    /// Returns the socket.
    fn socket(&self) -> &Socket;
}

/// A context with a namespace.
pub trait HasNamespace {
    /// Returns the namespace.
    fn namespace(&self) -> &Namespace;
}

macro_rules! has_socket {
    ($($context:ident)*) => {
        $(impl HasSocket for $context {
            fn socket(&self) -> &Socket {
                &self.socket
            }
        }

        impl HasNamespace for $context {
            fn namespace(&self) -> &Namespace {
                self.socket.namespace()
            }
        })*
    };
}
has_socket!(EventContext ConnectContext DisconnectContext);

impl HasNamespace for ServerEventContext {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

/// A context with an event of a client or of another server.
pub trait HasEvent {
    /// Returns the event's name.
    fn name(&self) -> &ByteString;
    /// Returns the event's arguments.
    fn args(&self) -> &Args;
    /// Returns the acknowledgement, if the sender asked for one.
    fn ack(&self) -> Option<&Ack>;
}

macro_rules! has_event {
    ($($context:ident)*) => {
        $(impl HasEvent for $context {
            fn name(&self) -> &ByteString {
                &self.name
            }

            fn args(&self) -> &Args {
                &self.args
            }

            fn ack(&self) -> Option<&Ack> {
                self.ack.as_ref()
            }
        })*
    };
}
has_event!(EventContext ServerEventContext);
