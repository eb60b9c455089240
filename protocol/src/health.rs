//! What a node answers to whoever asks how it is: `GET /healthz`.

use serde::{Deserialize, Serialize};

use crate::id::NodeTag;
use crate::log::plain_text;

/// What a node answers to `GET /healthz`, as JSON. Fields that are not known are passed by, so that later versions can add some.
///
/// A balancer that found the node by its address alone learns from it whose sessions are there, and what the node can bear.
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
    /// The tag in the ids that it makes.
    pub tag: NodeTag,
    /// Its name, for people. What would break a line of a log is escaped when it is read, and it is cut after 256 characters.
    #[serde(default, deserialize_with = "plain_text")]
    pub name: String,
    /// Its sessions.
    #[serde(default)]
    pub sessions: usize,
    /// How many sessions it takes at most; no bound if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<usize>,
    /// True if new sessions should go elsewhere, because it is going.
    #[serde(default)]
    pub draining: bool,
    /// True if the other nodes of its cluster can't be reached.
    #[serde(default)]
    pub cut_off: bool,
    /// True while the store that the nodes share refuses what it is given: clients that lose their connection begin anew. New sessions are taken all
    /// the same.
    #[serde(default)]
    pub store_refuses: bool,
    /// The time between two pings of a client, in milliseconds: a connection is silent for so long, and no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping_interval: Option<u64>,
    /// How long the answer to a ping may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping_timeout: Option<u64>,
    /// The longest body that it takes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<u64>,
}

impl Health {
    /// True if new sessions may be sent to it.
    pub fn takes_sessions(&self) -> bool {
        !self.draining && !self.cut_off && self.max_sessions.is_none_or(|most| self.sessions < most)
    }
}
