//! Events in the order in which a node got them, with an index by receivers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use sociable_protocol::NodeTag;
use sociable_protocol::maps::Map;

use super::stays::Stays;
use super::{Entry, OVERHEAD, Position, Reach, SavedSession, Stay};
use crate::message::{Operation, Room};

/// Events in their order, with an index by receivers. A returning client's events are found without a scan of others,
/// because emitting waits for the same lock.
#[derive(Debug)]
pub(crate) struct EventLog {
    /// The node at whose positions the entries were reached.
    tag: NodeTag,
    entries: VecDeque<(Instant, Arc<Entry>)>,
    /// The place of the first entry among all that were ever in this log.
    first: u64,
    /// The places of this node's own events in a shared history: first for all nodes, then for its own sockets.
    /// Each list has its shared places in ascending order.
    mine: [VecDeque<u64>; 2],
    /// Places by namespace: those for all of it and, by room, those for rooms. The oldest come first.
    lists: Map<ByteString, Lists>,
    /// The last that was dropped: of this node, of others, and of all by their shared places.
    dropped: Dropped,
    /// The last dropped orders, in the same way.
    dropped_orders: Dropped,
    /// The number of orders in the log.
    orders: usize,
    bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Dropped {
    own: u64,
    others: u64,
    all: u64,
}

impl Dropped {
    /// Notes that entries at this shared place or before may be missing.
    #[cfg(feature = "nats")]
    fn mark_missing_up_to(&mut self, place: u64) {
        self.others = self.others.max(place);
        self.all = self.all.max(place);
    }

    /// Records that an entry is dropped from the log of a node.
    fn drop(&mut self, entry: &Entry, tag: NodeTag) {
        let mark = entry.mark();
        if !entry.is_lost() {
            self.all = self.all.max(mark.place);
        }
        if entry.publisher == tag {
            self.own = mark.own;
        } else {
            self.others = self.others.max(mark.place);
        }
    }

    /// Returns true if no dropped entry can be missing at one of these positions.
    fn is_before(&self, tag: NodeTag, known: &[Position]) -> bool {
        known.iter().any(|position| {
            if position.tag == Some(tag) { position.own >= self.own && position.place >= self.others } else { position.place >= self.all }
        })
    }
}

#[derive(Debug, Default)]
struct Lists {
    for_all: VecDeque<u64>,
    for_rooms: Map<Room, VecDeque<u64>>,
}

impl Lists {
    /// Returns the places for all, or for a room, from a place on.
    fn from(&self, room: Option<&str>, from: u64) -> impl Iterator<Item = u64> {
        let list = room.map_or(Some(&self.for_all), |room| self.for_rooms.get(room));
        list.into_iter().flat_map(move |list| list.range(list.partition_point(|known| *known < from)..).copied())
    }
}

impl EventLog {
    /// Returns an empty log. Entries at this shared place or before are missing.
    pub(crate) fn new(tag: NodeTag, behind: u64) -> Self {
        Self {
            tag,
            entries: VecDeque::new(),
            first: 0,
            mine: [VecDeque::new(), VecDeque::new()],
            lists: Map::default(),
            dropped: Dropped { own: 0, others: behind, all: behind },
            dropped_orders: Dropped { own: 0, others: behind, all: behind },
            orders: 0,
            bytes: 0,
        }
    }

    /// Notes that entries at this shared place or before may be missing.
    #[cfg(feature = "nats")]
    pub(crate) fn mark_missing_up_to(&mut self, place: u64) {
        self.dropped.mark_missing_up_to(place);
        self.dropped_orders.mark_missing_up_to(place);
    }

    /// Notes that entries of this node up to this number may be missing.
    pub(crate) fn mark_own_missing_up_to(&mut self, number: u64) {
        self.dropped.own = self.dropped.own.max(number);
        self.dropped_orders.own = self.dropped_orders.own.max(number);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns when the oldest removable entry came. An entry that waits for its shared place is not removable.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.front().filter(|(_, entry)| !entry.is_pending()).map(|(at, _)| *at)
    }

    /// Adds an event of this node to a shared history. The event's place may come behind those of later events.
    ///
    /// The place may be set already: the server can confirm an event before its sender adds it here.
    #[cfg(feature = "nats")]
    pub(crate) fn push_own(&mut self, entry: &Arc<Entry>, at: Instant) {
        let place = self.first + self.entries.len() as u64;
        self.mine[usize::from(entry.reach == Reach::Here)].push_back(place);
        self.push(entry, at);
    }

    /// Adds an event whose place is behind all earlier places.
    pub(crate) fn push(&mut self, entry: &Arc<Entry>, at: Instant) {
        let place = self.first + self.entries.len() as u64;
        self.bytes += entry.cost();
        self.orders += usize::from(entry.order.is_some());
        let lists = self.lists.entry(entry.namespace.clone()).or_default();
        if entry.target.rooms.is_empty() {
            lists.for_all.push_back(place);
        }
        for room in &entry.target.rooms {
            lists.for_rooms.entry(room.clone()).or_default().push_back(place);
        }
        self.entries.push_back((at, Arc::clone(entry)));
    }

    /// Drops the oldest.
    pub(crate) fn drop_oldest(&mut self) {
        let Some((_, entry)) = self.entries.pop_front() else { return };
        let gone = self.first;
        self.first += 1;
        self.bytes -= entry.cost();
        self.dropped.drop(&entry, self.tag);
        if entry.order.is_some() {
            self.orders -= 1;
            self.dropped_orders.drop(&entry, self.tag);
        }
        // The oldest entry is the first of each list. A room that was named twice lists it twice.
        let drop_from = |list: &mut VecDeque<u64>| while list.pop_front_if(|place| *place <= gone).is_some() {};
        self.mine.iter_mut().for_each(drop_from);
        let Some(lists) = self.lists.get_mut(&entry.namespace) else { return };
        if entry.target.rooms.is_empty() {
            drop_from(&mut lists.for_all);
        }
        for room in &entry.target.rooms {
            if let Some(list) = lists.for_rooms.get_mut(room) {
                drop_from(list);
                if list.is_empty() {
                    lists.for_rooms.remove(room);
                }
            }
        }
        if lists.for_all.is_empty() && lists.for_rooms.is_empty() {
            self.lists.remove(&entry.namespace);
        }
    }

    /// Drops entries that are too old.
    pub(crate) fn expire(&mut self, age: Duration, now: Instant) {
        while self.oldest().is_some_and(|at| now.duration_since(at) > age) {
            self.drop_oldest();
        }
    }

    /// Drops entries that are too old, then the oldest beyond the bound in bytes.
    #[cfg(feature = "nats")]
    pub(crate) fn trim(&mut self, age: Duration, bytes: usize, now: Instant) {
        self.expire(age, now);
        while self.bytes > bytes && self.oldest().is_some() {
            self.drop_oldest();
        }
    }

    pub(crate) fn shrink(&mut self) {
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to_fit();
        }
    }

    /// Returns true if no dropped entry can be missing at one of these positions.
    pub(crate) fn is_complete_behind(&self, known: &[Position]) -> bool {
        self.dropped.is_before(self.tag, known)
    }

    /// As [`is_complete_behind`](Self::is_complete_behind), for orders alone.
    pub(crate) fn has_orders_behind(&self, known: &[Position]) -> bool {
        self.dropped_orders.is_before(self.tag, known)
    }

    /// Returns the orders for a room, or for all, that a session at these positions lacks.
    pub(crate) fn orders(&self, session: &SavedSession, room: Option<&str>, known: &[Position]) -> Vec<Arc<Entry>> {
        let Some(lists) = self.lists.get(&session.namespace).filter(|_| self.orders > 0) else { return vec![] };
        let from = known.iter().map(|position| self.covered_up_to(position)).max().unwrap_or(self.first);
        // A lost order has no place. Sessions from before its loss are not recovered, and later ones are past it.
        let unknown =
            |entry: &&Arc<Entry>| entry.order.is_some() && !entry.is_lost() && !known.iter().any(|position| position.covers(&entry.mark()));
        lists.from(room, from).filter_map(|place| self.at(place)).filter(unknown).cloned().collect()
    }

    /// Returns the entry at a place of this log.
    fn at(&self, place: u64) -> Option<&Arc<Entry>> {
        self.entries.get((place - self.first) as usize).map(|(_, entry)| entry)
    }

    /// Returns the events for a session, except those that one of these positions covers.
    pub(crate) fn find(&self, session: &SavedSession, known: &[Position], stays: &Stays) -> Vec<Arc<Entry>> {
        let from = known.iter().map(|position| self.covered_up_to(position)).max().unwrap_or(self.first);
        let Some(lists) = self.lists.get(&session.namespace) else { return vec![] };
        let mut places: Vec<u64> = lists.from(None, from).collect();
        for room in stays.names() {
            places.extend(lists.from(Some(room), from));
        }
        places.sort_unstable();
        places.dedup();
        let for_it = |entry: &Arc<Entry>| {
            let mark = entry.mark();
            let Entry { target, .. } = &**entry;
            // Lost events were for sockets of this node alone.
            !entry.is_lost()
                && entry.order.is_none()
                && !known.iter().any(|position| position.covers(&mark))
                && (entry.reach == Reach::Everywhere || self.was_there(session, &mark))
                && (if target.rooms.is_empty() {
                    !session.since.covers(&mark)
                } else {
                    target.rooms.iter().any(|room| stays.visited(room, &mark))
                })
                && !target.except.iter().any(|room| stays.visited(room, &mark))
        };
        let found = places.iter().filter_map(|place| self.at(*place));
        found.filter(|entry| for_it(entry)).cloned().collect()
    }

    /// Returns the number of lists with entries of a namespace.
    #[cfg(test)]
    pub(crate) fn listed(&self, namespace: &str) -> usize {
        self.lists.get(namespace).map_or(0, |lists| lists.for_all.len() + lists.for_rooms.len())
    }

    /// Returns true if a session was on the node of an event for the node's own sockets.
    fn was_there(&self, session: &SavedSession, mark: &Position) -> bool {
        let during = |stay: &Stay| Some(stay.tag) == mark.tag && stay.from < mark.own && mark.own <= stay.to;
        // Without a shared history, the session was on no other node.
        session.past.is_empty() || session.past.iter().any(during)
    }

    /// Returns a place before which the position covers all entries.
    fn covered_up_to(&self, position: &Position) -> u64 {
        let reached = |entry: &Entry| entry.reached.place <= position.place;
        if position.tag == Some(self.tag) {
            return self.first + self.entries.partition_point(|(_, entry)| entry.reached.own <= position.own && reached(entry)) as u64;
        }
        let others = self.first + self.entries.partition_point(|(_, entry)| reached(entry)) as u64;
        // An entry of this node may stand behind later ones.
        let placed = |place: &u64| {
            let entry = self.entries.get((place - self.first) as usize);
            entry.is_none_or(|(_, entry)| entry.mark().place <= position.place)
        };
        let mine = self.mine.iter().filter_map(|mine| mine.get(mine.partition_point(placed)).copied()).min();
        mine.map_or(others, |mine| mine.min(others))
    }
}

/// Orders events by their shared places, and those of one publisher by their numbers. One batch of a publisher may span
/// two messages.
pub(crate) fn in_order(mut entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    entries.sort_by_key(|entry| entry.mark().place);
    let mut seen = sociable_protocol::maps::Set::default();
    entries.retain(|entry| seen.insert((entry.publisher, entry.number)));
    let mut by_publisher: Map<NodeTag, Vec<usize>> = Map::default();
    for (at, entry) in entries.iter().enumerate() {
        by_publisher.entry(entry.publisher).or_default().push(at);
    }
    for places in by_publisher.into_values() {
        let mut own: Vec<_> = places.iter().map(|at| Arc::clone(&entries[*at])).collect();
        own.sort_by_key(|entry| entry.number);
        places.into_iter().zip(own).for_each(|(at, entry)| entries[at] = entry);
    }
    entries
}

/// Returns the approximate memory of an event.
impl Entry {
    pub(crate) fn cost(&self) -> usize {
        let ordered: &[Room] = match &self.order {
            Some(Operation::Join(rooms) | Operation::Leave(rooms)) => rooms,
            _ => &[],
        };
        let rooms: usize = self.target.rooms.iter().chain(&self.target.except).chain(ordered).map(|room| room.len() + 64).sum();
        OVERHEAD + rooms + self.frames.len()
    }
}
