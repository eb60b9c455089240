//! Announcements: the messages about a node to the other nodes and to balancers.

use serde::{Deserialize, Serialize};

use crate::id::NodeTag;
use crate::log::plain_text;

/// The announcement of a node, as JSON. Readers ignore unknown fields, so that later versions can add some.
///
/// ```
/// use sociable_protocol::{Announcement, Occasion};
///
/// let json = r#"{"occasion":"alive","tag":"AbCd","epoch":7,"name":"node-1","address":"10.0.0.1:3000","sessions":12,"draining":false,"sent":3}"#;
/// let announcement: Announcement = serde_json::from_str(json)?;
/// assert_eq!((announcement.occasion, announcement.sessions), (Occasion::Alive, 12));
/// assert!(announcement.takes_sessions());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The occasion.
    pub occasion: Occasion,
    /// The tag in the ids of the node.
    pub tag: NodeTag,
    /// A number that differs at each start of the process, below 2^53.
    pub epoch: u64,
    /// The name, for people. When read, characters that would break a log line are escaped, and it is cut after 256 characters.
    #[serde(default, deserialize_with = "plain_text")]
    pub name: String,
    /// The address for balancers, `HOST:PORT`, if the node knows it. The host may be a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The number of sessions.
    #[serde(default)]
    pub sessions: usize,
    /// True while the node drains: new sessions should go to other nodes.
    #[serde(default)]
    pub draining: bool,
    /// True if the node has reached its limit of sessions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// The number of other nodes' ids whose rooms have members here. A query for such a room has to include this node.
    #[serde(default)]
    pub adopted: usize,
    /// True if the node shares a history, which carries its events. All nodes of a cluster have to agree.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps: bool,
    /// The number of envelopes that it has sent to all. A node that received fewer has missed some.
    #[serde(default)]
    pub sent: u64,
    /// The versions of the wire format that it reads, the lowest and the highest. Nodes write a version that all of them read.
    #[serde(default = "first_version")]
    pub versions: (u8, u8),
}

fn first_version() -> (u8, u8) {
    (1, 1)
}

impl Announcement {
    /// Returns whether the node accepts new sessions.
    pub fn takes_sessions(&self) -> bool {
        matches!(self.occasion, Occasion::Hello | Occasion::Alive) && !self.draining && !self.full
    }
}

/// The occasion of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// The node wants the tag, and is no member yet. Members answer with `Alive`.
    Claim,
    /// The node is a member from now on. Members answer with `Alive`.
    Hello,
    /// The node is alive.
    Alive,
    /// The node leaves.
    Bye,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;

    #[test]
    fn announced_name_is_escaped_when_read() {
        let name = r#""tag":"AbCd","name":"a\nb\u001b[2J""#;
        let announcement: Announcement = serde_json::from_str(&format!(r#"{{"occasion":"alive","epoch":1,{name}}}"#)).unwrap();
        let health: Health = serde_json::from_str(&format!("{{{name}}}")).unwrap();
        assert_eq!((&*announcement.name, &*health.name), (r"a\nb\u{1b}[2J", r"a\nb\u{1b}[2J"));
        let long = format!(r#"{{"tag":"AbCd","name":"{}"}}"#, "x".repeat(100_000));
        assert_eq!(serde_json::from_str::<Health>(&long).unwrap().name.len(), 258);
    }
}
