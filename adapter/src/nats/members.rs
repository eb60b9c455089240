//! The living nodes of the cluster.

use std::time::{Duration, Instant};

use bytestring::ByteString;
use sociable_protocol::maps::Map;
use sociable_protocol::{Announcement, NodeTag};

use super::wire;

/// The time after which envelopes that were announced have come: they travel on another connection than announcements.
const SETTLED: Duration = Duration::from_secs(1);
/// The most members, far above the size of a cluster. A foreign bus can't make this node remember more.
pub(super) const MAX_MEMBERS: usize = 10_000;

/// Another node.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) epoch: u64,
    pub(crate) name: ByteString,
    pub(crate) heard: Instant,
    /// The time of the last probe, and the number of unanswered probes in a row.
    probed: Option<Instant>,
    strikes: u32,
    /// True if the node shares a history by JetStream.
    has_history: bool,
    /// The versions of the wire format that the node reads.
    versions: (u8, u8),
    /// True if the node's history was compared with this node's.
    reviewed: bool,
    /// True if the node may have members of rooms that are named like ids of other nodes.
    pub(crate) adopts: bool,
    /// The envelopes to all that the node had announced a while ago. At its next announcement after `SETTLED` they must
    /// have come.
    sent: u64,
    sent_at: Instant,
}

/// The living nodes, except this one.
#[derive(Debug, Default)]
pub(crate) struct Members(Map<NodeTag, Member>);

/// The effect of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The node was unknown.
    Came,
    /// The node was known. Envelopes up to this one were sent so long ago that they must have come.
    Stayed { settled: u64 },
}

impl Members {
    /// Records the announcement of a living node.
    pub(crate) fn observe(&mut self, announcement: &Announcement, now: Instant) -> Change {
        let Announcement { tag, epoch, name, sent, adopted, keeps, versions, .. } = announcement;
        let name = if name.is_empty() { ByteString::from(tag.as_str()) } else { ByteString::from(&**name) };
        let before = self.0.get(tag).filter(|before| before.epoch == *epoch);
        let reviewed = before.is_some_and(|before| before.reviewed);
        let (change, (sent, sent_at)) = match before {
            None => (Change::Came, (*sent, now)),
            Some(before) if now.duration_since(before.sent_at) < SETTLED => (Change::Stayed { settled: 0 }, (before.sent, before.sent_at)),
            Some(before) => (Change::Stayed { settled: before.sent }, (*sent, now)),
        };
        let member = Member {
            epoch: *epoch,
            name,
            heard: now,
            probed: None,
            strikes: 0,
            has_history: *keeps,
            versions: *versions,
            reviewed,
            adopts: *adopted > 0,
            sent,
            sent_at,
        };
        self.0.insert(*tag, member);
        change
    }

    /// Returns the highest version of the wire format that all of them read, if there is one.
    pub(crate) fn common_version(&self) -> Option<u8> {
        wire::common_version(wire::VERSIONS, self.0.values().map(|member| member.versions))
    }

    /// Returns once whether the node shares a history, for comparison with this node.
    pub(crate) fn review_history(&mut self, tag: NodeTag) -> Option<bool> {
        let member = self.0.get_mut(&tag)?;
        let reviewed = std::mem::replace(&mut member.reviewed, true);
        (!reviewed).then_some(member.has_history)
    }

    /// Returns the epoch of a node that is due for a probe. Returns `None` during the `pause` after its last probe.
    pub(crate) fn suspect(&mut self, tag: NodeTag, now: Instant, pause: Duration) -> Option<u64> {
        let member = self.0.get_mut(&tag)?;
        if member.probed.is_some_and(|before| now.duration_since(before) < pause) {
            return None;
        }
        member.probed = Some(now);
        Some(member.epoch)
    }

    /// Records a probe. Returns the number of unanswered probes in a row.
    pub(crate) fn probed(&mut self, tag: NodeTag, epoch: u64, nobody: bool) -> u32 {
        let Some(member) = self.0.get_mut(&tag).filter(|member| member.epoch == epoch) else { return 0 };
        member.strikes = if nobody { member.strikes + 1 } else { 0 };
        member.strikes
    }

    /// Returns true if this node would exceed the bound of members.
    pub(crate) fn is_full_for(&self, tag: NodeTag) -> bool {
        self.0.len() >= MAX_MEMBERS && !self.0.contains_key(&tag)
    }

    /// Removes a node. Returns its name if it was a member.
    pub(crate) fn remove(&mut self, tag: NodeTag, epoch: u64) -> Option<ByteString> {
        if self.0.get(&tag)?.epoch != epoch {
            return None;
        }
        self.0.remove(&tag).map(|member| member.name)
    }

    /// Returns the nodes that have been silent for longer.
    pub(crate) fn silent_for(&self, silence: Duration, now: Instant) -> Vec<(NodeTag, u64)> {
        let silent = self.0.iter().filter(|(_, member)| now.duration_since(member.heard) > silence);
        silent.map(|(tag, member)| (*tag, member.epoch)).collect()
    }

    /// Restarts the silence of all nodes, because this node was cut off itself.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.0.values_mut().for_each(|member| member.heard = now);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeTag, &Member)> {
        self.0.iter().map(|(tag, member)| (*tag, member))
    }

    pub(crate) fn get(&self, tag: NodeTag) -> Option<&Member> {
        self.0.get(&tag)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use sociable_protocol::Occasion;

    use super::*;

    fn announcement(tag: NodeTag, epoch: u64, sent: u64) -> Announcement {
        Announcement {
            keeps: false,
            occasion: Occasion::Alive,
            tag,
            epoch,
            name: String::new(),
            address: None,
            sessions: 0,
            draining: false,
            full: false,
            adopted: 0,
            sent,
            versions: wire::VERSIONS,
        }
    }

    #[test]
    fn members_find_silent_and_restarted_nodes() {
        let (mut members, tag, begin) = (Members::default(), NodeTag::random(), Instant::now());
        assert_eq!(members.observe(&announcement(tag, 1, 5), begin), Change::Came);
        assert_eq!(members.observe(&announcement(tag, 1, 9), begin), Change::Stayed { settled: 0 }, "five may be under way");
        assert_eq!(members.observe(&announcement(tag, 1, 12), begin + SETTLED), Change::Stayed { settled: 5 });
        assert_eq!(members.observe(&announcement(tag, 1, 12), begin + 2 * SETTLED), Change::Stayed { settled: 12 });
        assert_eq!(members.observe(&announcement(tag, 2, 0), begin), Change::Came);
        assert_eq!(members.remove(tag, 1), None, "the one before is gone already");
        let later = begin + Duration::from_secs(3);
        assert_eq!(members.silent_for(Duration::from_secs(3), later), []);
        assert_eq!(members.silent_for(Duration::from_secs(2), later), [(tag, 2)]);
        assert_eq!(members.remove(tag, 2).as_deref(), Some(tag.as_str()), "a node without a name has its tag as its name");
        assert_eq!(members.len(), 0);
    }
}
