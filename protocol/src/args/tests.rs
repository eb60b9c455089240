use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MsgPack];

fn three(encoding: Encoding) -> Args {
    let mut builder = Args::builder(encoding);
    builder.push("a,\"]").unwrap().push(&[1, 2]).unwrap().push(&BTreeMap::from([("k", true)])).unwrap();
    builder.finish()
}

#[test]
fn arguments_are_decoded_one_by_one() {
    for args in BOTH.map(three) {
        assert_eq!((args.len(), args.is_empty()), (3, false));
        assert_eq!(args.decode::<String>(0).unwrap(), "a,\"]");
        assert_eq!(args.decode::<[u8; 2]>(1).unwrap(), [1, 2]);
        assert!(args.decode::<BTreeMap<String, bool>>(2).unwrap()["k"]);
        assert_eq!(args.decode::<Option<u8>>(3), Ok(None));
        assert_eq!(args.decode::<u8>(3), Err(ArgsError::Missing { index: 3 }));
        assert!(matches!(args.decode::<u8>(1), Err(ArgsError::Invalid { index: 1, .. })));
    }
}

#[test]
fn arguments_are_decoded_together() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Named {
        text: String,
        numbers: Vec<u8>,
    }
    for args in BOTH.map(three) {
        type Map = BTreeMap<String, bool>;
        let (text, numbers, map, more): (String, Vec<u8>, Map, Option<String>) = args.decode_all().unwrap();
        assert_eq!((text.as_str(), numbers, map.len(), more), ("a,\"]", vec![1, 2], 1, None));
        assert_eq!(args.decode_all::<(String,)>().unwrap().0, "a,\"]", "surplus arguments are ignored");
        assert_eq!(args.decode_all::<Named>().unwrap(), Named { text: "a,\"]".to_owned(), numbers: vec![1, 2] });
        assert_eq!(args.decode_all::<Vec<Value>>().unwrap().len(), 3);
        args.decode_all::<()>().unwrap();
        assert_eq!(args.decode_all::<(Value, Value, Value, u8)>(), Err(ArgsError::Missing { index: 3 }));
        assert!(matches!(args.decode_all::<(Value, String)>(), Err(ArgsError::Invalid { index: 1, .. })));
        assert!(matches!(args.decode_all::<String>(), Err(ArgsError::Shape(_))));
        assert_eq!(Args::empty(args.encoding()).decode_all::<Vec<u8>>(), Ok(vec![]));
    }
}

#[test]
fn views_are_slices() {
    for args in BOTH.map(three) {
        let all: Vec<Args> = args.iter().collect();
        assert_eq!(all.len(), 3);
        for (index, one) in all.iter().enumerate() {
            assert_eq!(args.get(index).as_ref(), Some(one));
            assert_eq!(args.skip(index).prefix(1), *one);
            assert_eq!(one.decode::<Value>(0), args.decode(index));
        }
        assert_eq!(args.get(3), None);
        assert_eq!((args.skip(0), args.prefix(3), args.prefix(9)), (args.clone(), args.clone(), args.clone()));
        assert_eq!(
            (args.skip(3), args.skip(9), args.prefix(0)),
            (Args::empty(args.encoding()), Args::empty(args.encoding()), Args::empty(args.encoding()))
        );
        assert_eq!(args.prefix(2).decode_all::<(String, Vec<u8>)>().unwrap().1, [1, 2]);
    }
}

#[test]
fn whitespace_between_arguments_is_skipped() {
    let args = Args::from_json("1 , [ 2 ] ,\n 3".into(), 3);
    assert_eq!(args.iter().map(|arg| arg.raw_json().unwrap().to_owned()).collect::<Vec<_>>(), ["1", "[ 2 ]", "3"]);
    assert_eq!(args.skip(2).raw_json(), Some("3"));
    assert_eq!(args.decode_all::<(u8, [u8; 1], u8)>(), Ok((1, [2], 3)));
}

#[test]
fn bytes_become_attachments() {
    let file = Value::Object(vec![("data".to_owned(), Bytes::from_static(b"\0\xff").into())]);
    for encoding in BOTH {
        let mut builder = Args::builder(encoding);
        builder.push(&Bytes::from_static(b"x")).unwrap().push(&file).unwrap().push(serde_bytes::Bytes::new(b"y")).unwrap();
        let args = builder.finish();
        assert_eq!(args.attachments().len(), if encoding == Encoding::Json { 3 } else { 0 });
        assert_eq!(args.decode_all::<(Bytes, Value, Bytes)>().unwrap(), (Bytes::from_static(b"x"), file.clone(), Bytes::from_static(b"y")));
        assert_eq!(args.get(2).unwrap().decode::<Bytes>(0).unwrap(), "y");
    }
}

#[test]
fn values_unknown_to_json_become_null() {
    let args = Args::encode(Encoding::Json, &[f64::NAN, f64::INFINITY, 1.5]).unwrap();
    assert_eq!(args.raw_json(), Some("[null,null,1.5]"));
}

#[test]
fn failed_push_leaves_builder_unchanged() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    for encoding in BOTH {
        let mut builder = Args::builder(encoding);
        builder.push(&1).unwrap();
        assert!(builder.push(&(serde_bytes::Bytes::new(b"x"), Fails)).is_err());
        builder.push(&2).unwrap();
        let args = builder.finish();
        assert_eq!((args.decode_all(), args.attachments().len()), (Ok((1, 2)), 0));
    }
}

#[test]
fn appended_placeholders_get_new_numbers() {
    let binary = |bytes: &'static [u8]| Args::encode(Encoding::Json, &Bytes::from_static(bytes)).unwrap();
    let mut builder = Args::builder(Encoding::Json);
    builder.push(&0).unwrap();
    builder.append(&binary(b"a")).unwrap().append(&Args::empty(Encoding::Json)).unwrap().append(&binary(b"b")).unwrap();
    builder.append(&Args::encode(Encoding::MsgPack, &Bytes::from_static(b"c")).unwrap()).unwrap();
    builder.append(&Args::encode(Encoding::Json, "d").unwrap()).unwrap();
    let args = builder.finish();
    assert_eq!(args.attachments(), ["a", "b", "c"]);
    let decoded: (u8, Bytes, Bytes, Bytes, String) = args.decode_all().unwrap();
    assert_eq!(decoded, (0, "a".into(), "b".into(), "c".into(), "d".to_owned()));
}

#[test]
fn raw_values_are_part_of_types() {
    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Envelope {
        to: String,
        content: Raw,
    }
    for encoding in BOTH {
        let content = Value::Array(vec![Bytes::from_static(b"x").into(), 1u64.into()]);
        let args = Args::encode(encoding, &content).unwrap();
        let envelope = Envelope { to: "a".to_owned(), content: Raw::new(&args) };
        let args = Args::encode(encoding, &envelope).unwrap();
        let read: Envelope = args.decode(0).unwrap();
        assert_eq!(read.content.args().decode::<Value>(0).unwrap(), content);
        assert_eq!(Args::encode(encoding, &read).unwrap(), args);
    }
}

#[test]
fn arguments_serialize_as_a_sequence() {
    for args in BOTH.map(three) {
        assert_eq!(serde_json::to_string(&args).unwrap(), r#"["a,\"]",[1,2],{"k":true}]"#);
    }
}

#[test]
fn too_deep_arguments_are_refused() {
    let levels = 900;
    let json = Args::from_json(("[".repeat(levels) + &"]".repeat(levels)).into(), 1);
    let msgpack = Args::from_msgpack([vec![0x91; levels], vec![msgpack::NIL]].concat().into(), 1);
    for args in [json, msgpack] {
        assert!(matches!(args.decode::<Value>(0), Err(ArgsError::Invalid { index: 0, .. })));
        assert!(args.decode_all::<(Value,)>().is_err());
        for encoding in BOTH.into_iter().filter(|encoding| *encoding != args.encoding()) {
            assert_eq!(*args.in_encoding(encoding), Args::null(encoding));
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|number: f64| Value::from(number + 0.25)),
        any::<String>().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Binary(bytes.into())),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(Value::Object),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_both_encodings(values in prop::collection::vec(value(), 0..4)) {
        for encoding in BOTH {
            let mut builder = Args::builder(encoding);
            for value in &values {
                builder.push(value).unwrap();
            }
            let args = builder.finish();
            prop_assert_eq!(args.decode_all::<Vec<Value>>().unwrap(), values.clone());
            for other in BOTH {
                let converted = args.in_encoding(other).into_owned();
                prop_assert_eq!(converted.encoding(), other);
                prop_assert_eq!(converted.decode_all::<Vec<Value>>().unwrap(), values.clone());
                let mut builder = Args::builder(other);
                builder.append(&args).unwrap().append(&converted).unwrap();
                let twice = builder.finish();
                prop_assert_eq!(twice.skip(values.len()).decode_all::<Vec<Value>>().unwrap(), values.clone());
            }
        }
    }
}
