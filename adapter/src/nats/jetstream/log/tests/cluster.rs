//! A cluster in miniature: nodes with their threads, clients, and the stream between them.

use std::collections::{BTreeSet, VecDeque};

use bytestring::ByteString;
use sociable_protocol::{Id, IdSource};

use super::super::*;
use super::operations::{CLIENTS, LIMITS, NODES, Op, THREADS};
use crate::{LeftRoom, LeftRooms, Target};

/// A message of the stream.
struct Message {
    publisher: usize,
    own: bool,
    events: Vec<Arc<Entry>>,
}

/// A call in the inbox of a thread.
enum Call {
    Deliver(Arc<Entry>),
    Reached(Position),
}

#[derive(Default)]
struct Thread {
    inbox: VecDeque<Call>,
    /// The position that the thread has reached.
    cursor: Position,
}

pub(super) struct Node {
    pub(super) log: StreamLog,
    waiting: VecDeque<(bool, Arc<Entry>)>,
    /// A message that is under way to the stream.
    under_way: Option<Message>,
    /// The number of messages of the stream that the node has consumed.
    taken: usize,
    threads: [Thread; THREADS],
    pub(super) alive: bool,
    pub(super) frozen: bool,
}

impl Node {
    fn acts(&self) -> bool {
        self.alive && !self.frozen
    }
}

pub(super) struct Client {
    id: Id,
    /// The position of the client's joining of the room, if it is there.
    joined: Option<Position>,
    left_rooms: LeftRooms,
    /// The node and thread that the client is connected to, as that node sees it.
    at: Option<usize>,
    thread: usize,
    past: BTreeSet<usize>,
    /// The node that has the session, and the last event of its stay there.
    owner: (usize, u64),
    cut: bool,
    stalled: bool,
    sent: Option<Position>,
    /// The position of the client when it stopped reading.
    refused: Option<Position>,
    served: Position,
    shown: Vec<Position>,
    saved: SavedSession,
    offset: Option<String>,
    pub(super) heard: Vec<(NodeTag, u64)>,
    /// Events that a thread of its node passed during its stay, or that it got on its return.
    offered: BTreeSet<(NodeTag, u64)>,
    /// Private events that were sent while it was on their node.
    pub(super) private: BTreeSet<(NodeTag, u64)>,
    /// The events that the client must get.
    pub(super) due: BTreeSet<(NodeTag, u64)>,
}

impl Client {
    /// A private event of the client's node is for it.
    fn expect_private(&mut self, entry: &Entry) {
        let event = (entry.publisher, entry.number);
        self.private.insert(event);
        self.due.insert(event);
    }

    /// Offers an event for all nodes to the client. The event is for the client if the client is in the room now.
    fn offer(&mut self, entry: &Entry) {
        let due = (entry.publisher, entry.number);
        let is_for_it = entry.target.rooms.is_empty() || self.joined.is_some();
        if entry.reach == Reach::Everywhere && self.offered.insert(due) && is_for_it {
            self.due.insert(due);
        }
    }
}

pub(super) struct Cluster {
    /// All events for all nodes.
    pub(super) events: Vec<(usize, Arc<Entry>)>,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    stream: Vec<Message>,
}

fn unlike(tags: &[NodeTag]) -> NodeTag {
    std::iter::repeat_with(NodeTag::random).find(|tag| !tags.contains(tag)).unwrap()
}

impl Cluster {
    pub(super) fn new() -> Self {
        let mut tags = vec![];
        (0..NODES).for_each(|_| tags.push(unlike(&tags)));
        let node = |tag| Node {
            log: StreamLog::new(tag, Epoch::of(1 << 40), 0),
            waiting: VecDeque::new(),
            under_way: None,
            taken: 0,
            threads: Default::default(),
            alive: true,
            frozen: false,
        };
        let mut cluster = Self { nodes: tags.into_iter().map(node).collect(), clients: vec![], stream: vec![], events: vec![] };
        for at in 0..CLIENTS {
            let node = at % NODES;
            let mut ids = IdSource::new(cluster.nodes[node].log.me);
            let (id, pid) = (ids.draw(), ids.draw());
            let since = cluster.nodes[node].log.position();
            let joined = (at % 2 == 0).then_some(since);
            let rooms = joined.map(|since| (ByteString::from("red"), since)).into_iter().collect();
            let saved = SavedSession {
                namespace: "/".into(),
                pid,
                id,
                rooms,
                own_is_listed: false,
                left_rooms: LeftRooms::default(),
                data: None,
                since,
                sent: None,
                until: since,
                shown: vec![],
                past: vec![],
                lost: None,
            };
            let client = Client {
                id,
                joined,
                left_rooms: LeftRooms::default(),
                at: Some(node),
                thread: at / 2 % THREADS,
                past: BTreeSet::from([node]),
                owner: (node, u64::MAX),
                cut: false,
                stalled: false,
                sent: None,
                refused: None,
                served: Position::default(),
                shown: vec![],
                saved,
                offset: None,
                heard: vec![],
                offered: BTreeSet::new(),
                private: BTreeSet::new(),
                due: BTreeSet::new(),
            };
            cluster.clients.push(client);
        }
        cluster
    }

    fn emit(&mut self, node: usize, thread: usize, rooms: Vec<ByteString>, own: bool, early: bool) -> Arc<Entry> {
        let sender = &mut self.nodes[node];
        let (number, reached) = sender.log.next_position();
        let target = Target { rooms, except: vec![] };
        let reach = if own { Reach::Here } else { Reach::Everywhere };
        let entry = Arc::new(Entry::new("/".into(), target, Frames::text("x"), true, number, reached, true).reaching(reach));
        sender.waiting.push_back((own, Arc::clone(&entry)));
        if !own {
            self.events.push((node, Arc::clone(&entry)));
        }
        if early {
            self.flush(node);
        }
        // A private event goes to the thread of its socket alone, if the socket is here.
        let only = self
            .clients
            .iter()
            .find(|client| client.at == Some(node) && entry.target.rooms.iter().any(|room| **room == *client.id.as_str()));
        let only = only.map(|client| client.thread);
        let sender = &mut self.nodes[node];
        sender.log.append_local(&entry, &LIMITS);
        for (at, thread) in sender.threads.iter_mut().enumerate() {
            if only.is_none_or(|only| only == at) {
                thread.inbox.push_back(Call::Deliver(Arc::clone(&entry)));
            }
        }
        // The sender's own thread makes the calls that wait, this one with them.
        self.work(node, thread, usize::MAX);
        entry
    }

    /// As a worker thread does.
    pub(super) fn work(&mut self, node: usize, thread: usize, count: usize) {
        for _ in 0..count {
            let worker = &mut self.nodes[node].threads[thread];
            match worker.inbox.pop_front() {
                None => return,
                Some(Call::Reached(position)) => worker.cursor = worker.cursor.later(position),
                Some(Call::Deliver(entry)) => self.deliver(node, thread, &entry),
            }
        }
    }

    fn deliver(&mut self, node: usize, thread: usize, entry: &Entry) {
        let sender = &mut self.nodes[node];
        let before = std::mem::replace(&mut sender.threads[thread].cursor, entry.reached);
        let offset = sender.log.offset(&entry.reached);
        let mut slow = vec![];
        for (at, client) in self.clients.iter_mut().enumerate().filter(|(_, client)| client.at == Some(node) && client.thread == thread) {
            client.offer(entry);
            let is_in = |room: &str| room == client.id.as_str() || client.joined.is_some() && room == "red";
            let mark = entry.mark();
            let has_got = client.served.covers(&mark) || client.shown.iter().any(|shown| shown.covers(&mark));
            if !entry.target.includes(is_in) || has_got {
                continue;
            }
            if client.stalled {
                client.refused.get_or_insert(before);
                slow.push(at);
                continue;
            }
            client.sent = Some(mark);
            if !client.cut {
                client.heard.push((entry.publisher, entry.number));
                client.offset = Some(offset.clone());
            }
        }
        slow.into_iter().for_each(|client| self.disconnect(client));
    }

    pub(super) fn flush(&mut self, node: usize) {
        self.publish(node, usize::MAX, false, false);
    }

    fn place(&mut self, message: Message) {
        let sequence = self.stream.len() as u64 + 1;
        message.events.iter().enumerate().for_each(|(at, entry)| entry.place(Some(place_in(sequence, at as u64))));
        self.stream.push(message);
    }

    fn publish(&mut self, node: usize, count: usize, own_first: bool, other_later: bool) {
        let sender = &mut self.nodes[node];
        if !sender.acts() {
            return;
        }
        if let Some(message) = sender.under_way.take() {
            self.place(message);
        }
        let sender = &mut self.nodes[node];
        let count = count.min(sender.waiting.len());
        let (mut all, mut own) = (vec![], vec![]);
        for (is_own, entry) in sender.waiting.drain(..count) {
            if is_own { own.push(entry) } else { all.push(entry) }
        }
        let mut messages = [(false, all), (true, own)].map(|(own, events)| Message { publisher: node, own, events });
        if own_first {
            messages.reverse();
        }
        let messages = messages.into_iter().filter(|message| !message.events.is_empty());
        for (at, message) in messages.enumerate() {
            // Both messages are sent to the server at once, that for all first. Only a retried message can be
            // overtaken.
            if at == 1 && other_later && !own_first { self.nodes[node].under_way = Some(message) } else { self.place(message) }
        }
    }

    pub(super) fn consume(&mut self, node: usize, count: usize) {
        for _ in 0..count {
            let taken = self.nodes[node].taken;
            let Some(message) = self.stream.get(taken).filter(|_| self.nodes[node].acts()) else { return };
            self.nodes[node].taken += 1;
            let sequence = taken as u64 + 1;
            if message.own {
                continue;
            }
            if message.publisher != node {
                let publisher = self.nodes[message.publisher].log.me;
                for (at, event) in message.events.clone().iter().enumerate() {
                    let entry =
                        self.nodes[node].log.append_remote(publisher, place_in(sequence, at as u64), record(event), &LIMITS).unwrap();
                    self.nodes[node].threads.iter_mut().for_each(|thread| thread.inbox.push_back(Call::Deliver(Arc::clone(&entry))));
                }
            }
            self.nodes[node].log.advance_to(sequence);
        }
    }

    fn save(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let Some(node) = client.at else { return };
        client.saved.sent = client.sent;
        client.saved.until = client.refused.unwrap_or_else(|| client.served.later(self.nodes[node].threads[client.thread].cursor));
        client.saved.shown.clone_from(&client.shown);
        client.saved.rooms = client.joined.map(|since| ("red".into(), since)).into_iter().collect();
        client.saved.left_rooms = client.left_rooms.clone();
    }

    /// The position of a client on its thread.
    fn reached(&self, client: usize) -> Option<Position> {
        let client = &self.clients[client];
        let node = self.nodes.get(client.at?).filter(|node| node.acts())?;
        Some(client.served.later(node.threads[client.thread].cursor))
    }

    /// The client's node ends the session. The session is saved as lost when its earlier events are in the stream.
    fn disconnect(&mut self, client: usize) {
        if let Some(node) = self.clients[client].at {
            self.flush(node);
        }
        self.save(client);
        let client = &mut self.clients[client];
        if let Some(node) = client.at.take() {
            client.owner.1 = self.nodes[node].log.position().own;
        }
    }

    /// Takes back events that frozen nodes have not published: they reach the client at the node where it is now.
    fn retract_unpublished(&mut self, client: usize) {
        let client = &mut self.clients[client];
        for node in self.nodes.iter().filter(|node| node.frozen) {
            let under_way = node.under_way.iter().flat_map(|message| &message.events);
            for entry in node.waiting.iter().map(|(_, entry)| entry).chain(under_way) {
                let event = (entry.publisher, entry.number);
                // The frozen node's unpublished events go to a connection that the client has left.
                if !client.heard.contains(&event) && client.due.remove(&event) {
                    client.offered.remove(&event);
                }
            }
        }
    }

    pub(super) fn recover(&mut self, client: usize, node: usize, thread: usize, gets: usize) {
        if !self.nodes[node].acts() {
            return;
        }
        if self.clients[client].at.is_some_and(|before| self.nodes[before].acts()) {
            self.disconnect(client);
        }
        self.retract_unpublished(client);
        // Every former node has published its events for the client.
        for past in self.clients[client].past.clone() {
            self.flush(past);
        }
        self.consume(node, usize::MAX);
        let last = self.stream.len() as u64;
        self.nodes[node].log.advance_to(last);
        let head = self.nodes[node].log.position();
        self.nodes[node].threads.iter_mut().for_each(|thread| thread.inbox.push_back(Call::Reached(head)));
        for past in self.clients[client].past.clone().into_iter().filter(|past| *past != node) {
            let tag = self.nodes[past].log.me;
            for (at, message) in self.stream.iter().enumerate().filter(|(_, message)| message.own && message.publisher == past) {
                self.nodes[node].log.append_private(tag, at as u64 + 1, message.events.iter().map(|event| record(event)), &LIMITS);
            }
        }
        let (owner, to) = self.clients[client].owner;
        let log = &self.nodes[node].log;
        let past = &mut self.clients[client].saved.past;
        let tag = self.nodes[owner].log.me;
        match past.last_mut().filter(|stay| stay.tag == tag) {
            Some(stay) => stay.to = to,
            None => past.push(Stay { tag, from: 0, to }),
        }
        past.iter_mut().filter(|stay| stay.to == u64::MAX).for_each(|stay| stay.to = log.last_private_of(stay.tag));
        past.push(Stay { tag: log.me, from: log.position().own, to: u64::MAX });
        self.clients[client].owner = (node, u64::MAX);
        for (_, event) in self.events.iter().filter(|(publisher, event)| *publisher == node || !event.is_pending()) {
            self.clients[client].offer(event);
        }
        let log = &mut self.nodes[node].log;
        let client = &mut self.clients[client];
        let seen = log.decode_offset(client.offset.as_deref(), client.sent.is_none()).expect("the offset was given out");
        client.saved.shown.extend(seen.iter().copied());
        let missed = log.missed(&client.saved, &seen, &LIMITS).expect("all is persisted");
        client.saved.past = unfinished_stays(&client.saved.past, &missed);
        (client.cut, client.stalled, client.refused) = (false, false, None);
        for (at, (entry, offset)) in missed.entries.iter().zip(&missed.offsets).enumerate() {
            client.cut |= at >= gets;
            client.sent = Some(entry.mark());
            if !client.cut {
                client.heard.push((entry.publisher, entry.number));
                client.offset = Some(offset.clone());
            }
        }
        client.served = missed.head;
        client.joined = missed.rooms.first().map(|(_, since)| *since);
        client.left_rooms = missed.left_rooms;
        client.shown.clone_from(&client.saved.shown);
        client.past.insert(node);
        (client.at, client.thread) = (Some(node), thread);
        // Taken over is saved.
        client.saved.sent = client.sent;
        client.saved.until = client.served;
    }

    fn kill(&mut self, node: usize) {
        if self.nodes.iter().filter(|node| node.alive).count() == 1 {
            return;
        }
        (self.nodes[node].alive, self.nodes[node].frozen) = (false, false);
        self.nodes[node].threads = Default::default();
        // The node's unpublished events are lost for all.
        let under_way = self.nodes[node].under_way.take().map_or(vec![], |message| message.events);
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        for entry in waiting.into_iter().map(|(_, entry)| entry).chain(under_way) {
            let gone = (entry.publisher, entry.number);
            self.clients.iter_mut().for_each(|client| {
                client.due.remove(&gone);
            });
        }
    }

    pub(super) fn act(&mut self, op: &Op) {
        match *op {
            Op::Emit { node, thread, room, early } if self.nodes[node].acts() => {
                let rooms = if room { vec!["red".into()] } else { vec![] };
                self.emit(node, thread, rooms, false, early);
            }
            Op::Unicast { client, thread } => {
                let (id, at) = (self.clients[client].id, self.clients[client].at);
                if let Some(node) = at.filter(|node| self.nodes[*node].acts()) {
                    let entry = self.emit(node, thread, vec![id.as_str().into()], true, false);
                    self.clients[client].expect_private(&entry);
                }
            }
            Op::Local { node, thread } if self.nodes[node].acts() => {
                let here: Vec<_> = (0..CLIENTS).filter(|client| self.clients[*client].at == Some(node)).collect();
                let entry = self.emit(node, thread, vec![], true, false);
                here.into_iter().for_each(|client| self.clients[client].expect_private(&entry));
            }
            Op::Work { node, thread, count } if self.nodes[node].acts() => self.work(node, thread, count),
            Op::Stall { client } if self.clients[client].at.is_some() => self.clients[client].stalled = true,
            Op::Publish { node, count, own_first, other_later } => self.publish(node, count, own_first, other_later),
            Op::Consume { node, count } => self.consume(node, count),
            Op::Cut { client } => self.clients[client].cut = true,
            Op::Disconnect { client }
                if self.clients[client].cut && self.clients[client].at.is_some_and(|node| self.nodes[node].acts()) =>
            {
                self.disconnect(client);
            }
            Op::Move { client } => {
                let Some(place) = self.reached(client) else { return };
                let moving = &mut self.clients[client];
                match moving.joined.take() {
                    Some(from) => moving.left_rooms.add(LeftRoom { room: "red".into(), from, to: place }),
                    None => moving.joined = Some(place),
                }
                self.save(client);
            }
            Op::Return { client, node, thread, gets } => self.recover(client, node, thread, gets),
            Op::Refresh { client } if self.clients[client].at.is_some_and(|node| self.nodes[node].acts()) => self.save(client),
            Op::Kill { node } => self.kill(node),
            Op::Freeze { node } if self.nodes[node].alive => self.nodes[node].frozen ^= true,
            Op::Emit { .. }
            | Op::Local { .. }
            | Op::Work { .. }
            | Op::Stall { .. }
            | Op::Disconnect { .. }
            | Op::Refresh { .. }
            | Op::Freeze { .. } => {}
        }
    }
}

fn record(entry: &Entry) -> PersistedEvent {
    PersistedEvent {
        number: entry.number,
        at: None,
        namespace: entry.namespace.clone(),
        target: entry.target.clone(),
        compress: true,
        frames: entry.frames.as_bytes().clone(),
    }
}
