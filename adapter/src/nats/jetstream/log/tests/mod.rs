//! A cluster in miniature, without a server. Nodes send, publish and consume in any order, and nodes die. Each node has
//! two threads, each with an inbox and a cursor.
//!
//! Clients lose events in transit, stop reading, and return to any node, even during a replay. Each client gets each of
//! its events once, those of one publisher in their order.

mod cluster;
mod operations;

use std::collections::BTreeSet;

use proptest::prelude::*;
use sociable_protocol::IdSource;

use self::cluster::Cluster;
use self::operations::{CLIENTS, LIMITS, NODES, THREADS, op};
use super::*;
use crate::{LeftRoom, LeftRooms, Target};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn clients_get_each_event_once_and_in_order(ops in prop::collection::vec(op(), 0..120)) {
        let mut cluster = Cluster::new();
        ops.iter().for_each(|op| cluster.act(op));
        cluster.nodes.iter_mut().for_each(|node| node.frozen = false);
        (0..NODES).for_each(|node| cluster.flush(node));
        (0..NODES).for_each(|node| cluster.consume(node, usize::MAX));
        let refuge = cluster.nodes.iter().position(|node| node.alive).unwrap();
        (0..NODES * THREADS).for_each(|at| cluster.work(at / THREADS, at % THREADS, usize::MAX));
        (0..CLIENTS).for_each(|client| cluster.recover(client, refuge, 0, usize::MAX));
        let for_all: BTreeSet<_> = cluster.events.iter().map(|(_, entry)| (entry.publisher, entry.number)).collect();
        for client in &cluster.clients {
            let heard: BTreeSet<_> = client.heard.iter().copied().collect();
            prop_assert_eq!(heard.len(), client.heard.len(), "nothing comes twice");
            prop_assert!(client.due.is_subset(&heard), "nothing is lost: {:?}", client.due.difference(&heard).collect::<Vec<_>>());
            prop_assert!(heard.iter().all(|event| for_all.contains(event) || client.private.contains(event)), "nothing is for others");
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
        own_is_listed: false,
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

fn append(log: &mut StreamLog, reach: Reach) -> Arc<Entry> {
    let (number, reached) = log.next_position();
    let entry = Arc::new(Entry::new("/".into(), Target::default(), Frames::text("x"), true, number, reached, true).reaching(reach));
    log.append_local(&entry, &LIMITS);
    entry
}

/// Messages for all and messages for a node's own sockets are published without waiting for each other.
#[test]
fn log_finds_an_event_placed_behind_later_ones() {
    let (mine, other) = (NodeTag::random(), NodeTag::random());
    let mut log = StreamLog::new(mine, Epoch::of(1 << 40), 0);
    let (first, second) = (append(&mut log, Reach::Everywhere), append(&mut log, Reach::Here));
    second.place(Some(place_in(10, 0)));
    log.advance_to(11);
    first.place(Some(place_in(12, 0)));
    let at = |place| Position { tag: Some(other), own: 0, place };
    let missed = log.missed(&session(other, at(0), at(place_behind(11))), &[], &LIMITS).unwrap();
    assert_eq!(missed.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1]);
}

#[test]
fn lost_event_blocks_only_sessions_that_missed_it() {
    let (mine, other) = (NodeTag::random(), NodeTag::random());
    let mut log = StreamLog::new(mine, Epoch::of(1 << 40), 0);
    let lost = append(&mut log, Reach::Everywhere);
    lost.place(None);
    log.advance_to(10);
    log.note_own_loss(lost.number);
    let at = |place| Position { tag: Some(other), own: 0, place };
    assert!(log.missed(&session(other, at(0), at(place_in(10, 0))), &[], &LIMITS).is_none(), "the disconnected session has a gap");
    log.advance_to(20);
    let later = session(other, at(0), at(place_behind(20)));
    assert_eq!(log.missed(&later, &[], &LIMITS).unwrap().entries.len(), 0);
    log.trim(&Limits { total_bytes: 0, ..LIMITS }, Instant::now());
    assert!(log.missed(&later, &[], &LIMITS).is_some());
}

#[test]
fn log_recovers_nobody_before_a_loss_is_announced() {
    let (mine, other) = (NodeTag::random(), NodeTag::random());
    let publisher = Publisher { tag: other, epoch: 1 };
    let mut log = StreamLog::new(mine, Epoch::of(1 << 40), 0);
    log.advance_to(10);
    log.note_hole(publisher);
    log.advance_to(20);
    let at = |place| Position { tag: Some(other), own: 0, place };
    // The client got further in the stream than this node had when it heard the lost event.
    let away = session(other, at(0), at(place_behind(15)));
    assert!(log.missed(&away, &[], &LIMITS).is_none(), "the lost event may be one of its own");
    log.note_loss_notice(publisher, 21);
    log.advance_to(21);
    assert!(log.missed(&away, &[], &LIMITS).is_none(), "the lost event was before this place");
    let later = session(other, at(0), at(place_behind(21)));
    assert!(log.missed(&later, &[], &LIMITS).is_some());
}

#[test]
fn log_refuses_positions_beyond_its_own_head() {
    let (mine, other) = (NodeTag::random(), NodeTag::random());
    let mut log = StreamLog::new(mine, Epoch::of(1 << 40), 0);
    let last = append(&mut log, Reach::Everywhere);
    let here = session(mine, Position::default(), last.reached);
    let at = |tag, own| Position { tag: Some(tag), own, place: 0 };
    assert!(log.missed(&here, &[at(mine, 1)], &LIMITS).is_some());
    assert!(log.missed(&here, &[at(mine, 2)], &LIMITS).is_none(), "this node has one event");
    assert!(log.missed(&here, &[at(mine, 1), at(mine, 2)], &LIMITS).is_none(), "nor a private one");
    assert!(log.missed(&here, &[at(other, 8)], &LIMITS).is_some(), "another node may have sent more than is known here");
}

#[test]
fn session_gets_events_of_rooms_it_left_later() {
    let mine = NodeTag::random();
    let mut log = StreamLog::new(mine, Epoch::of(1 << 40), 0);
    let mut emit = || {
        let (number, reached) = log.next_position();
        let target = Target { rooms: vec!["red".into()], except: vec![] };
        let entry = Arc::new(Entry::new("/".into(), target, Frames::text("x"), true, number, reached, true));
        log.append_local(&entry, &LIMITS);
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
    fn log_accepts_any_bytes_from_the_stream(bytes in prop::collection::vec(any::<u8>(), 0..80), at in prop::option::of(any::<usize>()), place: u64) {
        let mut log = StreamLog::new(NodeTag::random(), Epoch::of(1), 0);
        let text = Frames::text(std::str::from_utf8(&bytes).unwrap_or("4text")).into_bytes();
        for frames in [bytes.into(), text] {
            let event = PersistedEvent { number: u64::MAX, at, namespace: "/".into(), target: Target::default(), compress: true, frames };
            drop(log.append_remote(NodeTag::random(), place, event.clone(), &LIMITS));
            log.append_private(NodeTag::random(), place, [event].into_iter(), &LIMITS);
        }
        log.advance_to(u64::MAX);
        log.forget_up_to(u64::MAX);
        let _ = (log.next_position(), log.position(), log.decode_offset(Some("nonsense"), true));
    }
}
