use proptest::prelude::*;
use sociable_protocol::{IdSource, Value};

use super::*;

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
fn messages_survive() {
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
        let message = Message { namespace: "/odd-a,b?c".into(), target, operation };
        assert_eq!(read(&tell(&message)), Record::Tell(message));
    }
}

#[test]
fn events_of_the_history_and_what_is_packed_survive() {
    for at in [None, Some(9)] {
        let frames = Frames::text("42[\"a\",\"offset\"]").into_bytes();
        let event = Kept { number: u64::MAX - 1, at, namespace: "/odd-a,b?c".into(), target: target(), compress: at.is_some(), frames };
        assert_eq!(read(&kept(event.number, at, &event.namespace, &event.target, event.compress, &event.frames)), Record::Kept(event));
    }
    let value = (Value::Binary(Bytes::from_static(&[0, 255])), u64::MAX, Some("€"), vec![NodeTag::random()]);
    let packed = pack(&value).unwrap();
    assert_eq!(unpack::<(Value, u64, Option<String>, Vec<NodeTag>)>(&packed), Some((value.0, value.1, Some("€".into()), value.3)));
    assert_eq!(unpack::<(Value, u64, Option<String>, Vec<NodeTag>)>(&packed[..packed.len() - 1]), None);
}

#[test]
fn questions_survive() {
    let asks = [
        Ask::Ack { target: target(), name: "q".into(), args: args(Encoding::Json), compress: true },
        Ask::Sockets { target: target() },
        Ask::ServerEvent { name: "who".into(), args: args(Encoding::MsgPack) },
    ];
    for ask in asks {
        let request = Request { namespace: "/chat".into(), ask };
        assert_eq!(read(&super::ask(7, &request)), Record::Ask(7, request));
    }
    assert_eq!(read(&cancel(u64::MAX)), Record::Cancel(u64::MAX));
}

#[test]
fn answers_survive() {
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
        let records = super::answer(9, &answer, 1 << 20);
        assert_eq!(records.len(), 1);
        assert_eq!(read(&records[0]), Record::Answer(9, answer));
    }
    assert_eq!(read(&end(9)), Record::End(9));
    assert_eq!(read(&refused(9)), Record::Refused(9));
    let many = Answer::Sockets(vec![socket; 10]);
    let records = super::answer(9, &many, 600);
    assert!(records.len() > 3 && records.iter().all(|record| record.len() - HEAD <= 600));
    let total: usize =
        records.iter().map(|record| if let Record::Answer(9, Answer::Sockets(part)) = read(record) { part.len() } else { 0 }).sum();
    assert_eq!(total, 10);
}

#[test]
fn heads_of_all_versions_are_read_and_records_of_ours() {
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
    assert_eq!(read(&lost()), Record::Lost);
}

#[test]
fn nodes_write_the_highest_version_that_all_read() {
    assert_eq!(common_version((1, 3), std::iter::empty()), Some(3));
    assert_eq!(common_version((1, 3), [(1, 4), (2, 2)].into_iter()), Some(2));
    assert_eq!(common_version((2, 3), [(1, 1)].into_iter()), None);
}

#[test]
fn what_promises_more_than_there_is_takes_no_memory() {
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
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..40u8) {
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
fn order_bears_its_number_behind_what_older_nodes_read() {
    let message = Message {
        namespace: "/".into(),
        target: Target { rooms: vec!["red".into()], except: vec!["blue".into()] },
        operation: Operation::Leave(vec!["green".into()]),
    };
    let read = |record: &[u8]| Reader::new(&record[HEAD..]).record();
    let numbered = order(7, &message);
    assert!(is_order(&numbered) && is_order(&tell(&message)));
    assert_eq!(read(&numbered), Some(Ok(Record::Order(7, message.clone()))));
    assert_eq!(read(&tell(&message)), Some(Ok(Record::Tell(message))));
}
