//! By which subjects should broadcasts reach the nodes: one for all, or one for each of 128 hashes of rooms? The measurement behind
//! `docs/decisions/0008-one-lane-for-all.md`.
//!
//! ```text
//! cargo run --release -p sociable-bench --example lanes         # a record an envelope
//! cargo run --release -p sociable-bench --example lanes 16      # sixteen wait when an envelope is made
//! ```
//!
//! Each node is a thread with a runtime of one thread, a connection to a real nats-server, a table of the rooms that have members there, and the work that
//! the adapter does for a broadcast: envelopes like those of `docs/wire-format.md` are made, read, and looked up. What comes after that, the delivery to
//! the members, is the same either way and left out. All nodes send to random rooms as fast as they can. A run takes less than a minute.
#![allow(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{env, thread};

use async_nats::{Client, ConnectOptions, Subscriber};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use rustc_hash::FxBuildHasher;
use sociable_bench::process::{Nats, cpu, median};

const LANES: u64 = 128;
const ROOMS: [usize; 4] = [10, 100, 1_000, 10_000];
const NODES: [usize; 3] = [1, 2, 4];
const ROUNDS: usize = 3;
/// How long each figure is taken, each time.
const SLICE: Duration = Duration::from_millis(250);
/// How many envelopes may be under way to their readers.
const UNDER_WAY: u64 = 8192;
/// The event as a client gets it.
const FRAME: [u8; 64] = [b'x'; 64];

#[derive(Clone, Copy, PartialEq)]
enum Scheme {
    OneLane,
    Hashed,
}

/// Where the members of a room are.
#[derive(Clone, Copy, PartialEq)]
enum Members {
    OnOneNode,
    OnAllNodes,
}

#[derive(Clone, Copy)]
struct Case {
    nodes: usize,
    rooms: usize,
    members: Members,
    scheme: Scheme,
    batch: usize,
}

impl Case {
    fn lives_on(self, room: usize, node: usize) -> bool {
        self.members == Members::OnAllNodes || room % self.nodes == node
    }

    fn subject(self, room: usize) -> String {
        match self.scheme {
            Scheme::OneLane => "lanes.all".into(),
            Scheme::Hashed => format!("lanes.{}", lane(room)),
        }
    }

    /// The subjects that a node subscribes to.
    fn subjects(self, node: usize) -> HashSet<String> {
        match self.scheme {
            Scheme::OneLane => HashSet::from([self.subject(0)]),
            Scheme::Hashed => (0..self.rooms).filter(|&room| self.lives_on(room, node)).map(|room| self.subject(room)).collect(),
        }
    }
}

fn name(room: usize) -> String {
    format!("room-{room}")
}

fn lane(room: usize) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(name(room).as_bytes());
    // The upper bits are the mixed ones.
    (hasher.finish() >> 32) % LANES
}

/// The state that all threads of a case share.
#[derive(Default)]
struct Counts {
    /// Records, each for a room.
    sent: AtomicU64,
    /// Envelopes that are to come, and that have come.
    due: AtomicU64,
    come: AtomicU64,
    /// Records that were read, and those among them whose room has members there.
    read: AtomicU64,
    wanted: AtomicU64,
    stop: AtomicBool,
    /// Nodes that send nothing any more.
    silent: AtomicUsize,
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

/// An envelope with a record for each of these rooms.
fn envelope(order: u64, rooms: &[usize]) -> Bytes {
    let mut out = BytesMut::with_capacity(32 + rooms.len() * 128);
    out.put_u8(1);
    out.put_slice(b"node");
    out.put_u64(1);
    out.put_u64(order);
    out.put_u64(order);
    for &room in rooms {
        let at = out.len();
        out.put_u32(0);
        out.put_u8(1);
        put_text(&mut out, "/");
        out.put_u32(1);
        put_text(&mut out, &name(room));
        out.put_u32(0);
        out.put_u8(0);
        out.put_slice(&FRAME);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    out.freeze()
}

fn take_text(from: &mut Bytes) -> Bytes {
    let length = from.get_u32() as usize;
    from.split_to(length)
}

/// Reads an envelope as a node does: the numbers, and for each record the namespace, the rooms and whether they have members here.
fn read(mut envelope: Bytes, here: &HashSet<String, FxBuildHasher>, counts: &Counts) {
    envelope.advance(29);
    while envelope.has_remaining() {
        let length = envelope.get_u32() as usize;
        let mut record = envelope.split_to(length);
        record.advance(1);
        let namespace = take_text(&mut record);
        assert_eq!(&*namespace, b"/");
        let mut wanted = false;
        for _ in 0..record.get_u32() {
            let room = take_text(&mut record);
            wanted |= here.contains(str::from_utf8(&room).unwrap());
        }
        let excepted = record.get_u32();
        assert_eq!(excepted, 0);
        counts.read.fetch_add(1, Relaxed);
        counts.wanted.fetch_add(wanted.into(), Relaxed);
    }
    counts.come.fetch_add(1, Relaxed);
}

async fn reads(mut lanes: SelectAll<Subscriber>, here: HashSet<String, FxBuildHasher>, counts: Arc<Counts>) {
    while let Some(message) = lanes.next().await {
        read(message.payload, &here, &counts);
    }
}

/// Sends to random rooms until it is told to stop. `readers` tells on how many other nodes a subject is heard.
async fn sends(client: Client, case: Case, node: usize, readers: BTreeMap<String, u64>, counts: Arc<Counts>) {
    let mut seed = 0x9e37_79b9_7f4a_7c15 ^ (node as u64 + 1);
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % case.rooms as u64) as usize
    };
    let subjects: Vec<String> = (0..case.rooms).map(|room| case.subject(room)).collect();
    let mut order = 0;
    while !counts.stop.load(Relaxed) {
        for _ in 0..64 {
            // Waiting records go into one envelope for each lane, in their order.
            let mut waiting: Vec<(&str, Vec<usize>)> = vec![];
            for room in std::iter::repeat_with(&mut random).take(case.batch) {
                match waiting.iter_mut().find(|(subject, _)| *subject == subjects[room]) {
                    Some((_, rooms)) => rooms.push(room),
                    None => waiting.push((&subjects[room], vec![room])),
                }
            }
            for (subject, rooms) in waiting {
                order += 1;
                counts.sent.fetch_add(rooms.len() as u64, Relaxed);
                counts.due.fetch_add(readers.get(subject).copied().unwrap_or(0), Relaxed);
                client.publish(subject.to_owned(), envelope(order, &rooms)).await.unwrap();
            }
        }
        client.flush().await.unwrap();
        while counts.due.load(Relaxed) > counts.come.load(Relaxed) + UNDER_WAY {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    round_trip(&client).await;
}

/// Returns when the server has all that was sent to it: a flush only writes.
async fn round_trip(client: &Client) {
    client.request("nobody", "".into()).await.expect_err("nobody listens, and the server says so");
}

/// The cost of a case, in microseconds of CPU for each record.
#[derive(Clone, Copy)]
struct Figures {
    /// Of one node.
    node: f64,
    server: f64,
    /// Records that a node read for each that any node sent, and what part of them was for rooms with members there.
    read: f64,
    wanted: f64,
}

fn run(case: Case, server: &Nats) -> Figures {
    let counts = Arc::new(Counts::default());
    let heard: Vec<_> = (0..case.nodes).map(|node| case.subjects(node)).collect();
    // All are ready; all have sent; all may end.
    let barriers: [_; 3] = std::array::from_fn(|_| Arc::new(Barrier::new(case.nodes + 1)));
    let threads: Vec<_> = (0..case.nodes)
        .map(|node| {
            let (counts, barriers, url) = (Arc::clone(&counts), barriers.clone(), server.url());
            let (mine, mut readers) = (heard[node].clone(), BTreeMap::new());
            for subjects in heard.iter().enumerate().filter(|&(other, _)| other != node).map(|(_, subjects)| subjects) {
                subjects.iter().for_each(|subject| *readers.entry(subject.clone()).or_default() += 1);
            }
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let options = ConnectOptions::new().no_echo().subscription_capacity(1 << 18).client_capacity(128);
                    let client = options.connect(url).await.unwrap();
                    let mut lanes = SelectAll::new();
                    for subject in mine {
                        lanes.push(client.subscribe(subject).await.unwrap());
                    }
                    round_trip(&client).await;
                    let here = (0..case.rooms).filter(|&room| case.lives_on(room, node)).map(name).collect();
                    let reading = tokio::spawn(reads(lanes, here, Arc::clone(&counts)));
                    tokio::task::yield_now().await;
                    barriers[0].wait();
                    sends(client, case, node, readers, Arc::clone(&counts)).await;
                    counts.silent.fetch_add(1, SeqCst);
                    // The others may still send to this one.
                    while counts.silent.load(SeqCst) < case.nodes || counts.come.load(Relaxed) < counts.due.load(Relaxed) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    reading.abort();
                });
                barriers[1].wait();
                barriers[2].wait();
            })
        })
        .collect();
    barriers[0].wait();
    let before = (cpu(std::process::id()), cpu(server.process.id()));
    thread::sleep(SLICE);
    counts.stop.store(true, Relaxed);
    barriers[1].wait();
    let after = (cpu(std::process::id()), cpu(server.process.id()));
    barriers[2].wait();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(counts.come.load(Relaxed), counts.due.load(Relaxed), "all that was sent was read");
    let sent = counts.sent.load(Relaxed) as f64;
    let (nodes, read) = (case.nodes as f64, counts.read.load(Relaxed) as f64);
    Figures {
        node: (after.0 - before.0).as_secs_f64() * 1e6 / sent / nodes,
        server: (after.1 - before.1).as_secs_f64() * 1e6 / sent,
        read: read / sent / nodes,
        wanted: counts.wanted.load(Relaxed) as f64 / read.max(1.0),
    }
}

fn main() {
    let batch = env::args().nth(1).map_or(1, |batch| batch.parse().unwrap());
    println!("{}, {batch} waiting for each envelope, CPU in µs for each broadcast\n", Nats::version());
    println!(
        "| nodes | members of a room | rooms | a node: one lane | {LANES} lanes | the server: one lane | {LANES} lanes | read by a node: one lane | {LANES} lanes |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let server = Nats::start(None);
    for nodes in NODES {
        for members in [Members::OnOneNode, Members::OnAllNodes] {
            // A single node has all members either way.
            if nodes == 1 && members == Members::OnAllNodes {
                continue;
            }
            for rooms in ROOMS {
                let mut taken = [vec![], vec![]];
                for _ in 0..ROUNDS {
                    for (scheme, taken) in [Scheme::OneLane, Scheme::Hashed].into_iter().zip(&mut taken) {
                        taken.push(run(Case { nodes, rooms, members, scheme, batch }, &server));
                    }
                }
                let of = |at: usize, what: fn(&Figures) -> f64| median(taken[at].iter().map(what).collect());
                let share = |at| format!("{:.2} ({:.0} % for it)", of(at, |taken| taken.read), of(at, |taken| taken.wanted * 100.0));
                println!(
                    "| {nodes} | {} | {rooms} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
                    if nodes == 1 || members == Members::OnOneNode { "on one node" } else { "on all nodes" },
                    of(0, |taken| taken.node),
                    of(1, |taken| taken.node),
                    of(0, |taken| taken.server),
                    of(1, |taken| taken.server),
                    share(0),
                    share(1),
                );
            }
        }
    }
}
