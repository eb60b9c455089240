//! How packets of Socket.IO are written: as JSON with attachments ([`JsonParser`], which every client speaks), or as MessagePack
//! ([`MsgPackParser`], for clients that bring `socket.io-msgpack-parser`).
//!
//! A [`Parser`] belongs to a server, a [`Decoder`] to a connection. What is encoded are [`Frames`]: the Engine.IO messages of a
//! packet, ready for every receiver.

mod error;
mod json;
mod json_encode;
mod msgpack;
pub(crate) mod placeholder;
pub(crate) mod scan;
mod unescape;

use std::fmt::Debug;

use bytes::Bytes;
use bytestring::ByteString;

use crate::args::Encoding;
use crate::packet::Packet;
use crate::websocket::Frames;

pub use error::DecodeError;
pub use json::JsonParser;
pub use msgpack::MsgPackParser;

/// Writes packets, and makes the decoders that read them.
pub trait Parser: Send + Sync + Debug + 'static {
    /// The encoding of the arguments that the parser reads, and writes without converting them.
    fn encoding(&self) -> Encoding;

    /// The Engine.IO messages of a packet, as one run of WebSocket frames: with JSON a text frame and a binary frame for each
    /// attachment, with MessagePack one binary frame.
    ///
    /// It can't fail, since arguments are encoded already. Those in the other encoding are converted; what can't be (it is nested
    /// more than [`Value`](crate::Value) allows) becomes null.
    fn encode(&self, packet: &Packet) -> Frames;

    /// Returns an event with a text behind its arguments, made of its frames as this parser wrote them, without decoding it.
    ///
    /// `None` if the frames are no event, if it asks for an acknowledgement, or if the parser has to decode it for that, as by default.
    fn append_text(&self, frames: &Frames, text: &str) -> Option<Frames> {
        let _ = (frames, text);
        None
    }

    /// A decoder for one connection.
    fn decoder(&self) -> Box<dyn Decoder>;
}

/// Reads the packets of one connection out of its Engine.IO messages.
///
/// After an error the connection has to be closed: what its next messages mean is unknown.
pub trait Decoder: Debug + Send {
    /// Reads a text message, without the `4` of Engine.IO. Gives the packet if it is complete, none if attachments are to follow.
    ///
    /// # Errors
    ///
    /// If the message is not a packet, or not one that may come now.
    fn text(&mut self, text: ByteString) -> Result<Option<Packet>, DecodeError>;

    /// Reads a binary message. Gives the packet if it is complete.
    ///
    /// # Errors
    ///
    /// If the message is not a packet or attachment, or not one that may come now.
    fn binary(&mut self, bytes: Bytes) -> Result<Option<Packet>, DecodeError>;
}

/// What a packet may hold.
///
/// The bytes of a packet are bounded without a limit here: the transport bounds each message (`maxHttpBufferSize`), so that a
/// packet with its attachments has at most `max_attachments + 1` times as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attachments of one packet, and placeholders that name them. 10 attachments, as in the JavaScript parser, which does not
    /// count placeholders.
    pub max_attachments: usize,
    /// Levels of arrays and objects in one packet, that of its arguments included. 1,000: more than anyone nests on purpose. (A
    /// type that is decoded from arguments may have 127 levels.)
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_attachments: 10, max_depth: 1_000 }
    }
}
