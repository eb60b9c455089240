//! Places in histories: how far somebody has got, and where an event stands.

use sociable_protocol::NodeTag;

/// How far somebody has been served, as seen from one node: they have got all events of that node up to a number, and all of the others up
/// to a place in the sequence that the nodes share.
///
/// A node sends its own events to its clients before they have a place among those of the others, which is why it takes two numbers. In a
/// history that nobody shares, all events are the node's own.
///
/// The place of an event is one too: see [`Entry::mark`](super::Entry::mark).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The node. Without one, all events up to the shared place are meant.
    pub tag: Option<NodeTag>,
    /// The number of the last event of that node.
    pub own: u64,
    /// The shared place of the last event of the others.
    pub place: u64,
}

impl Position {
    /// True if who has got here has got the event whose mark this is.
    ///
    /// ```
    /// use sociable_adapter::Position;
    /// use sociable_protocol::NodeTag;
    ///
    /// let (mine, other) = (NodeTag::random(), NodeTag::random());
    /// let reached = Position { tag: Some(mine), own: 3, place: 70 };
    /// // My third event stands behind in the shared sequence, but its own clients have it.
    /// assert!(reached.covers(&Position { tag: Some(mine), own: 3, place: 90 }));
    /// assert!(!reached.covers(&Position { tag: Some(other), own: 3, place: 90 }));
    /// ```
    pub fn covers(&self, mark: &Position) -> bool {
        if self.tag.is_some() && self.tag == mark.tag { mark.own <= self.own } else { mark.place <= self.place }
    }

    /// True if who has got here has got to this position of the same node, which is certain only there.
    pub(crate) fn has_passed(&self, position: &Position) -> bool {
        self.place >= position.place && (position.tag.is_none() || self.tag == position.tag && self.own >= position.own)
    }

    /// The later of two positions of the same node, which only moves on.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if (other.own, other.place) > (self.own, self.place) { other } else { self }
    }
}
