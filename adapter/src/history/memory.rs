//! The history of one node, in its memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{BoxFuture, FutureExt, ready};
use parking_lot::Mutex;
use sociable_protocol::maps::Map;
use sociable_protocol::{Id, NodeTag, Value};

use super::event_log::EventLog;
use super::orders::apply_orders;
use super::{Entry, History, Limits, Missed, NewEvent, OVERHEAD, Position, SavedSession, Usage};
use crate::AdapterError;
use crate::message::Message;

/// Events and sessions of one node in memory, within [`Limits`].
///
/// All namespaces share one sequence.
#[derive(Debug)]
pub struct MemoryHistory {
    limits: Limits,
    /// Distinguishes the offsets of this history from those of another, which clients may still show.
    epoch: NodeTag,
    contents: Mutex<Contents>,
}

#[derive(Debug)]
struct Contents {
    /// The number of the newest event.
    head: u64,
    events: EventLog,
    sessions: Map<Id, Lost>,
    /// The time of each session's loss, oldest first. Some of them have been claimed since.
    saved: VecDeque<(Instant, Id)>,
    /// The memory of the sessions.
    bytes: usize,
}

#[derive(Debug)]
struct Lost {
    session: SavedSession,
    at: Instant,
    cost: usize,
}

impl MemoryHistory {
    /// Returns an empty history.
    pub fn new(limits: Limits) -> Self {
        let epoch = NodeTag::random();
        let contents = Contents { head: 0, events: EventLog::new(epoch, 0), sessions: Map::default(), saved: VecDeque::new(), bytes: 0 };
        Self { limits, epoch, contents: Mutex::new(contents) }
    }

    /// Gives an entry the next place, and delivers it under the same lock.
    fn append_with(&self, write: impl FnOnce(u64, Position) -> Entry, deliver: &mut dyn FnMut(&Arc<Entry>)) {
        let mut contents = self.contents.lock();
        let number = contents.head + 1;
        let entry = Arc::new(write(number, self.position(number)));
        contents.add(&entry, &self.limits);
        deliver(&entry);
    }

    fn position(&self, own: u64) -> Position {
        Position { tag: Some(self.epoch), own, place: own }
    }

    fn decode_offset(&self, offset: &str) -> Option<u64> {
        let number = offset.strip_prefix(self.epoch.as_str())?.strip_prefix('.')?.parse().ok()?;
        // Other spellings of the number were never given out.
        (self.offset(&self.position(number)) == offset).then_some(number)
    }

    /// Returns true for an offset of another history.
    fn is_foreign(&self, offset: &str) -> bool {
        let read = offset.split_once('.').and_then(|(epoch, number)| Some((NodeTag::try_from(epoch).ok()?, number.parse::<u64>().ok()?)));
        read.is_some_and(|(epoch, _)| epoch != self.epoch)
    }
}

impl Contents {
    /// Adds the next entry.
    fn add(&mut self, entry: &Arc<Entry>, limits: &Limits) {
        let now = Instant::now();
        self.head = entry.number;
        self.events.push(entry, now);
        self.trim(limits, now);
    }

    fn drop_session(&mut self) {
        if let Some((at, pid)) = self.saved.pop_front()
            && self.sessions.get(&pid).is_some_and(|lost| lost.at == at)
        {
            self.forget(&pid);
        }
    }

    fn forget(&mut self, pid: &Id) -> Option<SavedSession> {
        let lost = self.sessions.remove(pid)?;
        self.bytes -= lost.cost;
        // A client that comes and goes must leave no trail.
        if self.saved.len() > 64 + 2 * self.sessions.len() {
            let sessions = &self.sessions;
            self.saved.retain(|(at, pid)| sessions.get(pid).is_some_and(|lost| lost.at == *at));
        }
        Some(lost.session)
    }

    /// Drops entries that are too old, then the oldest beyond the bound in bytes.
    fn trim(&mut self, limits: &Limits, now: Instant) {
        self.events.expire(limits.event_age, now);
        while self.saved.front().is_some_and(|(at, _)| now.duration_since(*at) > limits.session_age) {
            self.drop_session();
        }
        while self.events.bytes() + self.bytes > limits.total_bytes {
            match (self.events.oldest(), self.saved.front()) {
                (Some(event), Some((session, _))) if *session < event => self.drop_session(),
                (Some(_), _) => self.events.drop_oldest(),
                (None, Some(_)) => self.drop_session(),
                (None, None) => return,
            }
        }
    }
}

impl History for MemoryHistory {
    fn append(&self, event: NewEvent<'_>, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError> {
        let NewEvent { namespace, target, compress, write, .. } = event;
        let write_entry = |number, reached| {
            let frames = write(&self.offset(&reached));
            Entry::new(namespace.clone(), target, frames, compress, number, reached, false)
        };
        self.append_with(write_entry, deliver);
        Ok(())
    }

    fn append_order(&self, order: Message, deliver: &mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError> {
        self.append_with(|number, reached| Entry::order(order, number, reached, false), deliver);
        Ok(())
    }

    fn head(&self) -> Position {
        self.position(self.contents.lock().head)
    }

    fn offset(&self, position: &Position) -> String {
        format!("{}.{}", self.epoch.as_str(), position.own)
    }

    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed> {
        let contents = self.contents.lock();
        let received = match offset {
            // Clients keep the offset of an earlier session until they get an event.
            Some(offset) if session.sent.is_none() && self.is_foreign(offset) => 0,
            Some(offset) => self.decode_offset(offset).filter(|number| *number <= contents.head)?,
            None => 0,
        };
        let mut known = vec![session.since, self.position(received)];
        if session.sent.is_none_or(|sent| known.iter().any(|position| position.covers(&sent))) {
            // A client that got all its sent events lacks none up to `until`: the rest were for others.
            known.push(session.until);
        }
        if !contents.events.is_complete_behind(&known) || !session.left_rooms.is_complete_behind(&known) {
            return None;
        }
        let stays = apply_orders(&contents.events, session)?;
        let entries = contents.events.find(session, &known, &stays);
        let head = self.position(contents.head);
        drop(contents);
        let bytes: usize = entries.iter().map(|entry| entry.frames.len() + OVERHEAD).sum();
        let own_is_listed = stays.own_is_listed();
        let (rooms, left_rooms) = stays.into_rooms(&known);
        let missed = Missed { entries, offsets: vec![], head, rooms, own_is_listed, left_rooms };
        (bytes <= self.limits.session_bytes).then_some(missed)
    }

    fn save(&self, session: SavedSession) -> bool {
        let cost = session.cost();
        if cost > self.limits.session_bytes {
            return false;
        }
        let (pid, at) = (session.pid, session.lost.unwrap_or_else(Instant::now));
        let mut contents = self.contents.lock();
        contents.forget(&pid);
        contents.sessions.insert(pid, Lost { session, at, cost });
        // A new loss is nearly always the newest. A returned session has an earlier one.
        let place = contents.saved.partition_point(|(saved, _)| *saved <= at);
        contents.saved.insert(place, (at, pid));
        contents.bytes += cost;
        contents.trim(&self.limits, Instant::now());
        true
    }

    fn mark_incomplete(&self) {
        let mut contents = self.contents.lock();
        // The next event is the first of a complete run.
        contents.head += 1;
        let head = contents.head;
        contents.events.mark_own_missing_up_to(head);
    }

    fn holds(&self, pid: &Id) -> bool {
        self.contents.lock().sessions.contains_key(pid)
    }

    fn claim_session(&self, namespace: &str, pid: &Id, _: Option<&str>) -> BoxFuture<'static, Option<SavedSession>> {
        let mut contents = self.contents.lock();
        contents.trim(&self.limits, Instant::now());
        let mine = contents.sessions.get(pid).is_some_and(|lost| *lost.session.namespace == *namespace);
        ready(if mine { contents.forget(pid) } else { None }).boxed()
    }

    fn sweep(&self) {
        let mut contents = self.contents.lock();
        contents.trim(&self.limits, Instant::now());
        let contents = &mut *contents;
        contents.events.shrink();
        if contents.sessions.len() < contents.sessions.capacity() / 8 {
            contents.sessions.shrink_to_fit();
            contents.saved.shrink_to_fit();
        }
    }

    fn usage(&self) -> Usage {
        let contents = self.contents.lock();
        Usage { events: contents.events.len(), sessions: contents.sessions.len(), bytes: contents.events.bytes() + contents.bytes }
    }
}

impl SavedSession {
    /// Returns its approximate memory.
    pub(crate) fn cost(&self) -> usize {
        let names = self.rooms.iter().map(|(room, _)| room).chain(self.left_rooms.iter().map(|left| &left.room));
        let rooms: usize = names.map(|room| room.len() + 64).sum();
        OVERHEAD + rooms + self.data.as_ref().map_or(0, weight)
    }
}

/// Returns the approximate memory of a value.
fn weight(value: &Value) -> usize {
    let own = size_of::<Value>();
    own + match value {
        Value::String(text) => text.len(),
        Value::Binary(bytes) => bytes.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| size_of::<String>() + name.len() + weight(value)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
