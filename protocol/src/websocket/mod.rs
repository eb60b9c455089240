//! WebSocket framing (RFC 6455) for servers.
//!
//! Outbound data is encoded once, as complete unmasked frames in one shared buffer: [`Frames`]. Queues hold that buffer, broadcasts share it, and
//! WebSockets write it unchanged; long-polling reads the packets back out of it. Inbound data passes a [`Decoder`]: masked frames in, whole messages
//! out. Each bound is checked before memory is allocated.
//!
//! [`deflate`] compresses messages in both directions, if a client has agreed to it.

mod control;
mod decoder;
#[cfg(test)]
mod decoder_tests;
pub mod deflate;
mod error;
mod frames;
mod header;

pub use control::{CLOSE_FRAME, close_frame, pong_frame};
pub use decoder::{Decoder, Message};
pub use error::FrameError;
pub use frames::{Frames, FramesBuilder, Payload, payloads};

const FIN: u8 = 0x80;
/// The reserved bits.
const RSV: u8 = 0x70;
/// The reserved bit of a compressed message, on its first frame.
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;
/// The longest header of an unmasked frame: two bytes and a length of eight.
const MAX_HEADER: usize = 10;
