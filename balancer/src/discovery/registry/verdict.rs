//! The verdict on a node: what it may be sent, and why.

use std::fmt;

use sociable_protocol::NodeTag;

use super::place::Place;
use crate::table::State;

/// How a node stands at an address, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It answers there.
    Answers,
    /// It answered there, and does not now.
    Fails,
    /// It says to be there, and nobody has looked.
    Unprobed,
    /// It says to be there, and nobody has ever answered.
    Unreached,
    /// It says to be there, or was, and another answers, or one that tells no tag.
    Usurped,
}

impl Standing {
    pub(super) fn at(place: Option<&Place>, tag: NodeTag) -> Self {
        let Some(place) = place else { return Self::Unprobed };
        match place.tag() {
            Some(who) if who != tag => Self::Usurped,
            Some(_) if place.is_well() => Self::Answers,
            Some(_) => Self::Fails,
            None if place.reached().is_some() => Self::Usurped,
            None if place.trouble().is_some() => Self::Unreached,
            None => Self::Unprobed,
        }
    }

    pub(super) fn is_good(self) -> bool {
        self == Self::Answers
    }

    /// True if a probe of the address has told the tag: requests may be sent there.
    pub(super) fn is_proven(self) -> bool {
        self <= Self::Fails
    }
}

/// What a node may be sent, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Well,
    HealthIgnored,
    Leaving,
    Unnamed,
    Full,
    Nowhere,
    Stands(Standing),
    Repels,
    CutOff,
    Silent,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "it is well",
            Self::HealthIgnored => "it is not well, but so few are that this is ignored",
            Self::Leaving => "it says that it takes no new sessions",
            Self::Unnamed => "no source names it any more",
            Self::Full => "it takes no more sessions",
            Self::Nowhere => "it tells no address that can be used",
            Self::Stands(Standing::Answers) => "it answers",
            Self::Stands(Standing::Fails) => "it does not answer any more",
            Self::Stands(Standing::Unprobed) => "it was not probed yet",
            Self::Stands(Standing::Unreached) => "nobody answers at its address",
            Self::Stands(Standing::Usurped) => "who answers at its address does not tell its tag",
            Self::Repels => "connecting to it failed too often",
            Self::CutOff => "it can't reach the other nodes",
            Self::Silent => "it is not heard on NATS, though others are",
        })
    }
}

/// What speaks against sending new sessions to a node.
pub(super) struct Signs {
    pub(super) leaves: Option<Why>,
    /// It can't be reached.
    pub(super) away: Option<Why>,
    /// It can't reach the others.
    pub(super) alone: Option<Why>,
    pub(super) full: bool,
    /// A probe has reached it once, so that it makes sense to try again.
    pub(super) was_reached: bool,
}

/// What does not speak against it, since it is so for too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ignored {
    /// Fewer than half can be reached: the fault is likely on this side.
    pub(super) away: bool,
    /// There is no node that is not alone: an island is better than nothing, and worse than anything else.
    pub(super) alone: bool,
}

impl Signs {
    /// True if only its health matters.
    fn counts(&self) -> bool {
        self.leaves.is_none() && !self.full && self.was_reached
    }

    fn is_well(&self) -> bool {
        self.away.is_none() && self.alone.is_none()
    }

    pub(super) fn verdict(&self, ignored: Ignored) -> Verdict {
        // Who refuses connections would get nothing anyway.
        let away = self.away.filter(|why| *why == Why::Repels || !(ignored.away && self.was_reached));
        let alone = self.alone.filter(|_| !ignored.alone);
        let (state, why) = match (self.leaves, away.or(alone)) {
            (Some(why), _) => (State::Draining, why),
            (None, Some(why)) => (State::Unwell, why),
            (None, None) if self.full => (State::Full, Why::Full),
            (None, None) if self.is_well() => (State::Ready, Why::Well),
            (None, None) => (State::Ready, Why::HealthIgnored),
        };
        Verdict { state, why }
    }
}

pub(super) fn ignored<'a>(signs: impl Iterator<Item = &'a Signs>, panic: bool) -> Ignored {
    let (mut all, mut here, mut alone, mut well) = (0, 0, 0, 0);
    for signs in signs.filter(|signs| signs.counts()) {
        all += 1;
        here += usize::from(signs.away.is_none());
        alone += usize::from(signs.alone.is_some());
        well += usize::from(signs.is_well());
    }
    Ignored { away: panic && here * 2 < all, alone: alone > 0 && well == 0 }
}
