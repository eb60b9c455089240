//! The decoders on each kind of input: exactly the behaviour of socket.io-parser 4.2.7 and socket.io-msgpack-parser 3.

#![allow(clippy::unwrap_used)] // in helpers of tests, too

use bytes::Bytes;
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Args, Body, DecodeError, Encoding, JsonParser, Limits, MsgPackParser, Packet, Parser, Value};

fn text(text: &str) -> Result<Packet, DecodeError> {
    JsonParser::default().decoder().text(text.into()).map(|packet| packet.expect("no attachments are expected"))
}

fn refusal(input: &str) -> String {
    JsonParser::default().decoder().text(input.into()).unwrap_err().to_string()
}

fn event(input: &str) -> (String, String, Option<u64>) {
    match text(input).unwrap().body {
        Body::Event { name, args, id } => (name.to_string(), args.raw_json().unwrap().to_owned(), id),
        other => panic!("{input}: {other:?}"),
    }
}

fn parts(name: &str, args: &str, id: Option<u64>) -> (String, String, Option<u64>) {
    (name.to_owned(), args.to_owned(), id)
}

#[test]
fn connect_takes_an_object_or_nothing() {
    assert_eq!(text("0").unwrap(), Packet::new(Body::Connect(None)));
    assert_eq!(text("0/a?x=1,").unwrap(), Packet::for_namespace("/a?x=1", Body::Connect(None)));
    assert_eq!(text("0/a").unwrap(), Packet::for_namespace("/a", Body::Connect(None)));
    let Body::Connect(Some(auth)) = text("0/a, {\"token\":1} ").unwrap().body else { panic!("auth") };
    assert_eq!(auth.raw_json(), Some("{\"token\":1}"));
    for bad in ["0[]", "0null", "0\"x\"", "0{", "0{}x", "0/a,5x"] {
        assert_eq!(refusal(bad), "invalid payload", "{bad}");
    }
}

#[test]
fn disconnect_takes_nothing() {
    assert_eq!(text("1").unwrap(), Packet::new(Body::Disconnect));
    assert_eq!(text("1/nsp,").unwrap(), Packet::for_namespace("/nsp", Body::Disconnect));
    assert_eq!(refusal("1\"x\""), "invalid payload");
    assert_eq!(refusal("1{}"), "invalid payload");
}

#[test]
fn events_have_a_name() {
    assert_eq!(event(r#"2["echo",{"a":1}]"#), parts("echo", r#"{"a":1}"#, None));
    assert_eq!(event(r#"2/nsp,12["a",1,"b"]"#), parts("a", r#"1,"b""#, Some(12)));
    assert_eq!(event(r#"2["error"]"#), parts("error", "", None));
    assert_eq!(event("2[42,true]"), parts("42", "true", None));
    assert_eq!(event(r#"2["\u00e9\n"]"#), parts("é\n", "", None));
    assert_eq!(event(r#"2[""]"#), parts("", "", None));
    assert_eq!(event("2"), parts("", "", None));
    for bad in ["2[]", "2[null]", "2{}", "2abc[\"x\"]", "2\"x\"", "2[\"x\"", "2[\"x\"]]", "2[[\"x\"]]", "2[true]", "2 1 2[\"x\"]"] {
        assert_eq!(refusal(bad), "invalid payload", "{bad}");
    }
}

#[test]
fn reserved_names_are_refused() {
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "\\u0063onnect"] {
        assert_eq!(refusal(&format!("2[\"{name}\"]")), "invalid payload", "{name}");
        assert_eq!(refusal(&format!("51-[\"{name}\"]")), "invalid payload", "{name}");
    }
}

#[test]
fn ids_are_read_as_in_javascript() {
    assert_eq!(event("20[\"x\"]").2, Some(0));
    assert_eq!(event("2 [\"x\"]").2, Some(0));
    assert_eq!(event("2\t7\u{a0}[\"x\"]").2, Some(7));
    assert_eq!(event("218446744073709551615[\"x\"]").2, Some(u64::MAX));
    assert_eq!(event("299999999999999999999999[\"x\"]").2, Some(u64::MAX));
}

#[test]
fn acks_take_an_array_or_nothing() {
    let ack = |input: &str| match text(input).unwrap().body {
        Body::Ack { args, id } => (args.raw_json().unwrap().to_owned(), id),
        other => panic!("{other:?}"),
    };
    assert_eq!(ack("312[1, \"a\" ]"), ("1, \"a\"".to_owned(), Some(12)));
    assert_eq!(ack("312[]"), (String::new(), Some(12)));
    assert_eq!(ack("312"), (String::new(), Some(12)));
    assert_eq!(ack("3"), (String::new(), None));
    assert_eq!(refusal("31{}"), "invalid payload");
}

#[test]
fn connect_errors_take_a_string_or_object() {
    assert!(matches!(text("4\"bad\"").unwrap().body, Body::ConnectError(error) if error.raw_json() == Some("\"bad\"")));
    assert!(matches!(text("4/a,{}").unwrap().body, Body::ConnectError(_)));
    assert_eq!(refusal("4[]"), "invalid payload");
}

#[test]
fn unknown_types_are_named() {
    assert_eq!(refusal("7"), "unknown packet type 7");
    assert_eq!(refusal("9[\"x\"]"), "unknown packet type 9");
    for bad in ["", "x", "é", "-1", "\0"] {
        assert_eq!(refusal(bad), "unknown packet type NaN", "{bad}");
    }
}

#[test]
fn attachments_are_counted() {
    for bad in
        ["5", "5-[\"x\"]", "50-[\"x\"]", "5[\"x\"]", "5x-[\"x\"]", "51[\"x\"]", "51.5-[\"x\"]", "5-1-[\"x\"]", "6-[]", "5000-[\"x\"]"]
    {
        assert_eq!(refusal(bad), "Illegal attachments", "{bad}");
    }
    assert_eq!(refusal("511-[\"x\"]"), "too many attachments");
    assert_eq!(refusal("599999999999999999999999-[\"x\"]"), "too many attachments");
    assert_eq!(JsonParser::default().decoder().text("510-[\"x\"]".into()), Ok(None));
    let strict = JsonParser::new(Limits { max_attachments: 1, ..Limits::default() });
    assert_eq!(strict.decoder().text("52-[\"x\"]".into()), Err(DecodeError::TooManyAttachments));
}

#[test]
fn attachments_replace_their_placeholders() {
    let mut decoder = JsonParser::default().decoder();
    let head = r#"52-/a,3["x",{"b":{"_placeholder":true,"num":1}},[{"_placeholder":true,"num":1}]]"#;
    assert_eq!(decoder.text(head.into()), Ok(None));
    assert_eq!(decoder.binary(Bytes::from_static(b"0")), Ok(None));
    let packet = decoder.binary(Bytes::from_static(b"1")).unwrap().unwrap();
    let Body::Event { name, args, id: Some(3) } = packet.body else { panic!("an event") };
    assert_eq!((&*packet.namespace, &*name), ("/a", "x"));
    let (object, array): (Value, (Bytes,)) = args.decode_all().unwrap();
    assert_eq!(object["b"].as_bytes().unwrap(), "1");
    assert_eq!(array.0, "1");
    assert_eq!(decoder.text("1".into()).unwrap(), Some(Packet::new(Body::Disconnect)), "the decoder continues");
}

#[test]
fn placeholders_name_existing_attachments() {
    let head = |json: &str| JsonParser::default().decoder().text(format!("51-[\"x\",{json}]").into());
    let good = [
        r#"{"_placeholder":true,"num":0}"#,
        r#"{"num":0.0,"_placeholder":true,"more":[1]}"#,
        r#"{"_placeholder":false,"num":5}"#,
        r#"{"_placeholder":"true","num":5}"#,
        r#"{"_placeholder":[true],"num":5}"#,
        r#"{"_placeholder":true,"num":5,"num":0}"#,
        r#"{"_placeholder":true,"_placeholder":1,"num":5}"#,
        r#"{"_placeholder":true,"num":0,"in":{"_placeholder":true,"num":5}}"#,
        r#"["_placeholder",true,{"num":5}]"#,
        "1",
    ];
    for json in good {
        assert_eq!(head(json), Ok(None), "{json}");
    }
    let bad = [
        r#"{"_placeholder":true,"num":1}"#,
        r#"{"_placeholder":true,"num":-1}"#,
        r#"{"_placeholder":true,"num":0.5}"#,
        r#"{"_placeholder":true,"num":"0"}"#,
        r#"{"_placeholder":true,"num":[0]}"#,
        r#"{"_placeholder":true,"num":null}"#,
        r#"{"_placeholder":true,"num":1e400}"#,
        r#"{"_placeholder":true,"num":0,"num":{}}"#,
        r#"{"_placeholder":true}"#,
        r#"[[{"a":{"\u005fplaceholder":true,"n\u0075m":7}}],{}]"#,
    ];
    for json in bad {
        assert_eq!(head(json).unwrap_err().to_string(), "illegal attachments", "{json}");
    }
    assert!(text(r#"2["x",{"_placeholder":true,"num":5}]"#).is_ok(), "a packet without attachments has no placeholders");
}

#[test]
fn attachments_are_awaited_even_without_payload() {
    let mut decoder = JsonParser::default().decoder();
    assert_eq!(decoder.text("61-4".into()), Ok(None));
    assert!(matches!(decoder.binary(Bytes::new()).unwrap().unwrap().body, Body::Ack { id: Some(4), .. }));
}

#[test]
fn unexpected_binary_is_refused() {
    let refused = JsonParser::default().decoder().binary(Bytes::new()).unwrap_err();
    assert_eq!(refused.to_string(), "got binary data when not reconstructing a packet");
}

#[test]
fn packets_are_encoded_as_in_the_javascript_server() {
    let encode = |packet: Packet| match JsonParser::default().encode(&packet).iter().collect::<Vec<_>>()[..] {
        [Payload::Text(text)] => text.to_owned(),
        ref other => panic!("{other:?}"),
    };
    let args = |json: &str| Args::encode(Encoding::Json, &serde_json::from_str::<Value>(json).unwrap()).unwrap();
    assert_eq!(encode(Packet::new(Body::Connect(Some(args(r#"{"sid":"x"}"#))))), r#"40{"sid":"x"}"#);
    assert_eq!(encode(Packet::for_namespace("/c", Body::Connect(None))), "40/c,");
    assert_eq!(encode(Packet::for_namespace("/c", Body::Disconnect)), "41/c,");
    let error = Body::ConnectError(args(r#"{"message":"Invalid namespace"}"#));
    assert_eq!(encode(Packet::for_namespace("/u", error)), r#"44/u,{"message":"Invalid namespace"}"#);
    assert_eq!(encode(Packet::new(Body::Ack { args: Args::empty(Encoding::Json), id: Some(1) })), "431[]");
    let event = Body::Event { name: "a\"b".into(), args: args("[null]"), id: Some(5) };
    assert_eq!(encode(Packet::for_namespace("/n", event)), r#"42/n,5["a\"b",[null]]"#);
    let converted = Body::Event { name: "x".into(), args: Args::encode(Encoding::MsgPack, &[1]).unwrap(), id: None };
    assert_eq!(encode(Packet::new(converted)), r#"42["x",[1]]"#);
}

/// Returns a MessagePack map of these keys and raw values.
fn map(pairs: &[(&str, &[u8])]) -> Bytes {
    let mut out = vec![0x80 | pairs.len() as u8];
    for (key, value) in pairs {
        out.push(0xa0 | key.len() as u8);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value);
    }
    out.into()
}

fn msgpack(pairs: &[(&str, &[u8])]) -> Result<Body, String> {
    let packet = MsgPackParser::default().decoder().binary(map(pairs)).map_err(|error| error.to_string())?;
    let packet = packet.expect("MessagePack packets have no attachments");
    assert_eq!(packet.namespace, "/");
    Ok(packet.body)
}

#[test]
fn msgpack_packets_are_checked() {
    const NSP: (&str, &[u8]) = ("nsp", b"\xa1/");
    const UNDEFINED: &[u8] = &[0xd4, 0, 0];
    let event = Body::Event { name: "a".into(), args: Args::encode(Encoding::MsgPack, &7).unwrap(), id: None };
    // As the JavaScript client sends it: undefined fields, options, any order.
    assert_eq!(msgpack(&[("options", b"\x81\xa1c\xc3"), ("data", b"\x92\xa1a\x07"), ("id", UNDEFINED), NSP, ("type", &[2])]), Ok(event));
    assert_eq!(msgpack(&[("type", &[0]), ("data", UNDEFINED), NSP]), Ok(Body::Connect(None)));
    assert_eq!(msgpack(&[("type", &[1]), NSP]), Ok(Body::Disconnect));
    let numbered = msgpack(&[("type", &[2]), ("data", &[0x91, 5]), ("id", &[9]), NSP]);
    assert!(matches!(numbered, Ok(Body::Event { name, id: Some(9), .. }) if name == "5"));
    assert!(matches!(msgpack(&[("type", &[3]), ("data", &[0x90]), NSP]), Ok(Body::Ack { id: None, .. })));
    assert!(matches!(msgpack(&[("type", &[4]), ("data", b"\xa1x"), NSP]), Ok(Body::ConnectError(_))));

    let refusal = |pairs: &[(&str, &[u8])]| msgpack(pairs).unwrap_err();
    for bad in [&[5][..], &[0xff], &[0xc0], b"\xa12"] {
        assert_eq!(refusal(&[("type", bad), NSP]), "invalid packet type");
    }
    assert_eq!(refusal(&[NSP]), "invalid packet type");
    assert_eq!(refusal(&[("type", &[1])]), "invalid namespace");
    assert_eq!(refusal(&[("type", &[1]), ("nsp", &[0xc0])]), "invalid namespace");
    for (kind, data) in
        [(0, &[0xc0][..]), (0, &[0x90]), (1, &[0xc0]), (2, &[0x80]), (2, &[0x90]), (2, &[0x91, 0xc0]), (3, &[0xc0]), (4, &[0x90])]
    {
        assert_eq!(refusal(&[("type", &[kind]), ("data", data), NSP]), "invalid payload", "{kind} {data:?}");
    }
    assert_eq!(refusal(&[("type", &[2]), ("data", b"\x91\xaadisconnect"), NSP]), "invalid payload");
    assert_eq!(refusal(&[("type", &[2]), NSP]), "invalid payload");
    for bad in [&[0xc0][..], &[0xff], b"\xa11", &[0xca, 0x3f, 0, 0, 0]] {
        assert_eq!(refusal(&[("type", &[3]), ("data", &[0x90]), ("id", bad), NSP]), "invalid packet id");
    }
}

#[test]
fn msgpack_extensions_are_replaced() {
    let data = [&b"\x95\xa1a"[..], &[0xd4, 0, 0], &[0xc7, 1, 0, 9], &[0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0x91, 0xd4, 7, 1]].concat();
    let Ok(Body::Event { args, .. }) = msgpack(&[("type", &[2]), ("nsp", b"\xa1/"), ("data", &data)]) else { panic!("an event") };
    let (undefined, buffer, date, other): (Option<u8>, Bytes, String, Value) = args.decode_all().unwrap();
    assert_eq!((undefined, buffer, date.as_str()), (None, Bytes::from_static(&[9]), "1970-01-01T00:00:00.000Z"));
    assert_eq!((other[0][0].as_u64(), other[0][1].as_bytes()), (Some(7), Some(&Bytes::from_static(&[1]))));
}

#[test]
fn msgpack_accepts_only_binary_and_whole_packets() {
    let mut decoder = MsgPackParser::default().decoder();
    assert_eq!(decoder.text("2[\"a\"]".into()), Err(DecodeError::NotMsgPack));
    let trailing = [&map(&[("type", &[1]), ("nsp", b"\xa1/")])[..], &[0xc0]].concat();
    assert_eq!(decoder.binary(trailing.into()), Err(DecodeError::MalformedMsgPack));
    assert_eq!(decoder.binary(Bytes::new()), Err(DecodeError::MalformedMsgPack));
    assert_eq!(decoder.binary(Bytes::from_static(&[1])), Err(DecodeError::InvalidType));
    let not_utf8 = map(&[("type", &[1]), ("nsp", b"\xa2/\xff")]);
    assert_eq!(decoder.binary(not_utf8), Err(DecodeError::MalformedMsgPack));
}
