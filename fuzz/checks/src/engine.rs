//! Packets of Engine.IO, and the bodies of long-polling.

use std::str;

use sociable_protocol::FramesBuilder;
use sociable_protocol::engine::{Packet, RECORD_SEPARATOR, decode_payload, encode_payload};

/// The input is one packet.
pub fn engine_packet(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(packet) = Packet::decode(text.into()) else { return };
    assert!(carried(&packet) < text.len(), "the type is not carried");
    match &packet {
        Packet::Ping(body) | Packet::Pong(body) | Packet::Message(body) => assert_eq!(**body, text[1..]),
        Packet::Binary(_) => assert_eq!(Packet::decode(payload(&[&packet]).into()).as_ref(), Ok(&packet)),
        Packet::Open | Packet::Close | Packet::Upgrade | Packet::Noop => {}
    }
}

/// The input is the body of a POST.
pub fn engine_payload(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let together: Vec<_> = decode_payload(body.into()).collect();
    let mut alone: Vec<_> = body.split(RECORD_SEPARATOR).map(|record| Packet::decode(record.into())).collect();
    if let Some(refused) = alone.iter().position(Result::is_err) {
        alone.truncate(refused + 1);
    }
    assert_eq!(together, alone);

    let packets: Vec<_> = together.iter().flatten().collect();
    assert!(packets.iter().map(|packet| carried(packet)).sum::<usize>() < body.len().max(1));
    let messages: Vec<_> = packets.into_iter().filter(|packet| matches!(packet, Packet::Message(_) | Packet::Binary(_))).collect();
    if !messages.is_empty() {
        assert!(decode_payload(payload(&messages).into()).map(Result::ok).eq(messages.into_iter().cloned().map(Some)));
    }
}

/// The bytes that a packet holds.
fn carried(packet: &Packet) -> usize {
    match packet {
        Packet::Ping(body) | Packet::Pong(body) | Packet::Message(body) => body.len(),
        Packet::Binary(bytes) => bytes.len(),
        Packet::Open | Packet::Close | Packet::Upgrade | Packet::Noop => 0,
    }
}

/// The body with these messages, written as a server does: from the frames that were queued.
fn payload(messages: &[&Packet]) -> String {
    let mut frames = FramesBuilder::with_capacity(0);
    for message in messages {
        match message {
            Packet::Message(text) => frames.text(&format!("4{text}")),
            Packet::Binary(bytes) => frames.binary(bytes),
            _ => panic!("not a message: {message:?}"),
        }
    }
    let mut body = String::new();
    encode_payload(&mut body, frames.finish().as_bytes());
    body
}
