//! The receivers of a record.

use sociable_protocol::{Id, NodeTag};

use crate::message::Target;

/// The receivers of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    /// Every node.
    All,
    /// One node.
    Node(NodeTag),
    /// The node that made an id, and those that adopted it.
    Socket(Id),
    /// Every node, by the stream of the server: never in the send queue.
    Stream,
}

impl Route {
    /// The route to the one socket of a target, or to all nodes.
    pub(crate) fn of(target: &Target) -> Self {
        target.socket().map_or(Self::All, Self::Socket)
    }

    /// The node whose envelopes are counted apart.
    pub(crate) fn tag(self) -> Option<NodeTag> {
        match self {
            Self::All | Self::Stream => None,
            Self::Node(tag) => Some(tag),
            Self::Socket(id) => Some(id.tag()),
        }
    }
}
