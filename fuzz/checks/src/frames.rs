//! The frames that are queued, shared and sent.

use std::convert::Infallible;

use sociable_protocol::FramesBuilder;
use sociable_protocol::websocket::{Payload, payloads};

/// The input is read as frames, though only the server writes those.
pub fn frames(input: &[u8]) {
    let read: Vec<_> = payloads(input).collect();
    let mut builder = FramesBuilder::with_capacity(0);
    for (index, payload) in read.iter().enumerate() {
        match payload {
            Payload::Text(text) if index % 2 == 0 => builder.text(text),
            Payload::Binary(bytes) if index % 2 == 0 => builder.binary(bytes),
            Payload::Text(text) => {
                let Ok(()) = builder.text_with(|out| append(out, text.as_bytes()));
            }
            Payload::Binary(bytes) => {
                let Ok(()) = builder.binary_with(|out| append(out, bytes));
            }
        }
    }
    let written = builder.finish();
    assert!(written.iter().eq(read));
    assert!(written.len() <= input.len(), "no header is shorter than ours");
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Infallible> {
    out.extend_from_slice(bytes);
    Ok(())
}
