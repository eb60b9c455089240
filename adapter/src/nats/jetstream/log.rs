//! The known part of the shared history: this node's events, those for all nodes, and private ones of other nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sociable_protocol::maps::Map;
use sociable_protocol::{Frames, NodeTag};

use super::offset::{self, Epoch, WIDTH};
use crate::history::event_log::{EventLog, in_order};
use crate::history::orders::apply_orders;
use crate::history::{OVERHEAD, Position};
use crate::nats::wire::{PersistedEvent, Publisher};
use crate::{Entry, Limits, Message, Missed, Reach, SavedSession, Stay};

/// Events of one message: the lower bits of a place are the number of the event within it.
pub(crate) const PER_MESSAGE: u64 = 1 << 12;
/// Nodes whose read position is remembered though none of their private events is left.
const MAX_PRIVATE: usize = 1024;
/// Publishers whose messages are counted.
const MAX_PUBLISHERS: usize = 10_000;
/// The time that a publisher has to announce its lost events in the stream. A publisher that takes longer is dead.
const MAX_HOLE: Duration = Duration::from_secs(120);

/// Returns the place of an event in a message of the stream.
pub(crate) fn place_in(sequence: u64, at: u64) -> u64 {
    sequence.saturating_mul(PER_MESSAGE).saturating_add(at)
}

/// Returns the place behind all events of a message. Messages count from 1.
fn place_behind(sequence: u64) -> u64 {
    if sequence == 0 { 0 } else { place_in(sequence, PER_MESSAGE - 1) }
}

/// The known part of the shared history.
#[derive(Debug)]
pub(crate) struct StreamLog {
    me: NodeTag,
    epoch: Epoch,
    /// Events of this node, and those for all nodes.
    events: EventLog,
    /// Private events of other nodes, whose sockets have come here.
    others: Map<NodeTag, PrivateEvents>,
    /// The number of the last event of this node.
    number: u64,
    /// The place up to which all events for all nodes are here.
    place: u64,
    /// The last place before this node started. Events up to it are not for sockets that connected here.
    began: u64,
    /// True while the stream does not announce yet that events of this node are lost. Until then no session can be recovered.
    owes_loss_notice: bool,
    /// Publishers of unpersisted events, and when they sent the last. Each announces it in the stream: until then no session can be recovered.
    holes: Map<Publisher, Instant>,
    /// The last message of each publisher.
    messages: Map<Publisher, u64>,
}

/// The relation of a message to the earlier one of its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    Next,
    /// Messages between them are lost.
    Gap,
    /// The message came before.
    Again,
}

/// A record that is delivered without being persisted.
pub(crate) enum Unpersisted {
    Event(PersistedEvent),
    Order(Message),
}

/// Events of another node for its own sockets.
#[derive(Debug)]
struct PrivateEvents {
    events: EventLog,
    /// The sequence up to which they have been read, and the number of the last.
    read: u64,
    number: u64,
}

impl PrivateEvents {
    fn new(me: NodeTag) -> Self {
        Self { events: EventLog::new(me, 0), read: 0, number: 0 }
    }
}

impl StreamLog {
    /// Returns an empty log of a stream whose last message is `last`.
    pub(crate) fn new(me: NodeTag, epoch: Epoch, last: u64) -> Self {
        Self {
            me,
            epoch,
            events: EventLog::new(me, 0),
            others: Map::default(),
            number: 0,
            place: 0,
            began: place_behind(last),
            owes_loss_notice: false,
            holes: Map::default(),
            messages: Map::default(),
        }
    }

    /// Starts again with another stream, of which this message and those before are missing.
    pub(crate) fn restart(&mut self, epoch: Epoch, sequence: u64) {
        // A number that no event has: positions grow though the places start again.
        let number = self.number + 1;
        // The stream may hold messages that were delivered before: an older copy does.
        let messages = std::mem::take(&mut self.messages);
        *self = Self { messages, number, ..Self::new(self.me, epoch, 0) };
        self.events.mark_own_missing_up_to(number);
        self.forget_up_to(sequence);
    }

    /// Notes that events for all up to this message are missing.
    pub(crate) fn forget_up_to(&mut self, sequence: u64) {
        self.break_off_at(sequence);
        self.advance_to(sequence);
    }

    /// Notes that events are missing before this message, or in it.
    pub(crate) fn break_off_at(&mut self, sequence: u64) {
        self.events.mark_missing_up_to(place_behind(sequence));
    }

    /// Notes that events of this node up to this number are lost for the others. Currently disconnected sessions are
    /// not recovered.
    pub(crate) fn note_own_loss(&mut self, number: u64) {
        self.events.mark_own_missing_up_to(number);
        self.events.mark_missing_up_to(self.position().place);
    }

    /// Notes whether a record of the stream will announce lost events of this node.
    pub(crate) fn owe_loss_notice(&mut self, owes: bool) {
        self.owes_loss_notice |= owes;
    }

    /// Notes the place at which a publisher announces its lost events. All nodes agree on it.
    pub(crate) fn note_loss_notice(&mut self, publisher: Publisher, sequence: u64) {
        self.owes_loss_notice &= publisher.tag != self.me;
        self.holes.remove(&publisher);
        self.break_off_at(sequence);
    }

    /// Notes unpersisted events of a publisher. Their place is unknown until the publisher announces them in the stream.
    pub(crate) fn note_hole(&mut self, publisher: Publisher) {
        // Beyond the bound, any publisher stands for the rest: one is enough.
        let full = self.holes.len() >= MAX_PUBLISHERS;
        let key = self.holes.keys().next().copied().filter(|_| full).unwrap_or(publisher);
        self.holes.insert(key, Instant::now());
    }

    /// Returns true while a publisher has not announced its lost events.
    fn has_holes(&mut self) -> bool {
        if self.holes.is_empty() {
            return false;
        }
        // By now, all positions that clients can have shown are here.
        let here = self.place;
        let known = self.holes.len();
        self.holes.retain(|_, at| at.elapsed() < MAX_HOLE);
        if self.holes.len() < known {
            self.events.mark_missing_up_to(here);
        }
        true
    }

    /// Appends an unpersisted event or order of another node. For sockets of this node, its publisher is this node.
    pub(crate) fn append_unpersisted(&mut self, what: Unpersisted) -> Option<Arc<Entry>> {
        let (number, reached) = self.next_position();
        let entry = match what {
            Unpersisted::Event(event) => {
                self.decode_event(self.me, Entry::LOST, PersistedEvent { number, ..event }, reached, Reach::Here)?
            }
            Unpersisted::Order(order) => Entry::order(order, number, reached, true).placed(self.me, Entry::LOST),
        };
        self.number = number;
        self.note_own_loss(number);
        Some(Arc::new(entry))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the position of this node.
    pub(crate) fn position(&self) -> Position {
        Position { tag: Some(self.me), own: self.number, place: self.place.max(self.began) }
    }

    /// Returns the message of the stream up to which all events for all nodes are here.
    pub(crate) fn sequence(&self) -> u64 {
        self.place / PER_MESSAGE
    }

    /// Notes that all events for all nodes up to this message are here.
    pub(crate) fn advance_to(&mut self, sequence: u64) {
        self.place = self.place.max(place_behind(sequence));
    }

    /// Returns the relation of a message to all to the earlier one of its publisher.
    pub(crate) fn follows(&self, publisher: Publisher, message: u64) -> Follows {
        match self.messages.get(&publisher) {
            _ if message == 0 => Follows::Next,
            Some(last) if message <= *last => Follows::Again,
            Some(last) if message > last.saturating_add(1) => Follows::Gap,
            _ => Follows::Next,
        }
    }

    /// Counts a message to all, and returns its relation to the earlier one of its publisher.
    pub(crate) fn count(&mut self, publisher: Publisher, message: u64) -> Follows {
        if self.messages.len() >= MAX_PUBLISHERS && !self.messages.contains_key(&publisher) {
            self.messages.clear();
        }
        let follows = self.follows(publisher, message);
        if message > 0 && follows != Follows::Again {
            self.messages.insert(publisher, message);
        }
        follows
    }

    /// Returns the offset of a position.
    pub(crate) fn offset(&self, position: &Position) -> String {
        offset::encode(self.epoch, position)
    }

    /// Returns the number of the next event of this node, and the position of a client that has it.
    pub(crate) fn next_position(&self) -> (u64, Position) {
        let number = self.number + 1;
        (number, Position { own: number, ..self.position() })
    }

    /// Appends the next event of this node.
    pub(crate) fn append_local(&mut self, entry: &Arc<Entry>, limits: &Limits) {
        self.number = entry.number;
        let now = Instant::now();
        self.events.push_own(entry, now);
        self.trim(limits, now);
    }

    /// Returns the position of a client that has the event at this place, which is the next.
    pub(crate) fn reached(&self, place: u64) -> Position {
        Position { place: place.max(self.began), ..self.position() }
    }

    /// Appends the next event of another node. Returns `None` if it is malformed.
    pub(crate) fn append_remote(&mut self, publisher: NodeTag, place: u64, event: PersistedEvent, limits: &Limits) -> Option<Arc<Entry>> {
        let entry = Arc::new(self.decode_event(publisher, place, event, self.reached(place), Reach::Everywhere)?);
        let now = Instant::now();
        self.place = place;
        self.events.push(&entry, now);
        self.trim(limits, now);
        Some(entry)
    }

    /// Appends the next order of another node. Orders of processes without sockets have no number.
    pub(crate) fn append_remote_order(
        &mut self,
        publisher: NodeTag,
        place: u64,
        number: Option<u64>,
        order: Message,
        limits: &Limits,
    ) -> Arc<Entry> {
        // The publisher serves no clients, so the place alone decides which sessions have the order.
        let (publisher, number) = number.map_or_else(|| (NodeTag::random(), place), |number| (publisher, number));
        let entry = Entry::order(order, number, self.reached(place), true).placed(publisher, place);
        let (entry, now) = (Arc::new(entry), Instant::now());
        self.place = place;
        self.events.push(&entry, now);
        self.trim(limits, now);
        entry
    }

    /// Returns the message up to which the private events of a node have been read.
    pub(crate) fn private_read_of(&self, node: NodeTag) -> u64 {
        self.others.get(&node).map_or(0, |others| others.read)
    }

    /// Returns the number of the last known private event of a node.
    pub(crate) fn last_private_of(&self, node: NodeTag) -> u64 {
        if node == self.me { self.number } else { self.others.get(&node).map_or(0, |others| others.number) }
    }

    /// Appends private events of a node. Events before its first appended message are missing.
    pub(crate) fn append_private(&mut self, node: NodeTag, sequence: u64, events: impl Iterator<Item = PersistedEvent>, limits: &Limits) {
        let read = self.others.entry(node).or_insert_with(|| PrivateEvents::new(self.me)).read;
        if sequence <= read {
            return;
        }
        let now = Instant::now();
        for (at, event) in (0..PER_MESSAGE - 1).zip(events) {
            let place = place_in(sequence, at);
            let entry = self.decode_event(node, place, event, Position { tag: Some(self.me), own: 0, place }, Reach::Here);
            if let (Some(entry), Some(others)) = (entry, self.others.get_mut(&node)) {
                others.number = others.number.max(entry.number);
                others.events.push(&Arc::new(entry), now);
            }
        }
        if let Some(others) = self.others.get_mut(&node) {
            others.read = sequence;
        }
        self.trim(limits, now);
    }

    /// Notes that private events of a node up to this message may be missing.
    pub(crate) fn mark_private_missing_up_to(&mut self, node: NodeTag, sequence: u64) {
        let others = self.others.entry(node).or_insert_with(|| PrivateEvents::new(self.me));
        others.events.mark_missing_up_to(place_behind(sequence));
    }

    /// Decodes an event, and sets the offset that clients of this node are shown.
    fn decode_event(&self, publisher: NodeTag, place: u64, event: PersistedEvent, reached: Position, reach: Reach) -> Option<Entry> {
        let PersistedEvent { number, at, namespace, target, compress, frames } = event;
        let mut bytes = Vec::from(frames);
        if let Some(at) = at {
            bytes.get_mut(at..at.checked_add(WIDTH)?)?.copy_from_slice(self.offset(&reached).as_bytes());
        }
        let frames = Frames::read(Bytes::from(bytes))?;
        Some(Entry::new(namespace, target, frames, compress, number, reached, true).placed(publisher, place).reaching(reach))
    }

    fn trim(&mut self, limits: &Limits, now: Instant) {
        self.events.trim(limits.event_age, limits.total_bytes, now);
        for others in self.others.values_mut() {
            others.events.trim(limits.event_age, limits.total_bytes / 4, now);
        }
    }

    pub(crate) fn sweep(&mut self, limits: &Limits) {
        self.trim(limits, Instant::now());
        self.has_holes();
        self.events.shrink();
        if self.others.len() > MAX_PRIVATE {
            self.others.retain(|_, others| others.events.len() > 0);
        }
    }

    /// Returns the number of events, and their memory in bytes.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let logs = || self.others.values().map(|others| &others.events).chain([&self.events]);
        (logs().map(EventLog::len).sum(), logs().map(EventLog::bytes).sum())
    }

    /// Returns the positions that a client shows, or `None` if its offset can't be of this stream. A client that
    /// `got_none` of the session's events may show the offset of an earlier session.
    pub(crate) fn decode_offset(&self, offset: Option<&str>, got_none: bool) -> Option<Vec<Position>> {
        let Some(offset) = offset else { return Some(vec![]) };
        if got_none && offset::is_foreign(self.epoch, offset) {
            return Some(vec![]);
        }
        let seen = offset::decode(self.epoch, offset)?;
        let made_up = |position: &Position| position.tag == Some(self.me) && position.own > self.number;
        (!seen.iter().any(made_up)).then_some(seen)
    }

    /// Returns the missed events of a session whose client has these positions. Returns `None` if they are incomplete
    /// or too many.
    pub(crate) fn missed(&mut self, session: &SavedSession, seen: &[Position], limits: &Limits) -> Option<Missed> {
        let mut known = vec![session.since];
        known.extend(seen.iter().chain(&session.shown));
        if session.sent.is_none_or(|sent| known.iter().any(|position| position.covers(&sent))) {
            // A client that got all its sent events lacks none up to `until`: the rest were for others.
            known.push(session.until);
        }
        // Positions of a former stream are ignored.
        let head = self.position();
        // Clients may have got further than this node knows on other nodes, but not on this one.
        let is_beyond = |position: &Position| position.place > head.place || position.tag == head.tag && position.own > head.own;
        let made_up = seen.iter().any(is_beyond);
        if made_up || self.owes_loss_notice || self.has_holes() || session.since.place > head.place || session.until.place > head.place {
            return None;
        }
        let others = |tag: &NodeTag| self.others.get(tag).map(|others| &others.events);
        let mut tags: Vec<NodeTag> = session.past.iter().map(|stay| stay.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        let logs = || tags.iter().filter_map(others).chain([&self.events]);
        if !logs().all(|events| events.is_complete_behind(&known)) || !session.left_rooms.is_complete_behind(&known) {
            return None;
        }
        // Orders are for all nodes.
        let stays = apply_orders(&self.events, session)?;
        let entries = in_order(logs().flat_map(|events| events.find(session, &known, &stays)).collect());
        let bytes: usize = entries.iter().map(|entry| entry.frames.len() + OVERHEAD).sum();
        if bytes > limits.session_bytes {
            return None;
        }
        // If the connection is lost again meanwhile, the offset shows which of the events have come.
        let mut begin = seen.first().copied().unwrap_or(session.since);
        let mut besides: Vec<(NodeTag, u64)> = seen.iter().skip(1).filter_map(|position| Some((position.tag?, position.own))).collect();
        let offsets = entries.iter().map(|entry| {
            if begin.tag == Some(entry.publisher) {
                begin.own = begin.own.max(entry.number);
            } else if let Some((_, own)) = besides.iter_mut().find(|(tag, _)| *tag == entry.publisher) {
                *own = (*own).max(entry.number);
            } else {
                besides.push((entry.publisher, entry.number));
            }
            offset::encode_besides(self.epoch, &begin, &besides)
        });
        let offsets = offsets.collect();
        let own_is_listed = stays.own_is_listed();
        let (rooms, left_rooms) = stays.into_rooms(&known);
        let missed = Missed { entries, offsets, head, rooms, own_is_listed, left_rooms };
        (besides.len() <= offset::MAX_BESIDES).then_some(missed)
    }
}

/// Returns the needed stays of a session: the current one, and those with private events among the missed ones. The
/// client has the events of the other stays, or they were not for the session.
pub(crate) fn unfinished_stays(past: &[Stay], missed: &Missed) -> Vec<Stay> {
    let is_of = |stay: &Stay, entry: &Entry| {
        entry.reach == Reach::Here && entry.publisher == stay.tag && stay.from < entry.number && entry.number <= stay.to
    };
    let is_needed = |stay: &&Stay| stay.to == u64::MAX || missed.entries.iter().any(|entry| is_of(stay, entry));
    past.iter().filter(is_needed).copied().collect()
}

#[cfg(test)]
mod tests;
