//! The packets of Socket.IO: what they mean, not how they are written, which is a matter of the [`parser`](crate::parser).

use bytestring::ByteString;

use crate::args::Args;

/// Event names that a client can't send, since they mean something of their own to one side or the other.
pub const RESERVED_EVENTS: [&str; 6] = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet of Socket.IO.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// The namespace to which it belongs; `/` is the main one.
    pub namespace: ByteString,
    /// What it says.
    pub body: Body,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A client asks for a namespace, with one object for authentication if it has one; or the server lets it in, and the
    /// object holds its `sid`.
    Connect(Option<Args>),
    /// One side leaves the namespace.
    Disconnect,
    /// Something happened.
    Event {
        /// Its name. It is empty for an event without anything, which the JavaScript server lets pass.
        name: ByteString,
        /// Its arguments.
        args: Args,
        /// Under which number the sender wants it acknowledged, if it does.
        id: Option<u64>,
    },
    /// The answer to an event.
    Ack {
        /// What it says.
        args: Args,
        /// The number of the event. An answer without a number has no addressee.
        id: Option<u64>,
    },
    /// The server does not let a client into the namespace: one object or string.
    ConnectError(Args),
}

impl Packet {
    /// A packet for the main namespace.
    pub fn new(body: Body) -> Self {
        Self { namespace: ByteString::from_static(MAIN_NAMESPACE), body }
    }

    /// A packet for the namespace of that name.
    pub fn for_namespace(namespace: impl Into<ByteString>, body: Body) -> Self {
        Self { namespace: namespace.into(), body }
    }
}

/// The name of the main namespace.
pub const MAIN_NAMESPACE: &str = "/";

/// True if a client can't send an event of this name.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}
