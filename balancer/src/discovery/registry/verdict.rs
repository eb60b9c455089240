//! The verdict on a node: what it may be sent, and why.

use std::fmt;

use sociable_protocol::NodeTag;

use super::endpoint::Endpoint;
use crate::table::State;

/// The reachability of a node at an address, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reachability {
    /// The node answers there.
    Reachable,
    /// The node answered there, and does not now.
    Failing,
    /// The node announces the address, and no probe has been made.
    Unprobed,
    /// The node announces the address, and no probe was ever answered.
    NeverReached,
    /// Another node answers, or one without a tag.
    TakenOver,
}

impl Reachability {
    pub(super) fn at(endpoint: Option<&Endpoint>, tag: NodeTag) -> Self {
        let Some(endpoint) = endpoint else { return Self::Unprobed };
        match endpoint.tag() {
            Some(who) if who != tag => Self::TakenOver,
            Some(_) if endpoint.is_well() => Self::Reachable,
            Some(_) => Self::Failing,
            None if endpoint.reached().is_some() => Self::TakenOver,
            None if endpoint.trouble().is_some() => Self::NeverReached,
            None => Self::Unprobed,
        }
    }

    pub(super) fn is_good(self) -> bool {
        self == Self::Reachable
    }

    /// Returns true if a probe of the address returned the tag, so that requests may go there.
    pub(super) fn is_proven(self) -> bool {
        self <= Self::Failing
    }
}

/// The verdict on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Well,
    HealthIgnored,
    Draining,
    Unnamed,
    Full,
    NoAddress,
    Reachability(Reachability),
    ConnectFails,
    CutOff,
    Silent,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "healthy",
            Self::HealthIgnored => "unwell, but ignored because too few nodes are well",
            Self::Draining => "draining",
            Self::Unnamed => "no source names it",
            Self::Full => "full",
            Self::NoAddress => "no usable address: set NatsOptions::address or --advertise",
            Self::Reachability(Reachability::Reachable) => "answers",
            Self::Reachability(Reachability::Failing) => "no longer answers",
            Self::Reachability(Reachability::Unprobed) => "not probed yet",
            Self::Reachability(Reachability::NeverReached) => "its address has never answered",
            Self::Reachability(Reachability::TakenOver) => "its address answers without its tag",
            Self::ConnectFails => "connecting failed too often",
            Self::CutOff => "cut off from the other nodes",
            Self::Silent => "not heard on NATS, unlike other nodes",
        })
    }
}

/// The signals against sending new sessions to a node.
pub(super) struct HealthSignals {
    pub(super) leaving: Option<Why>,
    /// The node can't be reached.
    pub(super) unreachable: Option<Why>,
    /// The node can't reach the others.
    pub(super) isolated: Option<Why>,
    pub(super) full: bool,
    /// A probe has reached it once, so that it makes sense to try again.
    pub(super) was_reached: bool,
}

/// The signals that count against no node, since too many nodes show them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IgnoredSignals {
    /// True if fewer than half are reachable: the fault is likely on this side.
    pub(super) unreachable: bool,
    /// True if no node is well and connected to the others: an isolated node is better than none.
    pub(super) isolated: bool,
}

impl HealthSignals {
    /// Returns true if only the node's health matters.
    fn counts(&self) -> bool {
        self.leaving.is_none() && !self.full && self.was_reached
    }

    fn is_well(&self) -> bool {
        self.unreachable.is_none() && self.isolated.is_none()
    }

    pub(super) fn verdict(&self, ignored: IgnoredSignals) -> Verdict {
        // A node that refuses connections would get nothing anyway.
        let unreachable = self.unreachable.filter(|why| *why == Why::ConnectFails || !(ignored.unreachable && self.was_reached));
        let isolated = self.isolated.filter(|_| !ignored.isolated);
        let (state, why) = match (self.leaving, unreachable.or(isolated)) {
            (Some(why), _) => (State::Draining, why),
            (None, Some(why)) => (State::Unwell, why),
            (None, None) if self.full => (State::Full, Why::Full),
            (None, None) if self.is_well() => (State::Ready, Why::Well),
            (None, None) => (State::Ready, Why::HealthIgnored),
        };
        Verdict { state, why }
    }
}

pub(super) fn ignored<'a>(signals: impl Iterator<Item = &'a HealthSignals>, panic: bool) -> IgnoredSignals {
    let (mut all, mut here, mut isolated, mut well) = (0, 0, 0, 0);
    for signals in signals.filter(|signals| signals.counts()) {
        all += 1;
        here += usize::from(signals.unreachable.is_none());
        isolated += usize::from(signals.isolated.is_some());
        well += usize::from(signals.is_well());
    }
    IgnoredSignals { unreachable: panic && here * 2 < all, isolated: isolated > 0 && well == 0 }
}
