//! The parser for MessagePack.

use bytes::Bytes;
use sociable_protocol::websocket::Payload;
use sociable_protocol::{DecodeError, Frames, JsonParser, Limits, MsgPackParser, Packet, Parser};

use crate::args;

/// Low, so that short inputs go beyond it.
const TIGHT: Limits = Limits { max_attachments: 0, max_depth: 4 };
/// More than the parts of a packet take that have no length of their own.
const FIXED: usize = 128;

/// The input is one message.
pub fn msgpack_decoder(input: &[u8]) {
    let parser = MsgPackParser::default();
    let read = |parser: &MsgPackParser| parser.decoder().binary(Bytes::copy_from_slice(input));
    let read_tightly = read(&MsgPackParser::new(TIGHT));
    let read = read(&parser);
    if read_tightly != Err(DecodeError::TooDeep { limit: TIGHT.max_depth }) {
        assert_eq!(read, read_tightly, "the limit was kept");
    }
    let Ok(packet) = read else { return };
    let packet = packet.expect("a message is a packet");

    let encoded = parser.encode(&packet);
    // An extension of three bytes becomes an array of six; a float becomes a name of up to 330.
    assert!(encoded.len() <= 3 * input.len() + 3 * FIXED);
    let mut expected = packet.clone();
    if packet.namespace.is_empty() {
        expected.namespace = "/".into();
    }
    assert_eq!(received(&encoded), expected);
    args::hold(&args::of(&packet));

    // The shortest binary, of two bytes, becomes a placeholder and a frame.
    assert!(JsonParser::default().encode(&packet).len() <= 24 * input.len() + 3 * FIXED);
}

/// The one packet that these frames hold.
pub(crate) fn received(frames: &Frames) -> Packet {
    let mut payloads = frames.iter();
    let (Some(Payload::Binary(bytes)), None) = (payloads.next(), payloads.next()) else { panic!("not one binary frame: {frames:?}") };
    match MsgPackParser::default().decoder().binary(Bytes::copy_from_slice(bytes)) {
        Ok(Some(packet)) => packet,
        refused => panic!("{refused:?}"),
    }
}
