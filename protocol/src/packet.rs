//! The packets of Socket.IO, apart from their encoding, for which see the [`parser`](crate::parser).

use bytestring::ByteString;

use crate::args::Args;

/// The event names that clients cannot send, because client or server reserve them.
pub const RESERVED_EVENTS: [&str; 6] = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet of Socket.IO.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// The namespace to which it belongs; `/` is the main one.
    pub namespace: ByteString,
    /// The content.
    pub body: Body,
}

/// The content of a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A client asks for a namespace, with at most one `auth` object. In the other direction, the server accepts the client, with its `sid`.
    Connect(Option<Args>),
    /// One side leaves the namespace.
    Disconnect,
    /// An event.
    Event {
        /// The name. Empty for an event without name and arguments, which the JavaScript server accepts.
        name: ByteString,
        /// The arguments.
        args: Args,
        /// The id for the acknowledgement, if the sender wants one.
        id: Option<u64>,
    },
    /// The acknowledgement of an event.
    Ack {
        /// The arguments.
        args: Args,
        /// The id of the event. Without an id, it belongs to no event.
        id: Option<u64>,
    },
    /// The server refuses a client: one object or string.
    ConnectError(Args),
}

impl Packet {
    /// Returns a packet for the main namespace.
    pub fn new(body: Body) -> Self {
        Self { namespace: ByteString::from_static(MAIN_NAMESPACE), body }
    }

    /// Returns a packet for the namespace of this name.
    pub fn for_namespace(namespace: impl Into<ByteString>, body: Body) -> Self {
        Self { namespace: namespace.into(), body }
    }
}

/// The name of the main namespace.
pub const MAIN_NAMESPACE: &str = "/";

/// Returns whether clients cannot send an event of this name.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}
