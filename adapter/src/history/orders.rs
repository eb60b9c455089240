//! Joins, leaves and disconnects of a session whose client is away.

use super::shelf::{Shelf, in_order};
use super::{LeftRoom, LeftRooms, Position, SavedSession};
use crate::maps::{Map, Set};
use crate::message::{Operation, Room, own_room};

/// The rooms of a session over time: each with the positions between which its events were for the session. The last has no end while the session is in it.
#[derive(Debug)]
pub(crate) struct Stays(Map<Room, Vec<(Position, Option<Position>)>>);

impl Stays {
    fn of(session: &SavedSession) -> Self {
        let mut stays: Map<Room, Vec<_>> = Map::default();
        for LeftRoom { room, from, to } in session.left_rooms.iter() {
            stays.entry(room.clone()).or_default().push((*from, Some(*to)));
        }
        for (room, since) in &session.rooms {
            stays.entry(room.clone()).or_default().push((*since, None));
        }
        Self(stays)
    }

    fn is_in(&self, room: &str) -> bool {
        self.0.get(room).and_then(|stays| stays.last()).is_some_and(|(_, to)| to.is_none())
    }

    fn join(&mut self, room: &Room, at: Position) {
        if !self.is_in(room) {
            self.0.entry(room.clone()).or_default().push((at, None));
        }
    }

    fn leave(&mut self, room: &Room, at: Position) {
        if let Some((_, to)) = self.0.get_mut(room).and_then(|stays| stays.last_mut()) {
            to.get_or_insert(at);
        }
    }

    /// The rooms that the session was in at any time.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|room| &**room)
    }

    /// True if the session was in a room at the place of an event.
    pub(super) fn met(&self, room: &str, mark: &Position) -> bool {
        let during = |(from, to): &(Position, Option<Position>)| !from.covers(mark) && to.is_none_or(|to| to.covers(mark));
        self.0.get(room).is_some_and(|stays| stays.iter().any(during))
    }

    /// The rooms that the session is in at last, each with the position of its joining, and those that it has left. Nothing is missing of the session that
    /// has got to one of the positions.
    pub(crate) fn into_rooms(self, known: &[Position]) -> (Vec<(Room, Position)>, LeftRooms) {
        let (mut rooms, mut left) = (vec![], vec![]);
        for (room, stays) in self.0 {
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

/// Has a session obey the orders that came after it was saved. `None` if it was put out, or if not all orders are there.
///
/// What the client shows means nothing here: it could show that it knows of a disconnect.
pub(crate) fn obey(shelf: &Shelf, session: &SavedSession) -> Option<Stays> {
    let known = [session.since, session.until];
    if !shelf.has_orders_behind(&known) {
        return None;
    }
    let mut stays = Stays::of(session);
    let id = session.id.as_str();
    let as_old_clients_say = format!("{}#{id}", session.namespace);
    let mut rooms: Vec<Option<Room>> = session.rooms.iter().map(|(room, _)| Some(room.clone())).collect();
    rooms.extend([None, Some(id.into()), Some(as_old_clients_say.into())]);
    // Orders for a room that it may have joined meanwhile are looked at too.
    let (mut seen, mut orders) = (Set::default(), vec![]);
    while let Some(room) = rooms.pop() {
        if !seen.insert(room.clone()) {
            continue;
        }
        for entry in shelf.orders(session, room.as_deref(), &known) {
            if let Some(Operation::Join(joined)) = &entry.order {
                rooms.extend(joined.iter().cloned().map(Some));
            }
            orders.push(entry);
        }
    }
    for entry in in_order(orders) {
        if !entry.target.includes(|room| own_room(room) == Some(session.id) || stays.is_in(room)) {
            continue;
        }
        // One that has no shared place yet is this node's own.
        let at = if entry.is_pending() { entry.reached } else { entry.mark() };
        match &entry.order {
            Some(Operation::Disconnect { .. }) => return None,
            Some(Operation::Join(joined)) => {
                joined.iter().filter(|room| ***room != *id).for_each(|room| stays.join(room, at));
            }
            Some(Operation::Leave(left)) => left.iter().for_each(|room| stays.leave(room, at)),
            _ => {}
        }
    }
    Some(stays)
}
