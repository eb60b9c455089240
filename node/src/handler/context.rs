//! What handlers are called with, before their arguments are taken out of it.

use bytestring::ByteString;
use sociable_protocol::Args;

use crate::ack::Ack;
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::socket::Socket;

/// An event of a client.
#[derive(Clone, Debug)]
pub struct EventContext {
    /// The socket that got it.
    pub socket: Socket,
    /// Its name.
    pub name: ByteString,
    /// Its arguments, as they came.
    pub args: Args,
    /// The acknowledgement that the client asked for.
    pub ack: Option<Ack>,
}

impl EventContext {
    /// Returns what the event takes while it or its handler waits.
    pub(crate) fn cost(&self) -> usize {
        event_cost(&self.name, &self.args)
    }
}

/// Returns what an event takes while it or its handler waits: its bytes, and about as much as is kept of it besides.
pub(crate) fn event_cost(name: &str, args: &Args) -> usize {
    256 + name.len() + args.encoded_len()
}

/// A socket that connects.
#[derive(Clone, Debug)]
pub struct ConnectContext {
    /// The socket.
    pub socket: Socket,
}

/// A socket that disconnects.
#[derive(Clone, Debug)]
pub struct DisconnectContext {
    /// The socket.
    pub socket: Socket,
    /// Why.
    pub reason: DisconnectReason,
}

/// An event of another server of the cluster.
#[derive(Clone, Debug)]
pub struct ServerEventContext {
    /// The namespace.
    pub namespace: Namespace,
    /// The event's name.
    pub name: ByteString,
    /// Its arguments, as they came.
    pub args: Args,
    /// The acknowledgement that the other server asked for.
    pub ack: Option<Ack>,
}

/// A context with a socket.
pub trait HasSocket {
    /// The socket.
    fn socket(&self) -> &Socket;
}

/// A context with a namespace.
pub trait HasNamespace {
    /// The namespace.
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

/// A context with an event: of a client or of another server.
pub trait HasEvent {
    /// The event's name.
    fn name(&self) -> &ByteString;
    /// Its arguments.
    fn args(&self) -> &Args;
    /// The acknowledgement that was asked for.
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
