//! A cluster in miniature, without a server: nodes send, publish and take in any order, and nodes die. Each node has two threads, with an inbox and a
//! cursor each. Clients lose what is on its way to them, do not read, and come back anywhere, also in the midst of what they are told again. Each
//! client gets each event for it once, those of one publisher in their order.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytestring::ByteString;
use proptest::prelude::*;
use sociable_protocol::{Id, IdSource};

use super::*;
use crate::{LeftRoom, LeftRooms, Target};

const LIMITS: Limits =
    Limits { session_age: Duration::from_secs(600), event_age: Duration::from_secs(600), session_bytes: 1 << 24, total_bytes: 1 << 28 };
const NODES: usize = 3;
const CLIENTS: usize = 4;
const THREADS: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    /// A thread of a node sends an event to all, or to a room. The stream may confirm it `early`: before its sender has added it to its own log.
    Emit { node: usize, thread: usize, room: bool, early: bool },
    /// A thread of a client's node sends an event to the client.
    Tell { client: usize, thread: usize },
    /// A thread of a node sends an event to the node's own clients alone.
    Local { node: usize, thread: usize },
    /// A thread does so much of what waits in its inbox.
    Work { node: usize, thread: usize, count: usize },
    /// A client does not read: it is put out at the next event for it.
    Stall { client: usize },
    /// What waits on a node is published, so much of it: that for all first, or that for its own sockets, or only one of them for now.
    Publish { node: usize, count: usize, own_first: bool, other_later: bool },
    /// A node takes so many messages.
    Take { node: usize, count: usize },
    /// From now on nothing reaches a client.
    Cut { client: usize },
    /// Its node notices that.
    Notice { client: usize },
    /// A client joins the room, or leaves it.
    Move { client: usize },
    /// A client comes back to a thread of a node, and gets so much of what it is told again before its connection is cut anew.
    Return { client: usize, node: usize, thread: usize, gets: usize },
    /// Sessions are saved while they live.
    Refresh { client: usize },
    /// A node dies.
    Kill { node: usize },
    /// A node does nothing for a while, or goes on.
    Freeze { node: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let (node, client, thread) = (0..NODES, 0..CLIENTS, 0..THREADS);
    prop_oneof![
        6 => (node.clone(), thread.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(node, thread, room, early)| Op::Emit { node, thread, room, early }),
        3 => (client.clone(), thread.clone()).prop_map(|(client, thread)| Op::Tell { client, thread }),
        1 => (node.clone(), thread.clone()).prop_map(|(node, thread)| Op::Local { node, thread }),
        6 => (node.clone(), thread.clone(), 1..5usize).prop_map(|(node, thread, count)| Op::Work { node, thread, count }),
        1 => client.clone().prop_map(|client| Op::Stall { client }),
        6 => (node.clone(), 1..5usize, any::<bool>(), any::<bool>())
            .prop_map(|(node, count, own_first, other_later)| Op::Publish { node, count, own_first, other_later }),
        8 => (node.clone(), 1..5usize).prop_map(|(node, count)| Op::Take { node, count }),
        2 => client.clone().prop_map(|client| Op::Cut { client }),
        1 => client.clone().prop_map(|client| Op::Notice { client }),
        2 => client.clone().prop_map(|client| Op::Move { client }),
        3 => (client.clone(), node.clone(), thread, prop_oneof![Just(usize::MAX), 0..4usize])
            .prop_map(|(client, node, thread, gets)| Op::Return { client, node, thread, gets }),
        1 => client.prop_map(|client| Op::Refresh { client }),
        1 => node.clone().prop_map(|node| Op::Kill { node }),
        2 => node.prop_map(|node| Op::Freeze { node }),
    ]
}

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
    /// How far it has got.
    cursor: Position,
}

struct Node {
    log: Log,
    waiting: VecDeque<(bool, Arc<Entry>)>,
    /// A message that is under way to the stream.
    under_way: Option<Message>,
    /// Messages of the stream that it has looked at.
    taken: usize,
    threads: [Thread; THREADS],
    alive: bool,
    frozen: bool,
}

impl Node {
    fn acts(&self) -> bool {
        self.alive && !self.frozen
    }
}

struct Client {
    id: Id,
    /// The position at which it joined the room, if it is there.
    joined: Option<Position>,
    left_rooms: LeftRooms,
    /// Where it is, as that node knows it, and on which thread.
    at: Option<usize>,
    thread: usize,
    past: BTreeSet<usize>,
    /// Who has its session, and up to which event it was there.
    owner: (usize, u64),
    cut: bool,
    stalled: bool,
    sent: Option<Position>,
    /// How far it had got when it did not take an event any more.
    refused: Option<Position>,
    served: Position,
    shown: Vec<Position>,
    kept: SavedSession,
    offset: Option<String>,
    heard: Vec<(NodeTag, u64)>,
    /// Events that a thread of its node has passed while it was there, or that were told to it when it came back.
    offered: BTreeSet<(NodeTag, u64)>,
    /// What it has to hear.
    due: BTreeSet<(NodeTag, u64)>,
}

impl Client {
    /// An event for all nodes has come to where the client is. It is for the client if that is in the room now.
    fn offer(&mut self, entry: &Entry) {
        let due = (entry.publisher, entry.number);
        let is_for_it = entry.target.rooms.is_empty() || self.joined.is_some();
        if entry.reach == Reach::Everywhere && self.offered.insert(due) && is_for_it {
            self.due.insert(due);
        }
    }
}

struct Cluster {
    /// All events for all nodes.
    events: Vec<(usize, Arc<Entry>)>,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    stream: Vec<Message>,
}

fn unlike(tags: &[NodeTag]) -> NodeTag {
    std::iter::repeat_with(NodeTag::random).find(|tag| !tags.contains(tag)).unwrap()
}

impl Cluster {
    fn new() -> Self {
        let mut tags = vec![];
        (0..NODES).for_each(|_| tags.push(unlike(&tags)));
        let node = |tag| Node {
            log: Log::new(tag, Epoch::of(1 << 40), 0),
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
            let kept = SavedSession {
                namespace: "/".into(),
                pid,
                id,
                rooms,
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
                kept,
                offset: None,
                heard: vec![],
                offered: BTreeSet::new(),
                due: BTreeSet::new(),
            };
            cluster.clients.push(client);
        }
        cluster
    }

    fn emit(&mut self, node: usize, thread: usize, rooms: Vec<ByteString>, own: bool, early: bool) -> Arc<Entry> {
        let sender = &mut self.nodes[node];
        let (number, reached) = sender.log.next();
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
        sender.log.add(&entry, &LIMITS);
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
    fn work(&mut self, node: usize, thread: usize, count: usize) {
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
            let met = |room: &str| room == client.id.as_str() || client.joined.is_some() && room == "red";
            let mark = entry.mark();
            let has_got = client.served.covers(&mark) || client.shown.iter().any(|shown| shown.covers(&mark));
            if !entry.target.includes(met) || has_got {
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
        slow.into_iter().for_each(|client| self.notice(client));
    }

    fn flush(&mut self, node: usize) {
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
            // Both are given to the server at once, that for all first: only what has to be tried again is overtaken.
            if at == 1 && other_later && !own_first { self.nodes[node].under_way = Some(message) } else { self.place(message) }
        }
    }

    fn take(&mut self, node: usize, count: usize) {
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
                    let entry = self.nodes[node].log.take(publisher, place_in(sequence, at as u64), record(event), &LIMITS).unwrap();
                    self.nodes[node].threads.iter_mut().for_each(|thread| thread.inbox.push_back(Call::Deliver(Arc::clone(&entry))));
                }
            }
            self.nodes[node].log.has_taken(sequence);
        }
    }

    fn save(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let Some(node) = client.at else { return };
        client.kept.sent = client.sent;
        client.kept.until = client.refused.unwrap_or_else(|| client.served.later(self.nodes[node].threads[client.thread].cursor));
        client.kept.shown.clone_from(&client.shown);
        client.kept.rooms = client.joined.map(|since| ("red".into(), since)).into_iter().collect();
        client.kept.left_rooms = client.left_rooms.clone();
    }

    /// The position of a client on its thread.
    fn reached(&self, client: usize) -> Option<Position> {
        let client = &self.clients[client];
        let node = self.nodes.get(client.at?).filter(|node| node.acts())?;
        Some(client.served.later(node.threads[client.thread].cursor))
    }

    /// The node of a client lets it go. It is saved as lost when what was sent to it before is in the stream.
    fn notice(&mut self, client: usize) {
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
    fn undecide(&mut self, client: usize) {
        let client = &mut self.clients[client];
        for node in self.nodes.iter().filter(|node| node.frozen) {
            let under_way = node.under_way.iter().flat_map(|message| &message.events);
            for entry in node.waiting.iter().map(|(_, entry)| entry).chain(under_way) {
                let event = (entry.publisher, entry.number);
                // What the node had to say to the client alone it says to somebody who is not there any more.
                if !client.heard.contains(&event) && client.due.remove(&event) {
                    client.offered.remove(&event);
                }
            }
        }
    }

    fn come_back(&mut self, client: usize, node: usize, thread: usize, gets: usize) {
        if !self.nodes[node].acts() {
            return;
        }
        if self.clients[client].at.is_some_and(|before| self.nodes[before].acts()) {
            self.notice(client);
        }
        self.undecide(client);
        // Whoever had it has published what was sent to it.
        for past in self.clients[client].past.clone() {
            self.flush(past);
        }
        self.take(node, usize::MAX);
        let last = self.stream.len() as u64;
        self.nodes[node].log.has_taken(last);
        let head = self.nodes[node].log.position();
        self.nodes[node].threads.iter_mut().for_each(|thread| thread.inbox.push_back(Call::Reached(head)));
        for past in self.clients[client].past.clone().into_iter().filter(|past| *past != node) {
            let tag = self.nodes[past].log.me;
            for (at, message) in self.stream.iter().enumerate().filter(|(_, message)| message.own && message.publisher == past) {
                self.nodes[node].log.take_others(tag, at as u64 + 1, message.events.iter().map(|event| record(event)), &LIMITS);
            }
        }
        let (owner, to) = self.clients[client].owner;
        let log = &self.nodes[node].log;
        let past = &mut self.clients[client].kept.past;
        let tag = self.nodes[owner].log.me;
        match past.last_mut().filter(|stay| stay.tag == tag) {
            Some(stay) => stay.to = to,
            None => past.push(Stay { tag, from: 0, to }),
        }
        past.iter_mut().filter(|stay| stay.to == u64::MAX).for_each(|stay| stay.to = log.last_of(stay.tag));
        past.push(Stay { tag: log.me, from: log.position().own, to: u64::MAX });
        self.clients[client].owner = (node, u64::MAX);
        for (_, event) in self.events.iter().filter(|(publisher, event)| *publisher == node || !event.is_pending()) {
            self.clients[client].offer(event);
        }
        let log = &mut self.nodes[node].log;
        let client = &mut self.clients[client];
        let seen = log.seen(client.offset.as_deref(), client.sent.is_none()).expect("the offset was given out");
        client.kept.shown.extend(seen.iter().copied());
        let missed = log.missed(&client.kept, &seen, &LIMITS).expect("all is kept");
        client.kept.past = unfinished(&client.kept.past, &missed);
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
        client.shown.clone_from(&client.kept.shown);
        client.past.insert(node);
        (client.at, client.thread) = (Some(node), thread);
        // Taken over is saved.
        client.kept.sent = client.sent;
        client.kept.until = client.served;
    }

    fn kill(&mut self, node: usize) {
        if self.nodes.iter().filter(|node| node.alive).count() == 1 {
            return;
        }
        (self.nodes[node].alive, self.nodes[node].frozen) = (false, false);
        self.nodes[node].threads = Default::default();
        // What it had not published nobody else will hear.
        let under_way = self.nodes[node].under_way.take().map_or(vec![], |message| message.events);
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        for entry in waiting.into_iter().map(|(_, entry)| entry).chain(under_way) {
            let gone = (entry.publisher, entry.number);
            self.clients.iter_mut().for_each(|client| {
                client.due.remove(&gone);
            });
        }
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Emit { node, thread, room, early } if self.nodes[node].acts() => {
                let rooms = if room { vec!["red".into()] } else { vec![] };
                self.emit(node, thread, rooms, false, early);
            }
            Op::Tell { client, thread } => {
                let (id, at) = (self.clients[client].id, self.clients[client].at);
                if let Some(node) = at.filter(|node| self.nodes[*node].acts()) {
                    let entry = self.emit(node, thread, vec![id.as_str().into()], true, false);
                    self.clients[client].due.insert((entry.publisher, entry.number));
                }
            }
            Op::Local { node, thread } if self.nodes[node].acts() => {
                let here: Vec<_> = (0..CLIENTS).filter(|client| self.clients[*client].at == Some(node)).collect();
                let entry = self.emit(node, thread, vec![], true, false);
                let due = (entry.publisher, entry.number);
                here.into_iter().for_each(|client| {
                    self.clients[client].due.insert(due);
                });
            }
            Op::Work { node, thread, count } if self.nodes[node].acts() => self.work(node, thread, count),
            Op::Stall { client } if self.clients[client].at.is_some() => self.clients[client].stalled = true,
            Op::Publish { node, count, own_first, other_later } => self.publish(node, count, own_first, other_later),
            Op::Take { node, count } => self.take(node, count),
            Op::Cut { client } => self.clients[client].cut = true,
            Op::Notice { client } if self.clients[client].cut && self.clients[client].at.is_some_and(|node| self.nodes[node].acts()) => {
                self.notice(client);
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
            Op::Return { client, node, thread, gets } => self.come_back(client, node, thread, gets),
            Op::Refresh { client } if self.clients[client].at.is_some_and(|node| self.nodes[node].acts()) => self.save(client),
            Op::Kill { node } => self.kill(node),
            Op::Freeze { node } if self.nodes[node].alive => self.nodes[node].frozen ^= true,
            Op::Emit { .. }
            | Op::Local { .. }
            | Op::Work { .. }
            | Op::Stall { .. }
            | Op::Notice { .. }
            | Op::Refresh { .. }
            | Op::Freeze { .. } => {}
        }
    }
}

fn record(entry: &Entry) -> Kept {
    Kept {
        number: entry.number,
        at: None,
        namespace: entry.namespace.clone(),
        target: entry.target.clone(),
        compress: true,
        frames: entry.frames.as_bytes().clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_each_client_hears_each_event_once_and_in_order(ops in prop::collection::vec(op(), 0..120)) {
        let mut cluster = Cluster::new();
        ops.iter().for_each(|op| cluster.act(op));
        cluster.nodes.iter_mut().for_each(|node| node.frozen = false);
        (0..NODES).for_each(|node| cluster.flush(node));
        (0..NODES).for_each(|node| cluster.take(node, usize::MAX));
        let refuge = cluster.nodes.iter().position(|node| node.alive).unwrap();
        (0..NODES * THREADS).for_each(|at| cluster.work(at / THREADS, at % THREADS, usize::MAX));
        (0..CLIENTS).for_each(|client| cluster.come_back(client, refuge, 0, usize::MAX));
        for client in &cluster.clients {
            let heard: BTreeSet<_> = client.heard.iter().copied().collect();
            prop_assert_eq!(heard.len(), client.heard.len(), "nothing comes twice");
            prop_assert!(client.due.is_subset(&heard), "nothing is lost: {:?}", client.due.difference(&heard).collect::<Vec<_>>());
            for node in &cluster.nodes {
                let numbers = client.heard.iter().filter(|(tag, _)| *tag == node.log.me).map(|(_, number)| number);
                prop_assert!(numbers.is_sorted(), "of one publisher in order");
            }
        }
    }
}

fn session(tag: NodeTag, since: Position, until: Position) -> SavedSession {
    let mut ids = IdSource::new(tag);
    let (pid, id) = (ids.draw(), ids.draw());
    SavedSession {
        namespace: "/".into(),
        pid,
        id,
        rooms: vec![],
        left_rooms: LeftRooms::default(),
        data: None,
        since,
        sent: None,
        until,
        shown: vec![],
        past: vec![],
        lost: None,
    }
}

fn add(log: &mut Log, reach: Reach) -> Arc<Entry> {
    let (number, reached) = log.next();
    let entry = Arc::new(Entry::new("/".into(), Target::default(), Frames::text("x"), true, number, reached, true).reaching(reach));
    log.add(&entry, &LIMITS);
    entry
}

/// What is for all and what is for a node's own sockets is published at the same time: neither waits for the other.
#[test]
fn what_stands_late_in_the_stream_is_found_behind_what_stands_early() {
    let (mine, other) = (NodeTag::random(), NodeTag::random());
    let mut log = Log::new(mine, Epoch::of(1 << 40), 0);
    let (first, second) = (add(&mut log, Reach::Everywhere), add(&mut log, Reach::Here));
    second.place(Some(place_in(10, 0)));
    log.has_taken(11);
    first.place(Some(place_in(12, 0)));
    let at = |place| Position { tag: Some(other), own: 0, place };
    let missed = log.missed(&session(other, at(0), at(place_behind(11))), &[], &LIMITS).unwrap();
    assert_eq!(missed.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1]);
}

#[test]
fn what_is_lost_is_told_to_nobody_and_hinders_nobody_later() {
    let (mine, other) = (NodeTag::random(), NodeTag::random());
    let mut log = Log::new(mine, Epoch::of(1 << 40), 0);
    let lost = add(&mut log, Reach::Everywhere);
    lost.place(None);
    log.has_taken(10);
    log.has_lost(lost.number);
    let at = |place| Position { tag: Some(other), own: 0, place };
    assert!(log.missed(&session(other, at(0), at(place_in(10, 0))), &[], &LIMITS).is_none(), "who was away has a hole");
    log.has_taken(20);
    let later = session(other, at(0), at(place_behind(20)));
    assert_eq!(log.missed(&later, &[], &LIMITS).unwrap().entries.len(), 0);
    log.trim(&Limits { total_bytes: 0, ..LIMITS }, Instant::now());
    assert!(log.missed(&later, &[], &LIMITS).is_some());
}

#[test]
fn nobody_is_recovered_before_a_publisher_says_what_is_lost() {
    let (mine, other) = (NodeTag::random(), NodeTag::random());
    let publisher = Publisher { tag: other, epoch: 1 };
    let mut log = Log::new(mine, Epoch::of(1 << 40), 0);
    log.has_taken(10);
    log.has_hole(publisher);
    log.has_taken(20);
    let at = |place| Position { tag: Some(other), own: 0, place };
    // The client got further in the stream than this node had when it heard the lost event.
    let away = session(other, at(0), at(place_behind(15)));
    assert!(log.missed(&away, &[], &LIMITS).is_none(), "the lost event may be one of its own");
    log.has_told_lost(publisher, 21);
    log.has_taken(21);
    assert!(log.missed(&away, &[], &LIMITS).is_none(), "the lost event was before this place");
    let later = session(other, at(0), at(place_behind(21)));
    assert!(log.missed(&later, &[], &LIMITS).is_some());
}

#[test]
fn events_of_rooms_are_told_after_the_socket_left_them() {
    let mine = NodeTag::random();
    let mut log = Log::new(mine, Epoch::of(1 << 40), 0);
    let mut emit = || {
        let (number, reached) = log.next();
        let target = Target { rooms: vec!["red".into()], except: vec![] };
        let entry = Arc::new(Entry::new("/".into(), target, Frames::text("x"), true, number, reached, true));
        log.add(&entry, &LIMITS);
        entry
    };
    let [received, left, later] = [(); 3].map(|()| emit());
    let to = left.reached;
    let left_rooms = LeftRooms::unknown([LeftRoom { room: "red".into(), from: Position::default(), to }], &[]);
    let away = SavedSession { left_rooms, sent: Some(left.mark()), ..session(mine, Position::default(), later.reached) };
    let missed = log.missed(&away, &[received.reached], &LIMITS).unwrap();
    assert_eq!(missed.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [2]);
    assert_eq!((missed.rooms, missed.left_rooms), (vec![], away.left_rooms));
}

proptest! {
    #[test]
    fn whatever_the_stream_brings_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80), at in prop::option::of(any::<usize>()), place: u64) {
        let mut log = Log::new(NodeTag::random(), Epoch::of(1), 0);
        let text = Frames::text(std::str::from_utf8(&bytes).unwrap_or("4text")).into_bytes();
        for frames in [bytes.into(), text] {
            let kept = Kept { number: u64::MAX, at, namespace: "/".into(), target: Target::default(), compress: true, frames };
            drop(log.take(NodeTag::random(), place, kept.clone(), &LIMITS));
            log.take_others(NodeTag::random(), place, [kept].into_iter(), &LIMITS);
        }
        log.has_taken(u64::MAX);
        log.begins_behind(u64::MAX);
        let _ = (log.next(), log.position(), log.seen(Some("nonsense"), true));
    }
}
