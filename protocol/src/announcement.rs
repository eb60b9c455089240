//! What a node tells of itself: to the other nodes, and to balancers.

use serde::{Deserialize, Serialize};

use crate::id::NodeTag;
use crate::log::plain_text;

/// What a node tells of itself, as JSON. Fields that are not known are passed by, so that later versions can add some.
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
    /// Why it speaks.
    pub occasion: Occasion,
    /// The tag in the ids that it makes.
    pub tag: NodeTag,
    /// A number that is another at each start of the process, below 2^53.
    pub epoch: u64,
    /// Its name, for people. What would break a line of a log is escaped when it is read, and it is cut after 256 characters.
    #[serde(default, deserialize_with = "plain_text")]
    pub name: String,
    /// Where a balancer reaches it, `HOST:PORT`, if it knows. The host may be a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its sessions.
    #[serde(default)]
    pub sessions: usize,
    /// True if new sessions should go elsewhere, because it is going.
    #[serde(default)]
    pub draining: bool,
    /// True if it has as many sessions as it takes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// Ids of other nodes whose rooms have members there: who asks for such a room asks this node too.
    #[serde(default)]
    pub adopted: usize,
    /// True if it shares a history with the others, by which its events go: all nodes of a cluster have to agree.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps: bool,
    /// How many envelopes it has sent to all: who has fewer has missed some.
    #[serde(default)]
    pub sent: u64,
    /// The versions of the wire format that it reads, the lowest and the highest. Nodes write what all of them read.
    #[serde(default = "first_version")]
    pub versions: (u8, u8),
}

fn first_version() -> (u8, u8) {
    (1, 1)
}

impl Announcement {
    /// True if new sessions may be sent to it.
    pub fn takes_sessions(&self) -> bool {
        matches!(self.occasion, Occasion::Hello | Occasion::Alive) && !self.draining && !self.full
    }
}

/// Why a node speaks of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// It wants the tag, and is no member yet: members answer that they live.
    Claim,
    /// It is a member from now on: members answer that they live.
    Hello,
    /// It lives.
    Alive,
    /// It goes.
    Bye,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;

    #[test]
    fn a_name_is_plain_when_it_is_read() {
        let name = r#""tag":"AbCd","name":"a\nb\u001b[2J""#;
        let announcement: Announcement = serde_json::from_str(&format!(r#"{{"occasion":"alive","epoch":1,{name}}}"#)).unwrap();
        let health: Health = serde_json::from_str(&format!("{{{name}}}")).unwrap();
        assert_eq!((&*announcement.name, &*health.name), (r"a\nb\u{1b}[2J", r"a\nb\u{1b}[2J"));
        let long = format!(r#"{{"tag":"AbCd","name":"{}"}}"#, "x".repeat(100_000));
        assert_eq!(serde_json::from_str::<Health>(&long).unwrap().name.len(), 258);
    }
}
