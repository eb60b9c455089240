//! The default parser.

use std::str;

use bytes::Bytes;
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Body, DecodeError, Encoding, Frames, JsonParser, Limits, MsgPackParser, Packet, Parser};

use crate::args;

/// Low, so that short inputs go beyond them.
const TIGHT: Limits = Limits { max_attachments: 2, max_depth: 4 };
/// More than the parts of a packet take that have no length of their own.
const FIXED: usize = 128;

/// The messages of one connection, one a line: `t` and a text, or `b` and the bytes of an attachment. Lines of other kinds are passed
/// over.
pub fn json_decoder(input: &[u8]) {
    let messages: Vec<_> = input.split(|byte| *byte == b'\n').filter_map(message).collect();
    let (packets, refused) = read(&JsonParser::default(), &messages);
    let (in_limits, beyond) = read(&JsonParser::new(TIGHT), &messages);
    match beyond {
        Some(DecodeError::TooDeep { limit }) => assert_eq!(limit, TIGHT.max_depth),
        Some(DecodeError::TooManyAttachments) => {}
        other => assert_eq!((&in_limits, other), (&packets, refused), "the limits were kept"),
    }
    assert!(packets.starts_with(&in_limits));

    for packet in &packets {
        let encoded = JsonParser::default().encode(packet);
        assert!(encoded.len() <= input.len() + FIXED * (1 + args::of(packet).attachments().len()));
        assert_eq!(received(&encoded).as_ref(), Some(packet));
        args::hold(&args::of(packet));
        converted(packet, input.len());
    }
}

fn message(line: &[u8]) -> Option<Payload<'_>> {
    match line.split_first()? {
        (b't', text) => str::from_utf8(text).ok().map(Payload::Text),
        (b'b', bytes) => Some(Payload::Binary(bytes)),
        _ => None,
    }
}

/// The packets up to the first message that is refused, and why it was.
fn read(parser: &JsonParser, messages: &[Payload<'_>]) -> (Vec<Packet>, Option<DecodeError>) {
    let (mut decoder, mut packets) = (parser.decoder(), vec![]);
    for message in messages {
        let packet = match *message {
            Payload::Text(text) => decoder.text(text.into()),
            Payload::Binary(bytes) => decoder.binary(Bytes::copy_from_slice(bytes)),
        };
        match packet {
            Ok(packet) => packets.extend(packet),
            Err(error) => return (packets, Some(error)),
        }
    }
    (packets, None)
}

/// The one packet that these frames hold.
pub(crate) fn received(frames: &Frames) -> Option<Packet> {
    let limits = Limits { max_attachments: usize::MAX, ..Limits::default() };
    let messages: Vec<_> = frames
        .iter()
        .map(|payload| match payload {
            Payload::Text(text) => Payload::Text(text.strip_prefix('4').expect("an Engine.IO message")),
            binary => binary,
        })
        .collect();
    match read(&JsonParser::new(limits), &messages) {
        (mut packets, None) if packets.len() == 1 => packets.pop(),
        other => panic!("not one packet: {other:?}"),
    }
}

/// A client with the other parser gets as many arguments, of a size that what came in accounts for.
fn converted(packet: &Packet, length: usize) {
    /// `1.5` has a byte more than half of these with its comma: the longest that three characters become.
    const GROWTH: usize = 9;
    let frames = MsgPackParser::default().encode(packet);
    // Attachments are written where they are placed, each of them perhaps more than once.
    assert!(frames.len() <= (GROWTH + Limits::default().max_attachments) * length + FIXED);
    if matches!(packet.body, Body::Event { .. } | Body::Ack { .. }) {
        let converted = crate::msgpack::received(&frames);
        assert_eq!(converted.namespace, packet.namespace);
        let args = args::of(&converted);
        assert_eq!((args.encoding(), args.len()), (Encoding::MsgPack, args::of(packet).len()));
    }
}
