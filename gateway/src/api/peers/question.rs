//! Questions and answers on their way between nodes.
//!
//! A node that cannot read a question does not answer it. Readers ignore unknown fields, so that later versions can add some.

use serde::{Deserialize, Serialize};
use sociable::NodeTag;

/// A question to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// The answer is a number.
    Count { namespace: String, rooms: Vec<String>, except: Vec<String> },
    /// The answer is a [`LocalRooms`].
    Rooms { namespace: String, prefix: String, limit: usize },
    /// The answer is a [`NodeInfo`](super::NodeInfo).
    Info,
}

/// An answer with its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answered<T> {
    pub(super) node: NodeTag,
    pub(super) answer: T,
}

/// The first rooms of a node, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LocalRooms {
    pub(super) rooms: Vec<(String, u64)>,
    /// Whether rooms after these were left out.
    pub(super) more: bool,
}
