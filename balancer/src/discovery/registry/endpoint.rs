//! An endpoint: an address, and how its probes went.

use std::time::{Duration, Instant};

use sociable_protocol::NodeTag;

/// The probes without an answer after which an address that never answered is logged: a node may still be starting.
const NEVER_REACHED: u32 = 5;

/// An address is probed out of turn no more often than this, whatever is announced.
const EARLY_PROBE_PAUSE: Duration = Duration::from_millis(200);

/// An address where a node may answer.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    /// Probes in a row that went this way.
    good: u32,
    bad: u32,
    well: bool,
    /// The time of the last answer.
    reached: Option<Instant>,
    /// The tag of the node that last answered, if the answer had one.
    tag: Option<NodeTag>,
    /// The error of the last probe.
    trouble: Option<String>,
    /// True once the log has the missing tag.
    untagged: bool,
    /// The time of the last probe out of turn.
    probed_early: Option<Instant>,
}

impl Endpoint {
    /// Records an answer. Returns true for the first answer without a tag.
    pub(super) fn on_answer(&mut self, who: Option<NodeTag>, rise: u32, now: Instant) -> bool {
        // A node that is new at this address has no earlier failures.
        let new = self.reached.is_none() || who.is_some() && who != self.tag;
        (self.good, self.bad) = (self.good.saturating_add(1), 0);
        self.well |= new || self.good >= rise;
        (self.reached, self.tag, self.trouble) = (Some(now), who, None);
        let news = who.is_none() && !self.untagged;
        self.untagged = who.is_none();
        news
    }

    /// Takes a failed probe. Returns true if no probe was ever answered, and the log must have it.
    pub(super) fn on_failure(&mut self, trouble: &str, fall: u32) -> bool {
        (self.good, self.bad) = (0, self.bad.saturating_add(1));
        self.well &= self.bad < fall;
        self.trouble = Some(trouble.into());
        self.reached.is_none() && self.bad == NEVER_REACHED
    }

    /// Returns true if a probe out of turn is allowed now, and records it.
    pub(super) fn may_probe_now(&mut self, now: Instant) -> bool {
        let may = self.probed_early.is_none_or(|before| now.duration_since(before) >= EARLY_PROBE_PAUSE);
        if may {
            self.probed_early = Some(now);
        }
        may
    }

    /// Returns true if requests may be sent to the address.
    pub(super) fn is_well(&self) -> bool {
        self.well
    }

    pub(super) fn reached(&self) -> Option<Instant> {
        self.reached
    }

    /// The tag of the node that last answered.
    pub(super) fn tag(&self) -> Option<NodeTag> {
        self.tag
    }

    pub(super) fn was_reached_as(&self, tag: NodeTag) -> bool {
        self.tag == Some(tag)
    }

    /// Returns true if answers have no tag.
    pub(super) fn is_untagged(&self) -> bool {
        self.untagged
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
