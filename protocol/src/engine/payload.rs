//! The bodies of long-polling: several packets in one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;

use super::packet::{Packet, PacketError};
use crate::websocket::{self, Frames, FramesBuilder, Payload};

/// The separator between two packets of a payload.
pub const RECORD_SEPARATOR: char = '\x1e';

/// Decodes the body of a POST. The iterator ends with the first refused packet; an empty body is refused as an empty packet.
///
/// ```
/// use sociable_protocol::engine::{Packet, decode_payload};
///
/// let packets: Result<Vec<_>, _> = decode_payload("4hello\x1e3".into()).collect();
/// assert_eq!(packets, Ok(vec![Packet::Message("hello".into()), Packet::Pong("".into())]));
/// ```
pub fn decode_payload(body: ByteString) -> impl Iterator<Item = Result<Packet, PacketError>> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let body = rest.take()?;
        let (record, after) = match body.split_once(RECORD_SEPARATOR) {
            Some((record, after)) => (body.slice_ref(record), Some(body.slice_ref(after))),
            None => (body, None),
        };
        let packet = Packet::decode(record);
        if packet.is_ok() {
            rest = after;
        }
        Some(packet)
    })
}

/// Appends the packets of [`Frames`](websocket::Frames) to the body of a response.
///
/// A text frame stays as it is, a binary frame becomes `b` and base64. A separator follows any earlier content.
///
/// ```
/// use sociable_protocol::engine::encode_payload;
/// use sociable_protocol::websocket::Frames;
///
/// let mut body = String::new();
/// encode_payload(&mut body, Frames::text("4hello").as_bytes());
/// encode_payload(&mut body, Frames::binary(&[1, 2, 3]).as_bytes());
/// assert_eq!(body, "4hello\x1ebAQID");
/// ```
pub fn encode_payload(out: &mut String, frames: &[u8]) {
    for payload in websocket::payloads(frames) {
        if !out.is_empty() {
            out.push(RECORD_SEPARATOR);
        }
        match payload {
            Payload::Text(text) => out.push_str(text),
            Payload::Binary(bytes) => {
                out.push('b');
                STANDARD.encode_string(bytes, out);
            }
        }
    }
}

/// Returns the frames for a client without binary: a binary frame becomes a text frame of `b` and base64.
///
/// ```
/// use sociable_protocol::engine::in_base64;
/// use sociable_protocol::websocket::Frames;
///
/// assert_eq!(in_base64(Frames::binary(&[1, 2, 3])), Frames::text("bAQID"));
/// assert_eq!(in_base64(Frames::text("4hello")), Frames::text("4hello"));
/// ```
pub fn in_base64(frames: Frames) -> Frames {
    if !frames.iter().any(|payload| matches!(payload, Payload::Binary(_))) {
        return frames;
    }
    let mut builder = FramesBuilder::with_capacity(frames.len() * 4 / 3 + 8);
    for payload in frames.iter() {
        match payload {
            Payload::Text(text) => builder.text(text),
            Payload::Binary(bytes) => {
                let mut text = "b".to_owned();
                STANDARD.encode_string(bytes, &mut text);
                builder.text(&text);
            }
        }
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn decoding_stops_at_the_first_bad_packet() {
        let packets: Vec<_> = decode_payload("4a\x1ex\x1e4b".into()).collect();
        assert_eq!(packets, [Ok(Packet::Message("a".into())), Err(PacketError::UnknownType('x'))]);
    }

    #[test]
    fn empty_records_are_refused() {
        let refused = |body: &str| decode_payload(body.into()).last() == Some(Err(PacketError::Empty));
        assert!(refused(""));
        assert!(refused("\x1e"));
        assert!(refused("4a\x1e"));
        assert!(refused("4a\x1e\x1e4b"));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "[0-6b\\x1ea-z🦀]{0,30}") {
            decode_payload(body.into()).count();
        }

        #[test]
        fn packets_survive(messages in prop::collection::vec(prop_oneof![
            "[^\\x1e]{0,9}".prop_map(|text| Packet::Message(text.into())),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Packet::Binary(bytes.into())),
        ], 1..6)) {
            let mut builder = FramesBuilder::with_capacity(0);
            for message in &messages {
                match message {
                    Packet::Message(text) => builder.text(&format!("4{text}")),
                    Packet::Binary(bytes) => builder.binary(bytes),
                    _ => unreachable!("only messages were generated"),
                }
            }
            let mut body = String::new();
            encode_payload(&mut body, builder.finish().as_bytes());
            let read: Result<Vec<_>, _> = decode_payload(body.into()).collect();
            prop_assert_eq!(read, Ok(messages));
        }
    }

    #[test]
    fn empty_binary_message_survives() {
        let mut body = "6".to_owned();
        encode_payload(&mut body, &[0x82, 0]);
        assert_eq!(decode_payload(body.into()).last(), Some(Ok(Packet::Binary(Bytes::new()))));
    }
}
