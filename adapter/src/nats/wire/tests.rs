use bytes::Bytes;
use proptest::prelude::*;
use sociable_protocol::{Args, Encoding, Frames, IdSource, NodeTag, Value};

use super::decode::WireError;
use super::format::kind;
use super::*;
use crate::message::{Answer, Ask, Message, Operation, Request, Room, SocketInfo, Target};

fn read(record: &[u8]) -> Record {
    let mut reader = Reader::new(&record[HEAD..]);
    let read = reader.record().expect("a record").expect("a valid record");
    assert!(reader.record().is_none(), "nothing is left");
    read
}

fn args(encoding: Encoding) -> Args {
    let mut args = Args::builder(encoding);
    args.push(&Value::Binary(Bytes::from_static(&[0, 255]))).unwrap().push("€, \"\n").unwrap().push(&[1.5]).unwrap();
    args.finish()
}

fn target() -> Target {
    Target { rooms: vec!["red, blue".into(), "".into()], except: vec!["Größe".into()] }
}

#[test]
fn messages_survive_a_round_trip() {
    let emit = Operation::Emit { frames: Frames::text("42[\"a\"]"), volatile: true, compress: false };
    let event = |encoding| Operation::ServerEvent { name: "note".into(), args: args(encoding) };
    let rooms = vec![Room::from("a"), Room::from("b")];
    let operations = [
        emit,
        Operation::Join(rooms.clone()),
        Operation::Leave(rooms),
        Operation::Disconnect { close: true },
        Operation::Disconnect { close: false },
        event(Encoding::Json),
        event(Encoding::MsgPack),
    ];
    for operation in operations {
        let target = if matches!(operation, Operation::ServerEvent { .. }) { Target::default() } else { target() };
        let message = Message { namespace: "/odd-a,b?c".into(), target, operation, trace: None };
        assert_eq!(read(&encode_message(&message)), Record::Message(message));
    }
}

#[test]
fn persisted_events_and_values_survive_a_round_trip() {
    for at in [None, Some(9)] {
        let frames = Frames::text("42[\"a\",\"offset\"]").into_bytes();
        let event =
            PersistedEvent { number: u64::MAX - 1, at, namespace: "/odd-a,b?c".into(), target: target(), compress: at.is_some(), frames };
        assert_eq!(
            read(&encode_persisted(event.number, at, &event.namespace, &event.target, event.compress, &event.frames)),
            Record::Persisted(event)
        );
    }
    let value = (Value::Binary(Bytes::from_static(&[0, 255])), u64::MAX, Some("€"), vec![NodeTag::random()]);
    let packed = encode_value(&value).unwrap();
    assert_eq!(decode_value::<(Value, u64, Option<String>, Vec<NodeTag>)>(&packed), Some((value.0, value.1, Some("€".into()), value.3)));
    assert_eq!(decode_value::<(Value, u64, Option<String>, Vec<NodeTag>)>(&packed[..packed.len() - 1]), None);
}

#[test]
fn questions_survive_a_round_trip() {
    let asks = [
        Ask::Ack { target: target(), name: "q".into(), args: args(Encoding::Json), compress: true },
        Ask::Sockets { target: target() },
        Ask::ServerEvent { name: "who".into(), args: args(Encoding::MsgPack) },
    ];
    for ask in asks {
        let request = Request { namespace: "/chat".into(), ask, trace: None };
        assert_eq!(read(&encode_request(7, &request)), Record::Request(7, request));
    }
    assert_eq!(read(&encode_cancel(u64::MAX)), Record::Cancel(u64::MAX));
}

#[test]
fn answers_survive_a_round_trip() {
    let mut ids = IdSource::new(NodeTag::random());
    let (a, b) = (ids.draw(), ids.draw());
    let socket = SocketInfo {
        id: a,
        rooms: vec!["red".into()],
        data: Value::Binary(Bytes::from_static(b"\0")),
        auth: Value::Null,
        url: "/socket.io/?x=1".into(),
        address: "127.0.0.1".into(),
        issued: 1_700_000_000_000,
    };
    let answers = [
        Answer::Clients(vec![a, b]),
        Answer::Clients(vec![]),
        Answer::Ack(a, args(Encoding::Json)),
        Answer::Gone(b),
        Answer::Sockets(vec![socket.clone(), socket.clone()]),
        Answer::Sockets(vec![]),
        Answer::ServerAck(Args::empty(Encoding::MsgPack)),
    ];
    for answer in answers {
        let records = encode_answer(9, &answer, 1 << 20);
        assert_eq!(records.len(), 1);
        assert_eq!(read(&records[0]), Record::Answer(9, answer));
    }
    assert_eq!(read(&encode_end(9)), Record::End(9));
    assert_eq!(read(&encode_refused(9)), Record::Refused(9));
    let many = Answer::Sockets(vec![socket; 10]);
    let records = encode_answer(9, &many, 600);
    assert!(records.len() > 3 && records.iter().all(|record| record.len() - HEAD <= 600));
    let total: usize =
        records.iter().map(|record| if let Record::Answer(9, Answer::Sockets(part)) = read(record) { part.len() } else { 0 }).sum();
    assert_eq!(total, 10);
}

#[test]
fn heads_of_all_versions_are_read_but_only_our_records() {
    let head = Head { publisher: Publisher { tag: NodeTag::random(), epoch: 3 }, order: 4, sequence: 5 };
    let mut bytes = [0; HEAD];
    for (version, is_read) in [(VERSIONS.0, true), (VERSIONS.1, true), (VERSIONS.1 + 1, false), (255, false)] {
        head.write(version, &mut bytes);
        assert_eq!(Head::read(&mut Reader::new(&bytes)), Ok(head));
        assert_eq!(records(&bytes).is_some(), is_read, "{version}");
    }
    bytes[0] = 0;
    assert_eq!(Head::read(&mut Reader::new(&bytes)), Err(WireError::Malformed("version")));
    assert_eq!(Head::read(&mut Reader::new(&[VERSIONS.0, b'a'])), Err(WireError::Short));
    assert_eq!(read(&encode_lost()), Record::Lost);
}

#[test]
fn common_version_is_the_highest_that_all_read() {
    assert_eq!(common_version((1, 3), std::iter::empty()), Some(3));
    assert_eq!(common_version((1, 3), [(1, 4), (2, 2)].into_iter()), Some(2));
    assert_eq!(common_version((2, 3), [(1, 1)].into_iter()), None);
}

#[test]
fn list_longer_than_its_record_takes_no_memory() {
    let mut bytes = vec![0, 0, 0, 9, kind::CLIENTS];
    bytes.extend([0; 8]);
    assert_eq!(Reader::new(&bytes).record(), Some(Err(WireError::Short)), "no length of the list");
    let mut bytes = vec![0, 0, 0, 13, kind::CLIENTS];
    bytes.extend([0; 8]);
    bytes.extend([255; 4]);
    assert_eq!(Reader::new(&bytes).record(), Some(Err(WireError::Short)));
    assert_eq!(Reader::new(&[0, 0, 0, 1, 99]).record(), Some(Err(WireError::Kind(99))));
}

proptest! {
    #[test]
    fn reader_ends_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..40u8) {
        let mut record = vec![0, 0, 1, 0, kind];
        record.extend(&bytes);
        for bytes in [&bytes, &record] {
            let mut reader = Reader::new(bytes);
            let mut read = 0;
            while reader.record().is_some() {
                read += 1;
                prop_assert!(read <= bytes.len());
            }
        }
    }
}

#[test]
fn order_has_its_number_behind_what_older_nodes_read() {
    let message = Message {
        namespace: "/".into(),
        target: Target { rooms: vec!["red".into()], except: vec!["blue".into()] },
        operation: Operation::Leave(vec!["green".into()]),
        trace: None,
    };
    let read = |record: &[u8]| Reader::new(&record[HEAD..]).record();
    let numbered = encode_order(7, &message);
    assert!(is_order(&numbered) && is_order(&encode_message(&message)));
    assert_eq!(read(&numbered), Some(Ok(Record::Order(7, message.clone()))));
    assert_eq!(read(&encode_message(&message)), Some(Ok(Record::Message(message))));
}
