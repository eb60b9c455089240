//! Joins, leaves and disconnects of a session whose client is disconnected.

use sociable_protocol::maps::Set;

use super::SavedSession;
use super::event_log::{EventLog, in_order};
use super::stays::Stays;
use crate::message::{Operation, Room, own_room};

/// Applies the orders that came after a session was saved. Returns `None` if it was disconnected, or if orders are
/// missing.
///
/// The client's offset is ignored here: it could claim to have passed a disconnect.
pub(crate) fn apply_orders(events: &EventLog, session: &SavedSession) -> Option<Stays> {
    let known = [session.since, session.until];
    if !events.has_orders_behind(&known) {
        return None;
    }
    let mut stays = Stays::of(session);
    let id = session.id.as_str();
    let as_old_clients_say = format!("{}#{id}", session.namespace);
    let mut rooms: Vec<Option<Room>> = session.rooms.iter().map(|(room, _)| Some(room.clone())).collect();
    rooms.extend([None, Some(id.into()), Some(as_old_clients_say.into())]);
    // A room that the session joined meanwhile has orders too.
    let (mut seen, mut orders) = (Set::default(), vec![]);
    while let Some(room) = rooms.pop() {
        if !seen.insert(room.clone()) {
            continue;
        }
        for entry in events.orders(session, room.as_deref(), &known) {
            if let Some(Operation::Join(joined)) = &entry.order {
                rooms.extend(joined.iter().cloned().map(Some));
            }
            orders.push(entry);
        }
    }
    for entry in in_order(orders) {
        if !entry.target.includes(|room| own_room(room) == Some(session.id) && stays.is_in(id) || stays.is_in(room)) {
            continue;
        }
        // An order without a shared place is this node's own.
        let at = if entry.is_pending() { entry.reached } else { entry.mark() };
        match &entry.order {
            Some(Operation::Disconnect { .. }) => return None,
            Some(Operation::Join(joined)) => joined.iter().for_each(|room| stays.join(room, at)),
            Some(Operation::Leave(left)) => left.iter().for_each(|room| stays.leave(room, at)),
            _ => {}
        }
    }
    Some(stays)
}
