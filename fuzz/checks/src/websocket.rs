//! The frames that clients send.

use sociable_protocol::Frames;
use sociable_protocol::websocket::{Decoder, FrameError, Message};

/// Low, so that inputs beyond it are short; high enough for a length of two bytes.
const LIMIT: usize = 300;
const MAX_CONTROL: usize = 125;
const MASK: [u8; 4] = [0xa5, 0x01, 0xff, 0x40];

/// The input is what arrives on one connection.
pub fn websocket_decoder(input: &[u8]) {
    let whole = read(input, [input.len()]);
    assert_eq!(read(input, std::iter::repeat(1)), whole, "byte by byte");
    let sizes = input.iter().map(|byte| usize::from(byte % 32) + 1);
    assert_eq!(read(input, sizes), whole, "in pieces");

    let (messages, _) = whole;
    assert!(messages.iter().map(length).sum::<usize>() <= input.len());
    for message in messages {
        let limit = if matches!(message, Message::Text(_) | Message::Binary(_)) { LIMIT } else { MAX_CONTROL };
        assert!(length(&message) <= limit);
        if let Some(frame) = as_client_sends(&message) {
            assert_eq!(read(&frame, [frame.len()]), (vec![message], Ok(false)));
        }
    }
}

/// The messages read, and whether more is awaited or why no more was read. A rest behind the last size is read at once.
fn read(input: &[u8], sizes: impl IntoIterator<Item = usize>) -> (Vec<Message>, Result<bool, FrameError>) {
    let (mut decoder, mut messages) = (Decoder::new(LIMIT), vec![]);
    let mut bytes = input.to_vec();
    let mut rest = &mut bytes[..];
    let mut sizes = sizes.into_iter();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at_mut(sizes.next().unwrap_or(usize::MAX).min(rest.len()));
        rest = after;
        if let Err(error) = decoder.read(chunk, |message| messages.push(message)) {
            return (messages, Err(error));
        }
    }
    (messages, Ok(decoder.is_incomplete()))
}

fn length(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) => bytes.len(),
        Message::Pong | Message::Close(_) => 0,
    }
}

/// Our own frame, masked.
fn as_client_sends(message: &Message) -> Option<Vec<u8>> {
    let frame = match message {
        Message::Text(text) => Frames::text(text),
        Message::Binary(bytes) => Frames::binary(bytes),
        _ => return None,
    };
    Some(masked(frame.as_bytes()))
}

/// A frame of a server as a client would send it.
pub(crate) fn masked(frame: &[u8]) -> Vec<u8> {
    let header = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    let (header, payload) = frame.split_at(header);
    let mut masked = header.to_vec();
    masked[1] |= 0x80;
    masked.extend(MASK);
    masked.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    masked
}
