//! The operations of the cluster in miniature.

use std::time::Duration;

use proptest::prelude::*;

use crate::Limits;

pub(super) const LIMITS: Limits =
    Limits { session_age: Duration::from_secs(600), event_age: Duration::from_secs(600), session_bytes: 1 << 24, total_bytes: 1 << 28 };
pub(super) const NODES: usize = 3;
pub(super) const CLIENTS: usize = 4;
pub(super) const THREADS: usize = 2;

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A thread of a node sends an event to all, or to a room. The stream may confirm it `early`: before its sender has added it to its own log.
    Emit { node: usize, thread: usize, room: bool, early: bool },
    /// A thread of a client's node sends an event to the client.
    Unicast { client: usize, thread: usize },
    /// A thread of a node sends an event to the node's own clients alone.
    Local { node: usize, thread: usize },
    /// A thread handles so many calls of its inbox.
    Work { node: usize, thread: usize, count: usize },
    /// A client does not read: it is put out at the next event for it.
    Stall { client: usize },
    /// A node publishes so many waiting messages of both kinds, in either order, or only of one kind.
    Publish { node: usize, count: usize, own_first: bool, other_later: bool },
    /// A node consumes so many messages.
    Consume { node: usize, count: usize },
    /// From now on nothing reaches a client.
    Cut { client: usize },
    /// The client's node notices the loss.
    Disconnect { client: usize },
    /// A client joins the room, or leaves it.
    Move { client: usize },
    /// A client returns to a thread of a node, and is cut off again after so many missed events.
    Return { client: usize, node: usize, thread: usize, gets: usize },
    /// Sessions are saved while they live.
    Refresh { client: usize },
    /// A node dies.
    Kill { node: usize },
    /// A node freezes, or resumes.
    Freeze { node: usize },
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let (node, client, thread) = (0..NODES, 0..CLIENTS, 0..THREADS);
    prop_oneof![
        6 => (node.clone(), thread.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(node, thread, room, early)| Op::Emit { node, thread, room, early }),
        3 => (client.clone(), thread.clone()).prop_map(|(client, thread)| Op::Unicast { client, thread }),
        1 => (node.clone(), thread.clone()).prop_map(|(node, thread)| Op::Local { node, thread }),
        6 => (node.clone(), thread.clone(), 1..5usize).prop_map(|(node, thread, count)| Op::Work { node, thread, count }),
        1 => client.clone().prop_map(|client| Op::Stall { client }),
        6 => (node.clone(), 1..5usize, any::<bool>(), any::<bool>())
            .prop_map(|(node, count, own_first, other_later)| Op::Publish { node, count, own_first, other_later }),
        8 => (node.clone(), 1..5usize).prop_map(|(node, count)| Op::Consume { node, count }),
        2 => client.clone().prop_map(|client| Op::Cut { client }),
        1 => client.clone().prop_map(|client| Op::Disconnect { client }),
        2 => client.clone().prop_map(|client| Op::Move { client }),
        3 => (client.clone(), node.clone(), thread, prop_oneof![Just(usize::MAX), 0..4usize])
            .prop_map(|(client, node, thread, gets)| Op::Return { client, node, thread, gets }),
        1 => client.prop_map(|client| Op::Refresh { client }),
        1 => node.clone().prop_map(|node| Op::Kill { node }),
        2 => node.prop_map(|node| Op::Freeze { node }),
    ]
}
