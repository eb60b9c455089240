//! The health report of a node: the answer to `GET /healthz`.

use serde::{Deserialize, Serialize};

use crate::id::NodeTag;
use crate::log::plain_text;

/// The health report of a node, as JSON. Readers ignore unknown fields, so that later versions can add some.
///
/// A balancer that has only a node's address reads here the node's tag and limit of sessions.
///
/// ```
/// use sociable_protocol::Health;
///
/// let health: Health = serde_json::from_str(r#"{"tag":"AbCd","sessions":12,"max_sessions":1000}"#)?;
/// assert_eq!((health.tag.as_str(), health.takes_sessions()), ("AbCd", true));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The tag in the ids of the node.
    pub tag: NodeTag,
    /// The name, for people. When read, characters that would break a log line are escaped, and it is cut after 256 characters.
    #[serde(default, deserialize_with = "plain_text")]
    pub name: String,
    /// The number of sessions.
    #[serde(default)]
    pub sessions: usize,
    /// The limit of sessions. Absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<usize>,
    /// True while the node drains: new sessions should go to other nodes.
    #[serde(default)]
    pub draining: bool,
    /// True while the other nodes of its cluster cannot be reached.
    #[serde(default)]
    pub cut_off: bool,
    /// True while the shared history refuses entries: disconnected clients cannot be recovered then. New sessions are still accepted.
    #[serde(default)]
    pub store_refuses: bool,
    /// The time between two pings, in milliseconds: the longest silence of a healthy connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping_interval: Option<u64>,
    /// The time that a client has to answer a ping, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping_timeout: Option<u64>,
    /// The longest request body, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<u64>,
}

impl Health {
    /// Returns whether the node accepts new sessions.
    pub fn takes_sessions(&self) -> bool {
        !self.draining && !self.cut_off && self.max_sessions.is_none_or(|most| self.sessions < most)
    }
}
