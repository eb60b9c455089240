//! Events in the order in which a node got them, with an index by receivers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use sociable_protocol::NodeTag;

use super::stays::Stays;
use super::{Entry, OVERHEAD, Position, Reach, SavedSession, Stay};
use crate::maps::Map;
use crate::message::{Operation, Room};

/// Events in their order. A returning client's are found by its rooms, without a look at those of others: emitting waits for the same lock.
#[derive(Debug)]
pub(crate) struct EventLog {
    /// Whose positions its entries were reached at.
    tag: NodeTag,
    entries: VecDeque<(Instant, Arc<Entry>)>,
    /// Where the first of them stands among all that ever were here.
    first: u64,
    /// Where this node's own events stand in a shared history: those for all nodes, and those for its own sockets. Each list has its shared places in
    /// ascending order.
    mine: [VecDeque<u64>; 2],
    /// By namespace, where those for all of it and, by room, those for rooms stand. The oldest are the first.
    lists: Map<ByteString, Lists>,
    /// The last that was dropped: of this node, of others, and of all by their shared places.
    dropped: Dropped,
    /// The same of orders alone.
    dropped_orders: Dropped,
    /// How many orders are here.
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
    fn begins_behind(&mut self, place: u64) {
        self.others = self.others.max(place);
        self.all = self.all.max(place);
    }

    /// An entry is dropped from the log of a node.
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

    /// True if nothing was dropped that somebody who has got to one of these positions may not have.
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
    /// Those for all, or for a room, from here on.
    fn from(&self, room: Option<&str>, from: u64) -> impl Iterator<Item = u64> {
        let list = room.map_or(Some(&self.for_all), |room| self.for_rooms.get(room));
        list.into_iter().flat_map(move |list| list.range(list.partition_point(|known| *known < from)..).copied())
    }
}

impl EventLog {
    /// An empty log. Entries at this shared place or before are missing.
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
    pub(crate) fn begins_behind(&mut self, place: u64) {
        self.dropped.begins_behind(place);
        self.dropped_orders.begins_behind(place);
    }

    /// Notes that entries of this node up to this number may be missing.
    pub(crate) fn owns_behind(&mut self, number: u64) {
        self.dropped.own = self.dropped.own.max(number);
        self.dropped_orders.own = self.dropped_orders.own.max(number);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest came that may go: one that still waits for its shared place may not.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.front().filter(|(_, entry)| !entry.is_pending()).map(|(at, _)| *at)
    }

    /// Adds an event of this node to a shared history. Its place may come behind those of later events.
    ///
    /// The place may be known already: the server can confirm an event while its sender is still about to add it here.
    #[cfg(feature = "nats")]
    pub(crate) fn push_own(&mut self, entry: &Arc<Entry>, at: Instant) {
        let place = self.first + self.entries.len() as u64;
        self.mine[usize::from(entry.reach == Reach::Here)].push_back(place);
        self.push(entry, at);
    }

    /// Adds an event whose place stands behind those of all before it.
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
        // The oldest entry is the first of each list. A room that was named twice has it twice.
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

    /// Drops what is too old.
    pub(crate) fn expire(&mut self, age: Duration, now: Instant) {
        while self.oldest().is_some_and(|at| now.duration_since(at) > age) {
            self.drop_oldest();
        }
    }

    /// Drops what is too old, then what is too much.
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

    /// True if nothing has been dropped that somebody who has got to one of these positions may not have.
    pub(crate) fn is_complete_behind(&self, known: &[Position]) -> bool {
        self.dropped.is_before(self.tag, known)
    }

    /// As [`is_complete_behind`](Self::is_complete_behind), of orders alone.
    pub(crate) fn has_orders_behind(&self, known: &[Position]) -> bool {
        self.dropped_orders.is_before(self.tag, known)
    }

    /// The orders for a room, or for all, that a session does not know which has got to these positions.
    pub(crate) fn orders(&self, session: &SavedSession, room: Option<&str>, known: &[Position]) -> Vec<Arc<Entry>> {
        let Some(lists) = self.lists.get(&session.namespace).filter(|_| self.orders > 0) else { return vec![] };
        let from = known.iter().map(|position| self.surely_behind(position)).max().unwrap_or(self.first);
        // An order that is lost has no place: sessions that it was for are not recovered, and those saved later do not know it.
        let unknown =
            |entry: &&Arc<Entry>| entry.order.is_some() && !entry.is_lost() && !known.iter().any(|position| position.covers(&entry.mark()));
        lists.from(room, from).filter_map(|place| self.at(place)).filter(unknown).cloned().collect()
    }

    /// The entry at a place of this log.
    fn at(&self, place: u64) -> Option<&Arc<Entry>> {
        self.entries.get((place - self.first) as usize).map(|(_, entry)| entry)
    }

    /// The events for a session but for those that it has got who has got to all these positions.
    pub(crate) fn find(&self, session: &SavedSession, known: &[Position], stays: &Stays) -> Vec<Arc<Entry>> {
        let from = known.iter().map(|position| self.surely_behind(position)).max().unwrap_or(self.first);
        let Some(lists) = self.lists.get(&session.namespace) else { return vec![] };
        let mut places: Vec<u64> = lists.from(None, from).chain(lists.from(Some(session.id.as_str()), from)).collect();
        for room in stays.names() {
            places.extend(lists.from(Some(room), from));
        }
        places.sort_unstable();
        places.dedup();
        let visited = |room: &str, mark: &Position| {
            if room == session.id.as_str() {
                return !session.since.covers(mark);
            }
            stays.visited(room, mark)
        };
        let for_it = |entry: &Arc<Entry>| {
            let mark = entry.mark();
            let Entry { target, .. } = &**entry;
            // Lost events are for sockets that were there alone.
            !entry.is_lost()
                && entry.order.is_none()
                && !known.iter().any(|position| position.covers(&mark))
                && (entry.reach == Reach::Everywhere || self.was_there(session, &mark))
                && (if target.rooms.is_empty() {
                    !session.since.covers(&mark)
                } else {
                    target.rooms.iter().any(|room| visited(room, &mark))
                })
                && !target.except.iter().any(|room| visited(room, &mark))
        };
        let found = places.iter().filter_map(|place| self.at(*place));
        found.filter(|entry| for_it(entry)).cloned().collect()
    }

    /// How many lists have something of a namespace, that for all by its length.
    #[cfg(test)]
    pub(crate) fn listed(&self, namespace: &str) -> usize {
        self.lists.get(namespace).map_or(0, |lists| lists.for_all.len() + lists.for_rooms.len())
    }

    /// True if a session was on the node of an event for the node's own sockets.
    fn was_there(&self, session: &SavedSession, mark: &Position) -> bool {
        let during = |stay: &Stay| Some(stay.tag) == mark.tag && stay.from < mark.own && mark.own <= stay.to;
        // Where nodes do not share their histories, it was nowhere else.
        session.past.is_empty() || session.past.iter().any(during)
    }

    /// All before this is covered by the position.
    fn surely_behind(&self, position: &Position) -> u64 {
        let reached = |entry: &Entry| entry.reached.place <= position.place;
        if position.tag == Some(self.tag) {
            return self.first + self.entries.partition_point(|(_, entry)| entry.reached.own <= position.own && reached(entry)) as u64;
        }
        let others = self.first + self.entries.partition_point(|(_, entry)| reached(entry)) as u64;
        // This node's own may stand behind what came after them.
        let placed = |place: &u64| {
            let entry = self.entries.get((place - self.first) as usize);
            entry.is_none_or(|(_, entry)| entry.mark().place <= position.place)
        };
        let mine = self.mine.iter().filter_map(|mine| mine.get(mine.partition_point(placed)).copied()).min();
        mine.map_or(others, |mine| mine.min(others))
    }
}

/// Orders events by their shared places, those of one publisher by their numbers: what it sent together may stand in two messages.
pub(crate) fn in_order(mut entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    entries.sort_by_key(|entry| entry.mark().place);
    let mut seen = crate::maps::Set::default();
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

/// The approximate memory of an event.
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
