//! Positions in a history: of a client, and of an event.

use sociable_protocol::NodeTag;

/// A point in the history, as seen from one node.
///
/// The position has two parts: that node's events up to a number, and all others up to a shared place.
///
/// A node sends its own events to its clients before they have a shared place. A position therefore needs both. In a
/// history that is not shared, all events are the node's own.
///
/// An event has a position too: see [`Entry::mark`](super::Entry::mark).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The node. Without one, the position stands for all events up to the shared place.
    pub tag: Option<NodeTag>,
    /// The number of the last event of that node.
    pub own: u64,
    /// The shared place of the last event of the others.
    pub place: u64,
}

impl Position {
    /// Returns true if a client at this position has the event with this mark.
    ///
    /// ```
    /// use sociable_adapter::Position;
    /// use sociable_protocol::NodeTag;
    ///
    /// let (mine, other) = (NodeTag::random(), NodeTag::random());
    /// let reached = Position { tag: Some(mine), own: 3, place: 70 };
    /// // The node's third event stands later in the shared sequence, but its own clients have it.
    /// assert!(reached.covers(&Position { tag: Some(mine), own: 3, place: 90 }));
    /// assert!(!reached.covers(&Position { tag: Some(other), own: 3, place: 90 }));
    /// ```
    pub fn covers(&self, mark: &Position) -> bool {
        if self.tag.is_some() && self.tag == mark.tag { mark.own <= self.own } else { mark.place <= self.place }
    }

    /// Returns true if a client at this position has certainly passed the other one. Only positions of one node
    /// compare.
    pub(crate) fn has_passed(&self, position: &Position) -> bool {
        self.place >= position.place && (position.tag.is_none() || self.tag == position.tag && self.own >= position.own)
    }

    /// Returns the later of two positions of the same node.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if (other.own, other.place) > (self.own, self.place) { other } else { self }
    }
}
