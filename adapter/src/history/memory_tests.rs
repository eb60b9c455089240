use std::time::Duration;

use bytestring::ByteString;
use sociable_protocol::{Frames, IdSource};

use super::*;
use crate::{LeftRooms, Operation, Reach, Target};

const LIMITS: Limits =
    Limits { session_age: Duration::from_secs(60), event_age: Duration::from_secs(60), session_bytes: 10_000, total_bytes: 100_000 };

struct Bench {
    history: MemoryHistory,
    ids: IdSource,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self { history: MemoryHistory::new(limits), ids: IdSource::new(NodeTag::random()) }
    }

    fn session(&mut self, rooms: &[&str]) -> SavedSession {
        let rooms = rooms.iter().map(|room| (ByteString::from(*room), Position::default())).collect();
        let lost = Instant::now();
        SavedSession {
            namespace: "/".into(),
            pid: self.ids.draw(),
            id: self.ids.draw(),
            rooms,
            own_is_listed: false,
            left_rooms: LeftRooms::default(),
            data: None,
            since: Position::default(),
            sent: None,
            until: Position::default(),
            shown: vec![],
            past: vec![],
            lost: Some(lost),
        }
    }

    /// Appends an event for a room, or for all, and returns its offset.
    fn append(&self, room: &str, length: usize) -> String {
        let rooms = if room.is_empty() { vec![] } else { vec![room.into()] };
        let mut offset = String::new();
        let mut write = |text: &str| {
            offset = text.to_owned();
            Frames::text(&"x".repeat(length))
        };
        let target = Target { rooms, except: vec![] };
        let event =
            NewEvent { namespace: &"/".into(), target, compress: true, reach: &|| Reach::Everywhere, write: &mut write, trace: None };
        self.history.append(event, &mut |_| {}).unwrap();
        offset
    }

    fn missed(&self, session: &SavedSession, offset: Option<&str>) -> Option<Vec<u64>> {
        let missed = self.history.missed(session, offset)?;
        Some(missed.entries.iter().map(|entry| entry.number).collect())
    }

    fn take(&self, session: &SavedSession) -> Option<SavedSession> {
        self.history.claim_session("/", &session.pid, None).now_or_never().flatten()
    }
}

fn at(bench: &Bench, number: u64) -> Position {
    bench.history.position(number)
}

#[test]
fn session_misses_its_events_behind_the_offset() {
    let mut bench = Bench::new(LIMITS);
    let session = SavedSession { sent: Some(at(&bench, 2)), until: at(&bench, 2), ..bench.session(&["red"]) };
    let own = session.id.to_string();
    let first = bench.append("red", 1);
    bench.append("", 1);
    bench.append("blue", 1);
    bench.append(&own, 1);
    assert_eq!(bench.missed(&session, Some(&first)), Some(vec![2, 4]));
    assert_eq!(bench.missed(&session, None), Some(vec![1, 2, 4]));
}

#[test]
fn session_misses_no_event_from_before_its_join() {
    let mut bench = Bench::new(LIMITS);
    let mut session = bench.session(&["red", "secret"]);
    bench.append("secret", 1);
    bench.append("red", 1);
    session.rooms[1].1 = at(&bench, 2);
    bench.append("secret", 1);
    assert_eq!(bench.missed(&session, None), Some(vec![2, 3]));
}

#[test]
fn event_for_several_rooms_is_missed_once() {
    let mut bench = Bench::new(LIMITS);
    let session = bench.session(&["red", "blue"]);
    let send = |rooms: &[&str], except: &[&str]| {
        let named = |names: &[&str]| names.iter().map(|room| ByteString::from(*room)).collect();
        let target = Target { rooms: named(rooms), except: named(except) };
        let write = &mut |_: &str| Frames::text("x");
        let event = NewEvent { namespace: &"/".into(), target, compress: true, reach: &|| Reach::Everywhere, write, trace: None };
        bench.history.append(event, &mut |_| {}).unwrap();
    };
    send(&["red", "blue", "red"], &[]);
    send(&[], &["blue"]);
    send(&["red"], &["green"]);
    assert_eq!(bench.missed(&session, None), Some(vec![1, 3]));
}

#[test]
fn session_keeps_the_time_of_its_loss_when_saved_again() {
    let mut bench = Bench::new(Limits { session_age: Duration::from_secs(60), ..LIMITS });
    let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(61)) else { return };
    let session = SavedSession { lost: Some(long_ago), ..bench.session(&[]) };
    let fresh = bench.session(&[]);
    bench.history.save(fresh);
    bench.history.save(session.clone());
    assert_eq!(bench.take(&session), None);
    assert_eq!(bench.history.usage().sessions, 1);
}

#[test]
fn index_shrinks_with_the_events() {
    let bench = Bench::new(Limits { total_bytes: 3_000, ..LIMITS });
    for n in 0..100 {
        bench.append(&format!("room-{n}"), 500);
        bench.append("", 500);
    }
    let contents = bench.history.contents.lock();
    assert_eq!(contents.events.listed("/"), contents.events.len());
}

#[test]
fn history_refuses_offsets_it_never_gave_out() {
    let mut bench = Bench::new(LIMITS);
    let session = SavedSession { since: at(&bench, 1), sent: Some(at(&bench, 2)), until: at(&bench, 3), ..bench.session(&["red"]) };
    let before = bench.append("red", 1);
    bench.append("red", 1);
    bench.append("red", 1);
    let foreign = MemoryHistory::new(LIMITS).offset(&at(&bench, 3));
    let others = before.replace(".1", ".+1");
    for offset in ["", "3", ".3", "text", &foreign, &bench.history.offset(&at(&bench, 99)), &others, &before.replace(".1", ".01")] {
        assert_eq!(bench.missed(&session, Some(offset)), None, "{offset}");
    }
    assert_eq!(bench.missed(&session, Some(&before)), Some(vec![2, 3]));
    // A client that got no event of this session shows what it had before.
    let new = SavedSession { sent: None, until: at(&bench, 1), ..session };
    assert_eq!(bench.missed(&new, Some(&foreign)), Some(vec![2, 3]));
    assert_eq!(bench.missed(&new, Some("text")), None);
}

#[test]
fn quiet_session_recovers_when_its_last_event_is_dropped() {
    let mut bench = Bench::new(Limits { total_bytes: 3_000, ..LIMITS });
    let offset = bench.append("red", 1);
    for _ in 0..20 {
        bench.append("blue", 1000);
    }
    let served = SavedSession { sent: Some(at(&bench, 1)), until: at(&bench, 20), ..bench.session(&["red"]) };
    assert_eq!(bench.missed(&served, Some(&offset)), Some(vec![]));
    // The missed part of the sent events is unknown, so the session is not recovered.
    let behind = SavedSession { sent: Some(at(&bench, 15)), until: at(&bench, 20), ..served };
    assert_eq!(bench.missed(&behind, Some(&offset)), None);
}

#[test]
fn session_is_returned_once_and_to_its_namespace() {
    let mut bench = Bench::new(LIMITS);
    let session = bench.session(&["red"]);
    assert!(bench.history.save(session.clone()));
    assert!(bench.history.holds(&session.pid));
    assert_eq!(bench.history.claim_session("/other", &session.pid, None).now_or_never(), Some(None));
    assert_eq!(bench.take(&session), Some(session.clone()));
    assert_eq!(bench.take(&session), None);
    assert_eq!(bench.history.usage(), Usage::default());
}

#[test]
fn history_drops_the_oldest_beyond_its_bounds() {
    let mut bench = Bench::new(LIMITS);
    let oldest = bench.session(&[]);
    assert!(bench.history.save(oldest.clone()));
    for _ in 0..1000 {
        let session = bench.session(&["red"]);
        assert!(bench.history.save(session));
        bench.append("red", 500);
        assert!(bench.history.usage().bytes <= LIMITS.total_bytes);
    }
    assert!(!bench.history.holds(&oldest.pid));
    let large = SavedSession { data: Some(Value::String("x".repeat(LIMITS.session_bytes))), ..bench.session(&[]) };
    assert!(!bench.history.save(large));
    let head = bench.history.contents.lock().head;
    let since = at(&bench, head - 20);
    let greedy = SavedSession { since, ..bench.session(&["red"]) };
    assert_eq!(bench.missed(&greedy, None), None, "20 events are more than a session may have to be sent");
}

#[test]
fn returning_client_leaves_no_trail() {
    let mut bench = Bench::new(LIMITS);
    let session = bench.session(&[]);
    for _ in 0..10_000 {
        assert!(bench.history.save(session.clone()));
        assert!(bench.take(&session).is_some());
    }
    let contents = bench.history.contents.lock();
    assert!(contents.saved.len() < 100);
    assert_eq!(contents.bytes, 0);
}

#[test]
fn history_drops_what_is_too_old() {
    let mut bench = Bench::new(Limits { session_age: Duration::ZERO, event_age: Duration::ZERO, ..LIMITS });
    let session = bench.session(&["red"]);
    bench.history.save(session.clone());
    bench.append("red", 1);
    std::thread::sleep(Duration::from_millis(2));
    bench.history.sweep();
    assert_eq!(bench.history.usage(), Usage::default());
    assert_eq!(bench.take(&session), None);
}

/// Orders something of the sessions in a room, or with this id.
fn order(bench: &Bench, room: &str, operation: Operation) {
    let target = Target { rooms: vec![room.into()], except: vec![] };
    bench.history.append_order(Message { namespace: "/".into(), target, operation, trace: None }, &mut |_| {}).unwrap();
}

fn rooms(names: &[&str]) -> Vec<ByteString> {
    names.iter().map(|name| ByteString::from(*name)).collect()
}

#[test]
fn session_is_not_recovered_when_it_was_disconnected() {
    let mut bench = Bench::new(LIMITS);
    let session = bench.session(&["red"]);
    order(&bench, "blue", Operation::Disconnect { close: false });
    assert_eq!(bench.missed(&session, None), Some(vec![]));
    order(&bench, "red", Operation::Disconnect { close: false });
    // An offset of the client does not change that.
    let newest = bench.append("green", 1);
    assert_eq!((bench.missed(&session, None), bench.missed(&session, Some(&newest))), (None, None));
    let later = SavedSession { until: at(&bench, 2), ..session };
    assert_eq!(bench.missed(&later, None), Some(vec![]), "the session was in the room later");
}

#[test]
fn orders_change_which_events_were_missed() {
    let mut bench = Bench::new(LIMITS);
    let session = bench.session(&["red"]);
    bench.append("red", 1);
    order(&bench, "red", Operation::Join(rooms(&["blue", "red"])));
    bench.append("blue", 1);
    order(&bench, "blue", Operation::Leave(rooms(&["red"])));
    bench.append("red", 1);
    order(&bench, session.id.as_str(), Operation::Join(rooms(&["red"])));
    bench.append("red", 1);
    assert_eq!(bench.missed(&session, None), Some(vec![1, 3, 7]));
    let mut rooms = bench.history.missed(&session, None).unwrap().rooms;
    rooms.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(rooms, [("blue".into(), at(&bench, 2)), ("red".into(), at(&bench, 6))]);
}

#[test]
fn session_is_not_recovered_when_orders_were_dropped() {
    let mut bench = Bench::new(Limits { total_bytes: 3_000, ..LIMITS });
    let session = bench.session(&["red"]);
    order(&bench, "blue", Operation::Leave(rooms(&["green"])));
    for _ in 0..20 {
        bench.append("blue", 1000);
    }
    let served = SavedSession { until: at(&bench, 1), sent: None, ..session.clone() };
    let newest = bench.history.offset(&at(&bench, 21));
    assert_eq!(bench.missed(&session, Some(&newest)), None, "the order may have been for it");
    assert_eq!(bench.missed(&served, Some(&newest)), Some(vec![]));
}

#[test]
fn rooms_left_by_one_order_hide_no_event() {
    let mut bench = Bench::new(LIMITS);
    let names: Vec<String> = (0..=LeftRooms::MAX).map(|n| format!("room {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let session = bench.session(&names);
    names.iter().for_each(|name| drop(bench.append(name, 1)));
    order(&bench, session.id.as_str(), Operation::Leave(rooms(&names)));
    let missed = bench.history.missed(&session, None).unwrap();
    assert_eq!((missed.entries.len(), missed.rooms.len()), (names.len(), 0));
    // The connection is lost before any of that has come.
    let Missed { head, rooms, left_rooms, .. } = missed;
    let again = SavedSession { rooms, left_rooms, until: head, sent: Some(at(&bench, 1)), ..session };
    assert_eq!(bench.missed(&again, None), None, "one of the rooms is not remembered");
    let all = bench.history.offset(&head);
    assert_eq!(bench.missed(&again, Some(&all)), Some(vec![]));
}
