//! Arguments, and the types that are decoded from them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use sociable_protocol::{Args, ArgsError, Body, Encoding, JsonParser, MsgPackParser, Packet, Parser, Raw, Value};

/// Each is searched from the front, so that all of many would take long.
const LOOKED_AT: usize = 20;

/// The input are arguments in JSON, separated by commas.
pub fn args_json(input: &[u8]) {
    let Ok(items) = str::from_utf8(input) else { return };
    let Ok(Some(packet)) = JsonParser::default().decoder().text(format!(r#"2["x",{items}]"#).into()) else { return };
    let plain = of(&packet);
    hold(&plain);
    types_agree(&plain);

    // With an attachment, even one that is not used, types are read in another way, to the same result.
    let mut decoder = JsonParser::default().decoder();
    if decoder.text(format!(r#"51-["x",{items}]"#).into()) != Ok(None) {
        return;
    }
    let Ok(Some(packet)) = decoder.binary(Bytes::from_static(b"\x01\x02")) else { panic!("the packet is complete") };
    let attached = of(&packet);
    hold(&attached);
    for (plain, attached) in plain.iter().zip(attached.iter()).take(LOOKED_AT) {
        let (plain, attached) = (plain.decode::<Value>(0), attached.decode::<Value>(0));
        if !attached.as_ref().is_ok_and(holds_binary) {
            assert_eq!(plain, attached);
        }
    }
}

/// The first byte is the number of arguments in MessagePack that follow: up to 14.
pub fn args_msgpack(input: &[u8]) {
    let Some((count, items)) = input.split_first() else { return };
    let elements = 1 + count % 15;
    let message = [b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data", &[0x90 | elements][..], b"\xa1x", items].concat();
    let Ok(Some(packet)) = MsgPackParser::default().decoder().binary(message.into()) else { return };
    hold(&of(&packet));
}

/// The arguments of a packet; none if there is no place for any.
pub(crate) fn of(packet: &Packet) -> Args {
    match &packet.body {
        Body::Event { args, .. } | Body::Ack { args, .. } | Body::ConnectError(args) | Body::Connect(Some(args)) => args.clone(),
        Body::Connect(None) | Body::Disconnect => Args::empty(Encoding::Json),
    }
}

/// All accessors give the same arguments.
pub(crate) fn hold(args: &Args) {
    let count = args.len();
    let views: Vec<_> = args.iter().collect();
    assert_eq!(views.len(), count);
    assert_eq!(args.is_empty(), count == 0);
    assert_eq!(args.detached(), *args);
    assert_eq!(args.get(count), None);
    assert_eq!(args.decode(count), Ok(Value::Null));
    assert_eq!(args.decode::<String>(count), Err(ArgsError::Missing { index: count }));

    for (index, view) in views.iter().enumerate().take(LOOKED_AT) {
        assert_eq!(args.get(index).as_ref(), Some(view));
        assert_eq!(args.skip(index).prefix(1), *view);
        assert_eq!((args.prefix(index).len(), args.skip(index).len()), (index, count - index));
        assert_eq!(view.decode::<Value>(0).ok(), args.decode::<Value>(index).ok());
    }
    types(args);

    let values = args.decode_all::<Vec<Value>>();
    let one_by_one: Result<Vec<Value>, _> = views.iter().map(|view| view.decode(0)).collect();
    assert_eq!(values.as_ref().ok(), one_by_one.as_ref().ok());
    if let Ok(values) = values {
        written_again(args, &values);
    }
}

/// Decoded arguments can be encoded in either encoding, and appended to others.
fn written_again(args: &Args, values: &[Value]) {
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut builder = Args::builder(encoding);
        // The second append has to renumber the attachments.
        for _ in 0..2 {
            builder.append(args).expect("arguments that could be decoded");
        }
        let again = builder.finish();
        assert_eq!(again.len(), 2 * values.len());
        // With attachments, an object that looks like a placeholder is ambiguous.
        if !values.iter().any(looks_like_placeholder) {
            assert_eq!(again.decode_all::<Vec<Value>>(), Ok([values, values].concat()));
        }
    }
}

fn looks_like_placeholder(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(looks_like_placeholder),
        Value::Object(pairs) => value["_placeholder"] == Value::Bool(true) || pairs.iter().any(|(_, value)| looks_like_placeholder(value)),
        _ => false,
    }
}

fn holds_binary(value: &Value) -> bool {
    match value {
        Value::Binary(_) => true,
        Value::Array(elements) => elements.iter().any(holds_binary),
        Value::Object(pairs) => pairs.iter().any(|(_, value)| holds_binary(value)),
        _ => false,
    }
}

#[derive(Debug, Deserialize, PartialEq)]
struct Point {
    x: f64,
    y: Option<i16>,
    #[serde(default)]
    label: String,
}

#[derive(Debug, Deserialize, PartialEq)]
enum Shape {
    Dot,
    Circle(u32),
    Line(i8, i8),
    Box { width: u64, height: u64 },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Point(Point),
    Text(String),
}

/// Every type gives a value or an error.
fn types(args: &Args) {
    let _ = args.decode_all::<(String, Option<u8>, Bytes)>();
    let _ = args.decode_all::<Point>();
    let _ = args.decode_all::<Shape>();
    let _ = args.decode_all::<()>();
    let _ = args.decode_all::<IgnoredAny>();
    let _ = args.decode_all::<Vec<Raw>>();
    let _ = args.decode::<Raw>(0);
    let _ = args.decode::<IgnoredAny>(0);
    let _ = args.decode::<Shape>(0);
    let _ = args.decode::<Either>(0);
    let _ = args.decode::<BTreeMap<u16, char>>(0);
    let _ = args.decode::<(i128, u128, f32)>(0);
    let Ok(value) = args.decode::<Value>(0) else { return };
    if let Ok(text) = args.decode::<String>(0) {
        // Serde makes text of bytes, too, where they are UTF-8.
        assert_eq!(value.as_str().map(str::as_bytes).or(value.as_bytes().map(|bytes| &**bytes)), Some(text.as_bytes()));
    }
    if let Ok(number) = args.decode::<u64>(0) {
        assert_eq!(value.as_u64(), Some(number));
    }
    if let Ok(bool) = args.decode::<bool>(0) {
        assert_eq!(value.as_bool(), Some(bool));
    }
}

/// A type has the same value from the text and from a value of that text.
fn types_agree(args: &Args) {
    fn agree<T: DeserializeOwned + Debug + PartialEq>(args: &Args, value: &Value) {
        assert_eq!(args.decode::<T>(0).ok(), T::deserialize(value.clone()).ok(), "{}", std::any::type_name::<T>());
    }
    let Ok(value) = args.decode::<Value>(0) else { return };
    agree::<bool>(args, &value);
    agree::<u8>(args, &value);
    agree::<i64>(args, &value);
    agree::<f64>(args, &value);
    agree::<char>(args, &value);
    agree::<String>(args, &value);
    agree::<Option<u64>>(args, &value);
    agree::<Vec<Option<i32>>>(args, &value);
    agree::<(String, f64)>(args, &value);
    agree::<BTreeMap<String, u8>>(args, &value);
    agree::<BTreeMap<i16, Value>>(args, &value);
    agree::<Point>(args, &value);
    agree::<Shape>(args, &value);
    agree::<Either>(args, &value);
}
