//! The rooms of a session over time.

use sociable_protocol::maps::Map;

use super::{LeftRoom, LeftRooms, Position, SavedSession};
use crate::message::Room;

/// The rooms of a session over time, each with the ranges of positions whose events were for the session. A range
/// without an end is a current room.
#[derive(Debug)]
pub(crate) struct Stays {
    rooms: Map<Room, Vec<(Position, Option<Position>)>>,
    /// The room of the socket's id.
    own: Room,
    /// True if the session has left that room at any time.
    own_is_listed: bool,
}

impl Stays {
    pub(super) fn of(session: &SavedSession) -> Self {
        let mut stays: Map<Room, Vec<_>> = Map::default();
        for LeftRoom { room, from, to } in session.left_rooms.iter() {
            stays.entry(room.clone()).or_default().push((*from, Some(*to)));
        }
        for (room, since) in &session.rooms {
            stays.entry(room.clone()).or_default().push((*since, None));
        }
        let own = Room::from(session.id.as_str());
        if !session.own_is_listed {
            stays.insert(own.clone(), vec![(session.since, None)]);
        }
        Self { rooms: stays, own, own_is_listed: session.own_is_listed }
    }

    /// Returns true if the session has left the room of the socket's id at any time.
    pub(crate) fn own_is_listed(&self) -> bool {
        self.own_is_listed
    }

    pub(super) fn is_in(&self, room: &str) -> bool {
        self.rooms.get(room).and_then(|stays| stays.last()).is_some_and(|(_, to)| to.is_none())
    }

    pub(super) fn join(&mut self, room: &Room, at: Position) {
        if !self.is_in(room) {
            self.rooms.entry(room.clone()).or_default().push((at, None));
        }
    }

    pub(super) fn leave(&mut self, room: &Room, at: Position) {
        if let Some((_, to)) = self.rooms.get_mut(room).and_then(|stays| stays.last_mut()) {
            to.get_or_insert(at);
            self.own_is_listed |= *room == self.own;
        }
    }

    /// Returns the rooms that the session was in at any time.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.rooms.keys().map(|room| &**room)
    }

    /// Returns true if the session was in a room at the position of an event.
    pub(super) fn visited(&self, room: &str, mark: &Position) -> bool {
        let during = |(from, to): &(Position, Option<Position>)| !from.covers(mark) && to.is_none_or(|to| to.covers(mark));
        self.rooms.get(room).is_some_and(|stays| stays.iter().any(during))
    }

    /// Returns the current rooms, each with the position of its joining, and the rooms that the session left. A client
    /// at one of the `known` positions lacks no event up to it.
    pub(crate) fn into_rooms(mut self, known: &[Position]) -> (Vec<(Room, Position)>, LeftRooms) {
        if !self.own_is_listed {
            self.rooms.remove(&self.own);
        }
        let (mut rooms, mut left) = (vec![], vec![]);
        for (room, stays) in self.rooms {
            for (from, to) in stays {
                match to {
                    Some(to) => left.push(LeftRoom { room: room.clone(), from, to }),
                    None => rooms.push((room.clone(), from)),
                }
            }
        }
        left.sort_by_key(|stay| (stay.to.place, stay.to.own));
        (rooms, LeftRooms::unknown(left, known))
    }
}
