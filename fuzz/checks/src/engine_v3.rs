//! Payloads of Engine.IO 3.

use bytes::Bytes;
use sociable_protocol::Frames;
use sociable_protocol::engine::{Packet, v3};

/// The input is the body of a POST. An even first byte selects the binary form, an odd one the text form.
pub fn engine_v3_payload(input: &[u8]) {
    let Some((&kind, body)) = input.split_first() else { return };
    let read: Vec<_> = if kind % 2 == 0 {
        v3::decode_binary_payload(Bytes::copy_from_slice(body)).collect()
    } else {
        let Ok(text) = std::str::from_utf8(body) else { return };
        v3::decode_payload(text.into()).collect()
    };
    let refused = read.iter().position(Result::is_err);
    assert!(refused.is_none_or(|at| at + 1 == read.len()), "nothing is read behind what is refused");

    let messages: Vec<_> = read.into_iter().flatten().filter(|packet| matches!(packet, Packet::Message(_) | Packet::Binary(_))).collect();
    if messages.is_empty() {
        return;
    }
    for base64 in [false, true] {
        let written: Vec<_> = messages.iter().map(|message| v3::frames(frames(message), base64)).collect();
        let (body, binary) = v3::encode_payload(written.iter().map(|frames| &frames.as_bytes()[..]));
        let again: Vec<_> = if binary {
            v3::decode_binary_payload(body.into()).flatten().collect()
        } else {
            v3::decode_payload(String::from_utf8(body).expect("text").into()).flatten().collect()
        };
        assert_eq!(again, messages);
    }
}

fn frames(message: &Packet) -> Frames {
    match message {
        Packet::Message(text) => Frames::text(&format!("4{text}")),
        Packet::Binary(bytes) => Frames::binary(bytes),
        _ => panic!("not a message: {message:?}"),
    }
}
