//! The history of one node, in its memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sociable_protocol::{Frames, Id, NodeTag, Value};

use super::{Entry, History, Limits, Missed, SavedSession, Usage};
use crate::message::{Room, Target};

/// What an event or a session takes besides its contents, about.
const OVERHEAD: usize = 256;

/// Keeps events and sessions in memory, within [`Limits`].
///
/// All namespaces share one sequence of places, and the oldest event is the first. What somebody missed is found by the places of its rooms,
/// without a look at what was for others: emitting waits for the same lock.
#[derive(Debug)]
pub struct MemoryHistory {
    limits: Limits,
    /// Tells the offsets of this history from those of others, which clients may still show.
    epoch: NodeTag,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The place of the newest event.
    head: u64,
    /// The last events, without a gap: the last has the place `head`.
    events: VecDeque<(Instant, Arc<Entry>)>,
    /// By namespace, the places of events for all of it and, by room, of those for rooms. The oldest are the first.
    places: FxHashMap<ByteString, Places>,
    sessions: HashMap<Id, Lost>,
    /// When each session was lost, oldest first. Some have been taken since.
    saved: VecDeque<(Instant, Id)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Places {
    for_all: VecDeque<u64>,
    for_rooms: FxHashMap<Room, VecDeque<u64>>,
}

impl Places {
    /// The places for all, or for a room, behind this one.
    fn behind(&self, room: Option<&str>, place: u64) -> impl Iterator<Item = u64> {
        let places = room.map_or(Some(&self.for_all), |room| self.for_rooms.get(room));
        places.into_iter().flat_map(move |places| places.range(places.partition_point(|known| *known <= place)..).copied())
    }
}

#[derive(Debug)]
struct Lost {
    session: SavedSession,
    at: Instant,
    cost: usize,
}

impl MemoryHistory {
    /// An empty history.
    pub fn new(limits: Limits) -> Self {
        Self { limits, epoch: NodeTag::random(), kept: Mutex::default() }
    }

    fn place(&self, offset: &str) -> Option<u64> {
        offset.strip_prefix(self.epoch.as_str())?.strip_prefix('.')?.parse().ok()
    }
}

impl Kept {
    fn drop_event(&mut self) {
        let Some((_, entry)) = self.events.pop_front() else { return };
        self.bytes -= cost_of_event(&entry);
        let Some(places) = self.places.get_mut(&entry.namespace) else { return };
        // It is the oldest, so that its place is the first wherever it stands. A room that was named twice has it twice.
        let drop_from = |list: &mut VecDeque<u64>| while list.pop_front_if(|place| *place <= entry.place).is_some() {};
        if entry.target.rooms.is_empty() {
            drop_from(&mut places.for_all);
        }
        for room in &entry.target.rooms {
            if let Some(list) = places.for_rooms.get_mut(room) {
                drop_from(list);
                if list.is_empty() {
                    places.for_rooms.remove(room);
                }
            }
        }
        if places.for_all.is_empty() && places.for_rooms.is_empty() {
            self.places.remove(&entry.namespace);
        }
    }

    fn add_event(&mut self, entry: &Arc<Entry>, now: Instant) {
        self.bytes += cost_of_event(entry);
        let places = self.places.entry(entry.namespace.clone()).or_default();
        if entry.target.rooms.is_empty() {
            places.for_all.push_back(entry.place);
        }
        for room in &entry.target.rooms {
            places.for_rooms.entry(room.clone()).or_default().push_back(entry.place);
        }
        self.events.push_back((now, Arc::clone(entry)));
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
        // A client that comes and goes must not leave a trail.
        if self.saved.len() > 64 + 2 * self.sessions.len() {
            let sessions = &self.sessions;
            self.saved.retain(|(at, pid)| sessions.get(pid).is_some_and(|lost| lost.at == *at));
        }
        Some(lost.session)
    }

    /// Drops what is too old, then what is too much.
    fn trim(&mut self, limits: &Limits, now: Instant) {
        while self.events.front().is_some_and(|(at, _)| now.duration_since(*at) > limits.event_age) {
            self.drop_event();
        }
        while self.saved.front().is_some_and(|(at, _)| now.duration_since(*at) > limits.session_age) {
            self.drop_session();
        }
        while self.bytes > limits.total_bytes {
            match (self.events.front(), self.saved.front()) {
                (Some((event, _)), Some((session, _))) if session < event => self.drop_session(),
                (Some(_), _) => self.drop_event(),
                (None, Some(_)) => self.drop_session(),
                (None, None) => return,
            }
        }
    }
}

impl History for MemoryHistory {
    fn append(
        &self,
        namespace: &ByteString,
        target: Target,
        compress: bool,
        write: &mut dyn FnMut(&str) -> Frames,
        deliver: &mut dyn FnMut(&Arc<Entry>),
    ) {
        let mut kept = self.kept.lock();
        let place = kept.head + 1;
        let frames = write(&self.offset(place));
        let entry = Arc::new(Entry { place, namespace: namespace.clone(), target, frames, compress });
        let now = Instant::now();
        kept.head = place;
        kept.add_event(&entry, now);
        kept.trim(&self.limits, now);
        deliver(&entry);
    }

    fn offset(&self, place: u64) -> String {
        format!("{}.{place}", self.epoch.as_str())
    }

    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Missed> {
        let kept = self.kept.lock();
        let received = offset.and_then(|offset| self.place(offset)).filter(|place| *place <= kept.head).unwrap_or(0);
        let mut from = received.max(session.since);
        if from >= session.sent {
            // It has all that it was sent, so that there is nothing for it up to where it was served.
            from = from.max(session.until);
        }
        let gone = kept.head - kept.events.len() as u64;
        if from < gone {
            return None;
        }
        let mut places = vec![];
        if let Some(known) = kept.places.get(&session.namespace) {
            places.extend(known.behind(None, from));
            places.extend(known.behind(Some(session.id.as_str()), from));
            for (room, since) in &session.rooms {
                places.extend(known.behind(Some(room), from.max(*since)));
            }
        }
        places.sort_unstable();
        places.dedup();
        let found: Vec<_> =
            places.iter().filter_map(|place| kept.events.get((place - gone - 1) as usize)).map(|(_, entry)| Arc::clone(entry)).collect();
        let head = kept.head;
        drop(kept);
        let joined: FxHashMap<&str, u64> = session.rooms.iter().map(|(room, since)| (&**room, *since)).collect();
        let met = |room: &str, place: u64| room == session.id.as_str() || joined.get(room).is_some_and(|since| place > *since);
        let entries: Vec<_> = found.into_iter().filter(|entry| !entry.target.except.iter().any(|room| met(room, entry.place))).collect();
        let bytes: usize = entries.iter().map(|entry| entry.frames.len() + OVERHEAD).sum();
        (bytes <= self.limits.session_bytes).then_some(Missed { entries, head })
    }

    fn save(&self, session: SavedSession) -> bool {
        let rooms: usize = session.rooms.iter().map(|(room, _)| room.len() + 64).sum();
        let cost = OVERHEAD + rooms + session.data.as_ref().map_or(0, weight);
        if cost > self.limits.session_bytes {
            return false;
        }
        let (pid, at) = (session.pid, session.lost);
        let mut kept = self.kept.lock();
        kept.forget(&pid);
        kept.sessions.insert(pid, Lost { session, at, cost });
        // Nearly always the newest. One that is given back was lost a while ago.
        let place = kept.saved.partition_point(|(saved, _)| *saved <= at);
        kept.saved.insert(place, (at, pid));
        kept.bytes += cost;
        kept.trim(&self.limits, Instant::now());
        true
    }

    fn holds(&self, pid: &Id) -> bool {
        self.kept.lock().sessions.contains_key(pid)
    }

    fn take(&self, namespace: &str, pid: &Id) -> BoxFuture<'static, Option<SavedSession>> {
        let mut kept = self.kept.lock();
        kept.trim(&self.limits, Instant::now());
        let mine = kept.sessions.get(pid).is_some_and(|lost| *lost.session.namespace == *namespace);
        ready(if mine { kept.forget(pid) } else { None }).boxed()
    }

    fn sweep(&self) {
        let mut kept = self.kept.lock();
        kept.trim(&self.limits, Instant::now());
        let kept = &mut *kept;
        if kept.events.len() < kept.events.capacity() / 8 {
            kept.events.shrink_to_fit();
        }
        if kept.sessions.len() < kept.sessions.capacity() / 8 {
            kept.sessions.shrink_to_fit();
            kept.saved.shrink_to_fit();
        }
    }

    fn usage(&self) -> Usage {
        let kept = self.kept.lock();
        Usage { events: kept.events.len(), sessions: kept.sessions.len(), bytes: kept.bytes }
    }
}

fn cost_of_event(entry: &Entry) -> usize {
    let rooms: usize = entry.target.rooms.iter().chain(&entry.target.except).map(|room| room.len() + 64).sum();
    OVERHEAD + rooms + entry.frames.len()
}

/// What a value takes in memory, about.
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
