//! Faults of other servers, which must not occur in this one.

use std::collections::BTreeMap;

use bytes::Bytes;
use sociable_protocol::engine::{self, decode_payload};
use sociable_protocol::websocket::{Payload, payloads};
use sociable_protocol::{Args, Body, DecodeError, Encoding, Id, JsonParser, Limits, MsgPackParser, Parser, Value};

/// GHSA-55mf-67qm-4wpg: a client could announce and send attachments without limit.
#[test]
fn attachments_are_bounded() {
    let mut decoder = JsonParser::default().decoder();
    assert_eq!(decoder.text("54294967295-[\"x\"]".into()), Err(DecodeError::TooManyAttachments));
    let mut decoder = JsonParser::default().decoder();
    assert_eq!(decoder.text("510-[\"x\"]".into()), Ok(None));
    for _ in 0..9 {
        assert_eq!(decoder.binary(Bytes::new()), Ok(None));
    }
    assert!(decoder.binary(Bytes::new()).unwrap().is_some());
    assert_eq!(decoder.binary(Bytes::new()), Err(DecodeError::UnexpectedBinary));
}

/// An announcement takes no memory, however many attachments a server allows.
#[test]
fn announced_attachments_take_no_memory() {
    let parser = JsonParser::new(Limits { max_attachments: usize::MAX, ..Limits::default() });
    assert_eq!(parser.decoder().text(format!("5{}-[\"x\"]", usize::MAX).into()), Ok(None));
}

/// GHSA-c6g7-r2mf-pf5g: nested MessagePack overflowed the stack.
#[test]
fn nested_msgpack_does_not_overflow() {
    let limit = Limits::default().max_depth;
    for container in [&[0x91][..], &[0x81, 0x01], &[0xdd, 0, 0, 0, 1]] {
        let nested = |levels: usize| {
            let mut message = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x".to_vec();
            message.extend(container.repeat(levels));
            message.push(0xc0);
            Bytes::from(message)
        };
        let mut decoder = MsgPackParser::default().decoder();
        assert_eq!(decoder.binary(nested(1_000_000)), Err(DecodeError::TooDeep { limit }));
        let Body::Event { args, .. } = decoder.binary(nested(limit - 2)).unwrap().unwrap().body else { panic!("an event") };
        assert!(args.decode::<Value>(0).is_err(), "an error, not a crash");
    }
}

/// The same in JSON.
#[test]
fn nested_json_does_not_overflow() {
    let limit = Limits::default().max_depth;
    for (open, close) in [("[", "]"), ("{\"a\":[", "]}")] {
        let nested = |levels: usize, prefix: &str| format!("{prefix}[\"x\",{}{}]", open.repeat(levels), close.repeat(levels));
        for prefix in ["2", "51-"] {
            assert_eq!(JsonParser::default().decoder().text(nested(1_000_000, prefix).into()), Err(DecodeError::TooDeep { limit }));
        }
        let packet = JsonParser::default().decoder().text(nested(400, "2").into()).unwrap().unwrap();
        let Body::Event { args, .. } = packet.body else { panic!("an event") };
        assert!(args.decode::<Value>(0).is_err(), "an error, not a crash");
    }
    let connect = "0".to_owned() + &"{\"a\":".repeat(1_000_000);
    assert_eq!(JsonParser::default().decoder().text(connect.into()), Err(DecodeError::TooDeep { limit }));
}

/// GHSA-7xpx-rcqc-8qjh: false lengths and truncated messages made the MessagePack parser panic.
#[test]
fn malformed_msgpack_does_not_panic() {
    let whole = b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x93\xa1x\xc4\x02\x01\x02\
        \xd7\x00\x00\x00\x00\x00\x00\x00\x00\x01\xa2id\xcf\x00\x00\x00\x00\x00\x00\x00\x07";
    let mut decoder = MsgPackParser::default().decoder();
    assert!(decoder.binary(Bytes::from_static(whole)).unwrap().is_some());
    for end in 0..whole.len() {
        assert!(decoder.binary(Bytes::from_static(&whole[..end])).is_err());
        for byte in 0..=255 {
            let mut mutated = whole.to_vec();
            mutated[end] = byte;
            if let Ok(Some(packet)) = decoder.binary(mutated.into()) {
                MsgPackParser::default().encode(&packet);
                JsonParser::default().encode(&packet);
            }
        }
    }
}

/// socketioxide #794: packets were cut inside a multibyte character.
#[test]
fn multibyte_packet_does_not_panic() {
    for text in ["é", "4é", "bé", "2/é", "\u{feff}"] {
        let _ = engine::Packet::decode(text.into());
        decode_payload(format!("{text}\x1e{text}").into()).count();
        for prefix in ["", "0", "2", "3", "5", "51-", "2/", "2/é,", "21", "2 "] {
            let _ = JsonParser::default().decoder().text(format!("{prefix}{text}").into());
        }
    }
    let packet = JsonParser::default().decoder().text("2/é🦀,7[\"ü\",\"🦀\"]".into()).unwrap().unwrap();
    assert_eq!(packet.namespace, "/é🦀");
    assert!(matches!(packet.body, Body::Event { name, args, id: Some(7) } if name == "ü" && args.raw_json() == Some("\"🦀\"")));
}

/// socketioxide #811: a text packet was accepted while attachments were expected.
#[test]
fn text_packet_is_refused_when_binary_is_expected() {
    let mut decoder = JsonParser::default().decoder();
    assert_eq!(decoder.text("51-[\"x\",{\"_placeholder\":true,\"num\":0}]".into()), Ok(None));
    let refused = decoder.text("2[\"y\"]".into()).unwrap_err();
    assert_eq!(refused.to_string(), "got plaintext data when reconstructing a packet");
}

/// socketioxide #815: a malformed session id opened a new session. Here it is an error.
#[test]
fn malformed_session_id_is_refused() {
    for text in [
        "",
        " ",
        "x",
        "AAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAé",
        "../../../../../../../",
    ] {
        assert!(Id::try_from(text).is_err(), "{text:?}");
    }
}

/// Repeated placeholders of one attachment copied it as often: a message of 1 MB became 30 GB in an echo.
#[test]
fn attachment_is_not_multiplied() {
    let placed = |times: usize| format!(r#"51-["x",[{}]]"#, [r#"{"_placeholder":true,"num":0}"#].repeat(times).join(","));
    assert_eq!(JsonParser::default().decoder().text(placed(11).into()), Err(DecodeError::TooManyAttachments));
    let mut decoder = JsonParser::default().decoder();
    assert_eq!(decoder.text(placed(10).into()), Ok(None));
    let Body::Event { args, .. } = decoder.binary(Bytes::from_static(b"a")).unwrap().unwrap().body else { panic!("an event") };
    assert_eq!(args.decode::<Vec<Bytes>>(0), Ok(vec![Bytes::from_static(b"a"); 10]));
}

/// Conversion and renumbering searched each of many arguments from the front. With that fault this test does not end.
#[test]
fn many_arguments_are_converted_in_linear_time() {
    const MANY: usize = 400_000;
    let mut decoder = JsonParser::default().decoder();
    let text = format!(r#"51-["x"{}]"#, ",0".repeat(MANY));
    assert_eq!(decoder.text(text.into()), Ok(None));
    let packet = decoder.binary(Bytes::from_static(b"a")).unwrap().unwrap();
    assert!(MsgPackParser::default().encode(&packet).len() > MANY);

    let Body::Event { args, .. } = packet.body else { panic!("an event") };
    let mut builder = Args::builder(Encoding::Json);
    builder.push(&Bytes::from_static(b"b")).unwrap().append(&args).unwrap();
    assert_eq!(builder.finish().len(), 1 + MANY);
}

/// A connect error without a payload was written with `null`, which no parser reads.
#[test]
fn null_payload_is_left_out() {
    let parser = JsonParser::default();
    for text in ["4", "4/chat,"] {
        let packet = parser.decoder().text(text.into()).unwrap().unwrap();
        let frames = parser.encode(&packet);
        let written = frames.iter().next();
        assert_eq!(written, Some(Payload::Text(&format!("4{text}"))));
    }
}

/// In packets with attachments, keys that are no numbers in JSON were read as numbers.
#[test]
fn keys_spell_the_same_numbers_with_attachments() {
    for (key, number) in [("2", Some(2)), ("-2", Some(-2)), ("02", None), ("+2", None), (" 2", None), ("2.0", None), ("", None)] {
        for (prefix, attachments) in [("2", 0), ("51-", 1)] {
            let mut decoder = JsonParser::default().decoder();
            let mut packet = decoder.text(format!(r#"{prefix}["x",{{"{key}":true}}]"#).into()).unwrap();
            for _ in 0..attachments {
                packet = decoder.binary(Bytes::new()).unwrap();
            }
            let Body::Event { args, .. } = packet.unwrap().body else { panic!("an event") };
            let read = args.decode::<BTreeMap<i16, bool>>(0).ok();
            assert_eq!(read, number.map(|number| BTreeMap::from([(number, true)])), "{prefix} {key:?}");
        }
    }
}

/// Foreign frames were read like our own.
#[test]
fn foreign_frames_are_not_read() {
    assert!(payloads(b"\x01\x01a").next().is_none(), "a fragment");
    assert!(payloads(b"\x81\x81aaaaa").next().is_none(), "masked");
}
