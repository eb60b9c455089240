//! Rooms that a socket has left, whose events its client may not have received.

use std::collections::VecDeque;

use super::Position;
use crate::message::Room;

/// An ended stay of a socket in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftRoom {
    /// The room.
    pub room: Room,
    /// The position of the socket's joining: later events were for it.
    pub from: Position,
    /// The position of its leaving: later events were not for it.
    pub to: Position,
}

/// The latest stays of a socket in rooms that it left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftRooms {
    pub(crate) stays: VecDeque<LeftRoom>,
    /// The position by which all dropped stays had ended. A client that has not reached it is not recovered.
    pub(crate) dropped: Option<Position>,
}

impl LeftRooms {
    /// The most stays, and the most bytes of their rooms' names. A client that misses events of earlier stays is not
    /// recovered.
    pub const MAX: usize = 32;
    const MAX_BYTES: usize = 4096;

    /// Adds a stay that has just ended.
    ///
    /// ```
    /// use sociable_adapter::{LeftRoom, LeftRooms, Position};
    ///
    /// let mut left = LeftRooms::default();
    /// let (from, to) = (Position::default(), Position { own: 7, ..Position::default() });
    /// left.add(LeftRoom { room: "news".into(), from, to });
    /// assert_eq!(left.iter().count(), 1);
    /// ```
    pub fn add(&mut self, stay: LeftRoom) {
        let last = stay.to;
        self.stays.push_back(stay);
        while self.stays.len() > Self::MAX || self.stays.iter().map(|stay| stay.room.len()).sum::<usize>() > Self::MAX_BYTES {
            let Some(oldest) = self.stays.pop_front() else { break };
            // Positions of two nodes can't be compared: the later one is safe.
            self.dropped = Some(if oldest.to.tag == last.tag { oldest.to } else { last });
        }
    }

    /// Returns the stays, in the order of their ends.
    pub fn iter(&self) -> impl Iterator<Item = &LeftRoom> {
        self.stays.iter()
    }

    /// Returns true if no dropped stay has events that a client at one of these positions lacks.
    pub(crate) fn is_complete_behind(&self, known: &[Position]) -> bool {
        self.dropped.is_none_or(|dropped| known.iter().any(|position| position.has_passed(&dropped)))
    }

    /// Returns these stays, except those whose events a client at one of the positions has.
    pub(crate) fn unknown(stays: impl IntoIterator<Item = LeftRoom>, known: &[Position]) -> Self {
        let mut left = Self::default();
        let lacks = |stay: &LeftRoom| !known.iter().any(|position| position.has_passed(&stay.to));
        stays.into_iter().filter(lacks).for_each(|stay| left.add(stay));
        left
    }
}

#[cfg(test)]
mod tests {
    use sociable_protocol::NodeTag;

    use super::*;

    #[test]
    fn dropped_stays_refuse_clients_before_them() {
        let (tag, other) = (NodeTag::random(), NodeTag::random());
        let at = |tag, own| Position { tag: Some(tag), own, place: 5 };
        let stay = |to| LeftRoom { room: "red".into(), from: Position::default(), to };
        let stays = (1..=LeftRooms::MAX as u64 + 2).map(|own| stay(at(tag, own)));
        let mut left = LeftRooms::unknown(stays.clone(), &[]);
        assert_eq!(left.iter().count(), LeftRooms::MAX);
        assert!(!left.is_complete_behind(&[at(tag, 1), at(other, 100)]));
        assert!(left.is_complete_behind(&[at(tag, 2)]));
        let known = LeftRooms::unknown(stays, &[at(tag, 10)]);
        assert_eq!((known.iter().next(), known.dropped), (Some(&stay(at(tag, 11))), None));
        left.add(stay(at(other, 1)));
        assert_eq!(left.iter().count(), LeftRooms::MAX);
        assert!(!left.is_complete_behind(&[at(tag, 100)]), "positions of another node say nothing");
    }
}
