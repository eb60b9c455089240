//! Engine.IO, revision 3: the protocol of clients of Socket.IO 2 and before.
//!
//! Text packets are those of revision 4. A binary packet starts with its type as a byte, or is `b4` and base64. A payload states the length of each
//! packet instead of separating them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;

use super::packet::{Packet, PacketError, from_base64};
use crate::websocket::{Frames, FramesBuilder, Payload, payloads};

/// The type of a message, as the first byte of a binary packet.
const MESSAGE: u8 = 4;
/// The byte between the length of a packet and the packet, in a binary payload.
const END_OF_LENGTH: u8 = 255;
/// The limit of digits in a length. Every bounded body is far shorter.
const MAX_DIGITS: usize = 12;

/// Decodes a text frame, or one packet of a payload. `b4` and base64 is a binary message.
///
/// ```
/// use sociable_protocol::engine::{Packet, v3};
///
/// assert_eq!(v3::decode("b4AQID".into()), Ok(Packet::Binary(vec![1, 2, 3].into())));
/// assert_eq!(v3::decode("4hello".into()), Ok(Packet::Message("hello".into())));
/// ```
///
/// # Errors
///
/// The type is missing or unknown, or the base64 is no message.
pub fn decode(text: ByteString) -> Result<Packet, PacketError> {
    match text.strip_prefix('b') {
        None => Packet::decode(text),
        Some(packet) => {
            let base64 = packet.strip_prefix('4').ok_or(PacketError::BadBase64)?;
            Ok(Packet::Binary(from_base64(base64).into()))
        }
    }
}

/// Decodes a binary frame.
///
/// # Errors
///
/// The frame is empty or no message.
pub fn decode_binary(bytes: &Bytes) -> Result<Packet, PacketError> {
    match bytes.first() {
        None => Err(PacketError::Empty),
        Some(&MESSAGE) => Ok(Packet::Binary(bytes.slice(1..))),
        Some(&other) => Err(PacketError::UnknownType(other.into())),
    }
}

/// Decodes the text body of a POST: each packet after its length in UTF-16 units and a colon.
///
/// The iterator ends with the first refused packet. Empty packets are skipped, as in the JavaScript server: clients write a payload without packets
/// as `0:`.
///
/// ```
/// use sociable_protocol::engine::{Packet, v3};
///
/// let packets: Result<Vec<_>, _> = v3::decode_payload("3:4é🦀".into()).collect();
/// assert!(packets.is_err(), "the crab counts twice");
/// let packets: Result<Vec<_>, _> = v3::decode_payload("4:4é🦀1:2".into()).collect();
/// assert_eq!(packets, Ok(vec![Packet::Message("é🦀".into()), Packet::Ping("".into())]));
/// ```
pub fn decode_payload(body: ByteString) -> impl Iterator<Item = Result<Packet, PacketError>> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        loop {
            let body = rest.take()?;
            let packet = match split_text(&body) {
                Ok((packet, after)) => {
                    rest = (!after.is_empty()).then(|| body.slice_ref(after));
                    if packet.is_empty() {
                        continue;
                    }
                    decode(body.slice_ref(packet))
                }
                Err(error) => Err(error),
            };
            if packet.is_err() {
                rest = None;
            }
            return Some(packet);
        }
    })
}

/// Returns the first packet of a payload, and the rest.
fn split_text(body: &str) -> Result<(&str, &str), PacketError> {
    if body.is_empty() {
        return Err(PacketError::Empty);
    }
    let (length, behind) = body.split_once(':').ok_or(PacketError::BadLength)?;
    if length.is_empty() || length.len() > MAX_DIGITS || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PacketError::BadLength);
    }
    let mut units = length.parse::<usize>().map_err(|_| PacketError::BadLength)?;
    let mut chars = behind.char_indices();
    while units > 0 {
        let (_, next) = chars.next().ok_or(PacketError::BadLength)?;
        units = units.checked_sub(next.len_utf16()).ok_or(PacketError::BadLength)?;
    }
    Ok(behind.split_at(chars.offset()))
}

/// Decodes the binary body of a POST. The iterator ends with the first refused packet.
///
/// Each packet follows a byte for text (0) or binary (1), its length, and a byte of 255. The length counts bytes, with one byte per digit.
pub fn decode_binary_payload(body: Bytes) -> impl Iterator<Item = Result<Packet, PacketError>> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let body = rest.take()?;
        let packet = split_binary(&body).and_then(|(binary, start, end)| {
            let content = body.slice(start..end);
            let packet =
                if binary { decode_binary(&content)? } else { decode(ByteString::try_from(content).map_err(|_| PacketError::NotText)?)? };
            rest = (end < body.len()).then(|| body.slice(end..));
            Ok(packet)
        });
        Some(packet)
    })
}

/// Returns whether the first packet of a payload is binary, and its start and end.
fn split_binary(body: &[u8]) -> Result<(bool, usize, usize), PacketError> {
    let (&kind, behind) = body.split_first().ok_or(PacketError::Empty)?;
    let digits = behind.iter().take(MAX_DIGITS + 1).position(|&byte| byte == END_OF_LENGTH).ok_or(PacketError::BadLength)?;
    if digits == 0 || kind > 1 || behind[..digits].iter().any(|&digit| digit > 9) {
        return Err(PacketError::BadLength);
    }
    let length = behind[..digits].iter().fold(0, |length: usize, &digit| length * 10 + usize::from(digit));
    let start = digits + 2;
    let end = start.checked_add(length).filter(|&end| end <= body.len()).ok_or(PacketError::BadLength)?;
    Ok((kind == 1, start, end))
}

/// Returns the frames for a client of this revision: binary gets its type in front. A client without binary gets base64.
pub fn frames(frames: Frames, base64: bool) -> Frames {
    if !frames.iter().any(|payload| matches!(payload, Payload::Binary(_))) {
        return frames;
    }
    let mut builder = FramesBuilder::with_capacity(frames.len() + 8);
    for payload in frames.iter() {
        match payload {
            Payload::Text(text) => builder.text(text),
            Payload::Binary(bytes) if base64 => {
                let mut text = "b4".to_owned();
                STANDARD.encode_string(bytes, &mut text);
                builder.text(&text);
            }
            Payload::Binary(bytes) => builder.binary(&[&[MESSAGE], bytes].concat()),
        }
    }
    builder.finish()
}

/// Returns the body of a response with packets made by [`frames`], and whether it is binary. One binary packet makes it so.
///
/// ```
/// use sociable_protocol::engine::v3;
/// use sociable_protocol::websocket::Frames;
///
/// let text = Frames::text("4é");
/// assert_eq!(v3::encode_payload([&text.as_bytes()[..]]), ("2:4é".as_bytes().to_vec(), false));
/// let binary = v3::frames(Frames::binary(&[7]), false);
/// let body = v3::encode_payload([&text.as_bytes()[..], &binary.as_bytes()[..]]);
/// assert_eq!(body, (vec![0, 3, 255, b'4', 0xc3, 0xa9, 1, 2, 255, 4, 7], true));
/// ```
pub fn encode_payload<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let packets: Vec<_> = messages.into_iter().flat_map(payloads).collect();
    let binary = packets.iter().any(|packet| matches!(packet, Payload::Binary(_)));
    let mut out = Vec::new();
    for packet in packets {
        match packet {
            Payload::Text(text) if !binary => {
                out.extend_from_slice(text.encode_utf16().count().to_string().as_bytes());
                out.push(b':');
                out.extend_from_slice(text.as_bytes());
            }
            Payload::Text(text) => push_binary(&mut out, 0, text.as_bytes()),
            Payload::Binary(bytes) => push_binary(&mut out, 1, bytes),
        }
    }
    (out, binary)
}

fn push_binary(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.push(kind);
    out.extend(content.len().to_string().bytes().map(|digit| digit - b'0'));
    out.push(END_OF_LENGTH);
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(body: &str) -> Vec<Result<Packet, PacketError>> {
        decode_payload(body.into()).collect()
    }

    #[test]
    fn lengths_are_checked() {
        for body in ["4", ":4a", "x:4a", "-1:4", "9:4a", "2:4a3", "1:2:", "1:🦀", "99999999999999999999999:4", "+1:4"] {
            assert_eq!(all(body).last(), Some(&Err(PacketError::BadLength)), "{body}");
        }
        assert_eq!(all(""), [Err(PacketError::Empty)]);
        assert_eq!(all("0:"), []);
        assert_eq!(all("0:1:20:0:1:3"), [Ok(Packet::Ping("".into())), Ok(Packet::Pong("".into()))]);
        assert_eq!(all("0:x").last(), Some(&Err(PacketError::BadLength)));
        let binary = |body: &'static [u8]| decode_binary_payload(Bytes::from_static(body)).last();
        for body in [&[0][..], &[0, 255], &[2, 1, 255, 4], &[0, 48, 255], &[1, 9, 255, 4], &[0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 255]]
        {
            assert_eq!(binary(body), Some(Err(PacketError::BadLength)), "{body:?}");
        }
        assert_eq!(binary(&[1, 1, 255, 2]), Some(Err(PacketError::UnknownType('\u{2}'))));
        assert_eq!(binary(&[0, 2, 255, b'4', 0xff]), Some(Err(PacketError::NotText)));
    }

    #[test]
    fn base64_carries_its_type() {
        assert_eq!(decode("b4AQI=".into()), Ok(Packet::Binary(Bytes::from_static(&[1, 2]))));
        assert_eq!(decode("b4AQ\r\nI=\r\n".into()), Ok(Packet::Binary(Bytes::from_static(&[1, 2]))));
        for text in ["b", "bAQI=", "b2AQI="] {
            assert_eq!(decode(text.into()), Err(PacketError::BadBase64), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(text in "[0-6b:]{0,6}\\PC{0,10}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            decode_payload(text.into()).count();
            decode_binary_payload(bytes.into()).count();
        }

        #[test]
        fn packets_survive(base64: bool, messages in prop::collection::vec(prop_oneof![
            "\\PC{0,9}".prop_map(|text| Packet::Message(text.into())),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Packet::Binary(bytes.into())),
        ], 1..6)) {
            let written: Vec<_> = messages.iter().map(|message| match message {
                Packet::Message(text) => frames(Frames::text(&format!("4{text}")), base64),
                Packet::Binary(bytes) => frames(Frames::binary(bytes), base64),
                _ => unreachable!("only messages were generated"),
            }).collect();
            let (body, binary) = encode_payload(written.iter().map(|frames| &frames.as_bytes()[..]));
            let read: Result<Vec<_>, _> = if binary {
                decode_binary_payload(body.into()).collect()
            } else {
                decode_payload(String::from_utf8(body).unwrap().into()).collect()
            };
            prop_assert_eq!(read, Ok(messages));
        }
    }
}
