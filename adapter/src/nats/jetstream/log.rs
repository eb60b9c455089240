//! The events of the shared history, as far as one node knows them: what it sent, what came for all, what it has read of others.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use sociable_protocol::{Frames, NodeTag};

use super::offset::{self, Epoch, WIDTH};
use crate::history::shelf::{self, Shelf};
use crate::history::{OVERHEAD, Position};
use crate::nats::wire::{Kept, Publisher};
use crate::{Entry, Limits, Missed, SavedSession};

/// So many events may be in one message: the lower bits of a place tell which of them it is.
pub(super) const PER_MESSAGE: u64 = 1 << 12;
/// Publishers whose messages are counted.
const MAX_PUBLISHERS: usize = 10_000;

/// The place of an event in a message of the stream.
pub(super) fn place_in(sequence: u64, at: u64) -> u64 {
    sequence.saturating_mul(PER_MESSAGE).saturating_add(at)
}

/// The place behind all events of a message. There is no message 0.
fn place_behind(sequence: u64) -> u64 {
    if sequence == 0 { 0 } else { place_in(sequence, PER_MESSAGE - 1) }
}

/// Events, as far as a node knows them.
#[derive(Debug)]
pub(super) struct Log {
    me: NodeTag,
    epoch: Epoch,
    /// What this node sent, and what came for all.
    shelf: Shelf,
    /// What other nodes sent to their own sockets, of which some have come here.
    others: FxHashMap<NodeTag, Others>,
    /// The number of the last event of this node.
    number: u64,
    /// All for all nodes up to this place has been taken.
    place: u64,
    /// Messages of each publisher so far.
    messages: FxHashMap<Publisher, u64>,
}

#[derive(Debug)]
struct Others {
    shelf: Shelf,
    /// Up to this sequence it has been read.
    read: u64,
}

impl Log {
    pub(super) fn new(me: NodeTag, epoch: Epoch) -> Self {
        Self { me, epoch, shelf: Shelf::new(me, 0), others: FxHashMap::default(), number: 0, place: 0, messages: FxHashMap::default() }
    }

    /// The stream is another one, of which this message and those before are not here.
    pub(super) fn begin_anew(&mut self, epoch: Epoch, sequence: u64) {
        let number = self.number;
        *self = Self::new(self.me, epoch);
        self.number = number;
        self.shelf.owns_behind(number);
        self.begins_behind(sequence);
    }

    /// What is for all up to this message is not here.
    pub(super) fn begins_behind(&mut self, sequence: u64) {
        self.shelf.begins_behind(place_behind(sequence));
        self.has_taken(sequence);
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How far this node has got.
    pub(super) fn position(&self) -> Position {
        Position { tag: Some(self.me), own: self.number, place: self.place }
    }

    /// Up to this message of the stream all for all has been taken.
    pub(super) fn sequence(&self) -> u64 {
        self.place / PER_MESSAGE
    }

    /// Up to this message all for all has been taken.
    pub(super) fn has_taken(&mut self, sequence: u64) {
        self.place = self.place.max(place_behind(sequence));
    }

    /// Counts a message to all; true if one of its publisher is missing that came before it.
    pub(super) fn misses(&mut self, publisher: Publisher, message: u64) -> bool {
        if self.messages.len() >= MAX_PUBLISHERS && !self.messages.contains_key(&publisher) {
            self.messages.clear();
        }
        message > 0 && self.messages.insert(publisher, message).is_some_and(|last| message > last.saturating_add(1))
    }

    /// The offset of a position.
    pub(super) fn offset(&self, position: &Position) -> String {
        offset::write(self.epoch, position)
    }

    /// The number of the next event of this node, and how far one has got who has it.
    pub(super) fn next(&self) -> (u64, Position) {
        let number = self.number + 1;
        (number, Position { own: number, ..self.position() })
    }

    /// Adds the next event of this node.
    pub(super) fn add(&mut self, entry: &Arc<Entry>, limits: &Limits) {
        self.number = entry.number;
        let now = Instant::now();
        self.shelf.push(entry, now);
        self.trim(limits, now);
    }

    /// How far one has got who has the event at this place, which is the next that is taken.
    pub(super) fn reached(&self, place: u64) -> Position {
        Position { place, ..self.position() }
    }

    /// Takes the next event of another node. `None` if it is malformed.
    pub(super) fn take(&mut self, publisher: NodeTag, place: u64, kept: Kept, limits: &Limits) -> Option<Arc<Entry>> {
        let entry = Arc::new(self.read(publisher, place, kept, self.reached(place))?);
        let now = Instant::now();
        self.place = place;
        self.shelf.push(&entry, now);
        self.trim(limits, now);
        Some(entry)
    }

    /// Up to which message of the stream it has been read what a node sent to its own sockets.
    pub(super) fn has_read(&self, node: NodeTag) -> u64 {
        self.others.get(&node).map_or(0, |others| others.read)
    }

    /// Takes what a node sent to its own sockets, of a stream that begins with the message `first`.
    pub(super) fn take_others(&mut self, node: NodeTag, first: u64, sequence: u64, events: impl Iterator<Item = Kept>, limits: &Limits) {
        let new = || Others { shelf: Shelf::new(self.me, place_behind(first.saturating_sub(1))), read: 0 };
        let read = self.others.entry(node).or_insert_with(new).read;
        if sequence <= read {
            return;
        }
        let now = Instant::now();
        for (at, kept) in (0..PER_MESSAGE - 1).zip(events) {
            let place = place_in(sequence, at);
            let entry = self.read(node, place, kept, Position { tag: Some(self.me), own: 0, place });
            if let (Some(entry), Some(others)) = (entry, self.others.get_mut(&node)) {
                others.shelf.push(&Arc::new(entry), now);
            }
        }
        if let Some(others) = self.others.get_mut(&node) {
            others.read = sequence;
        }
        self.trim(limits, now);
    }

    /// An event out of its record, with the offset that clients of this node are shown.
    fn read(&self, publisher: NodeTag, place: u64, kept: Kept, reached: Position) -> Option<Entry> {
        let Kept { number, at, namespace, target, compress, frames } = kept;
        let mut bytes = frames.to_vec();
        if let Some(at) = at {
            bytes.get_mut(at..at.checked_add(WIDTH)?)?.copy_from_slice(self.offset(&reached).as_bytes());
        }
        let frames = Frames::read(Bytes::from(bytes))?;
        Some(Entry::new(namespace, target, frames, compress, number, reached, true).placed(publisher, place))
    }

    fn trim(&mut self, limits: &Limits, now: Instant) {
        self.shelf.trim(limits.event_age, limits.total_bytes, now);
        for others in self.others.values_mut() {
            others.shelf.trim(limits.event_age, limits.total_bytes / 4, now);
        }
    }

    pub(super) fn sweep(&mut self, limits: &Limits) {
        self.trim(limits, Instant::now());
        self.shelf.shrink();
        self.others.retain(|_, others| others.shelf.len() > 0);
    }

    /// Events, and the bytes that they take.
    pub(super) fn usage(&self) -> (usize, usize) {
        let shelves = || self.others.values().map(|others| &others.shelf).chain([&self.shelf]);
        (shelves().map(Shelf::len).sum(), shelves().map(Shelf::bytes).sum())
    }

    /// What a client shows that it has. An offset of another stream, or of an event that was not sent yet, says nothing.
    pub(super) fn seen(&self, offset: Option<&str>) -> Vec<Position> {
        let seen = offset.and_then(|offset| offset::read(self.epoch, offset)).unwrap_or_default();
        let made_up = |position: &Position| position.tag == Some(self.me) && position.own > self.number;
        if seen.iter().any(made_up) { vec![] } else { seen }
    }

    /// What a session has missed whose client has seen this. `None` if it can't be told completely, or is too much.
    pub(super) fn missed(&self, session: &SavedSession, seen: &[Position], limits: &Limits) -> Option<Missed> {
        let mut known = vec![session.since];
        known.extend(seen.iter().chain(&session.shown));
        if session.sent.is_none_or(|sent| known.iter().any(|position| position.covers(&sent))) {
            // It has all that it was sent, so that there is nothing for it up to where it was served.
            known.push(session.until);
        }
        let shelves = || self.others.values().map(|others| &others.shelf).chain([&self.shelf]);
        if !shelves().all(|shelf| shelf.is_complete_behind(&known)) {
            return None;
        }
        let entries = shelf::in_order(shelves().flat_map(|shelf| shelf.find(session, &known)).collect());
        let bytes: usize = entries.iter().map(|entry| entry.frames.len() + OVERHEAD).sum();
        if bytes > limits.session_bytes {
            return None;
        }
        // If the connection is lost again in the midst of all this, it has to be known which of it has come.
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
            offset::write_besides(self.epoch, &begin, &besides)
        });
        let offsets = offsets.collect();
        Some(Missed { entries, offsets, head: self.position() })
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
