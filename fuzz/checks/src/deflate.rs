//! Compressed messages, in both directions.

use sociable_protocol::Frames;
use sociable_protocol::websocket::deflate::{Agreement, ContextDeflater, Settings};
use sociable_protocol::websocket::{Decoder, FrameError, Message};

use crate::websocket::masked;

/// Low, so that short inputs inflate beyond it.
const LIMIT: usize = 300;

/// The first byte is the agreement. The rest is what arrives on one connection, and a message that is sent.
pub fn deflate(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    let bits = 8 + (choice & 7);
    let agreement = Agreement {
        server_no_context_takeover: choice & 8 != 0,
        client_no_context_takeover: choice & 16 != 0,
        server_window_bits: bits,
        client_window_bits: bits,
    };
    inflates_within_the_limit(input, agreement);
    survives_both_directions(input, agreement);
}

fn inflates_within_the_limit(input: &[u8], agreement: Agreement) {
    let mut decoder = Decoder::new(LIMIT).deflated(agreement);
    let mut bytes = input.to_vec();
    let read = decoder.read(&mut bytes, |message| match message {
        Message::Text(text) => assert!(text.len() <= LIMIT),
        Message::Binary(bytes) => assert!(bytes.len() <= LIMIT),
        Message::Ping(_) | Message::Pong | Message::Close(_) => {}
    });
    if let Err(FrameError::TooLarge { limit } | FrameError::InflatedTooLarge { limit }) = read {
        assert_eq!(limit, LIMIT);
    }
    assert!(!agreement.client_no_context_takeover || decoder.context_bytes() == 0);
}

/// The message twice: the second may refer to the first.
fn survives_both_directions(input: &[u8], agreement: Agreement) {
    let settings = Settings { threshold: 0, level: 6, memory_level: 8 };
    let mut context = ContextDeflater::new(&settings, agreement.server_window_bits);
    let mut decoder = Decoder::new(input.len()).deflated(agreement);
    let frames = Frames::binary(input);
    for _ in 0..2 {
        let deflated = match agreement.client_no_context_takeover {
            true => frames.deflated(&settings, agreement.server_window_bits, |_| {}),
            false => context.deflate(frames.as_bytes()),
        };
        let sent = deflated.as_ref().unwrap_or(frames.as_bytes());
        let mut read = vec![];
        // A form that is longer than the message may exceed the limit.
        if sent.len() <= frames.len() {
            decoder.read(&mut masked(sent), |message| read.push(message)).expect("readable");
            assert_eq!(read, [Message::Binary(input.to_vec().into())]);
        } else {
            return;
        }
    }
}
