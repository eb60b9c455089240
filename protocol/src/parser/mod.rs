//! The encodings of Socket.IO packets: JSON with attachments, or MessagePack.
//!
//! Every client supports [`JsonParser`]; [`MsgPackParser`] is for clients with `socket.io-msgpack-parser`. A [`Parser`] belongs to a server, a
//! [`Decoder`] to a connection. Packets are encoded into [`Frames`]: their Engine.IO messages, ready for every receiver.

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

/// An encoder of packets, and a factory of the decoders that read them.
pub trait Parser: Send + Sync + Debug + 'static {
    /// Returns the encoding of arguments that the parser reads, and writes without conversion.
    fn encoding(&self) -> Encoding;

    /// Returns the Engine.IO messages of a packet, as one run of WebSocket frames.
    ///
    /// JSON gives a text frame, and a binary frame for each attachment. MessagePack gives one binary frame.
    ///
    /// Encoding cannot fail, because arguments are encoded already. Arguments in the other encoding are converted. Values that cannot be, because
    /// they are nested deeper than [`Value`](crate::Value) allows, become null.
    fn encode(&self, packet: &Packet) -> Frames;

    /// Returns an event with a text added after its arguments, from its frames by this parser, without decoding them.
    ///
    /// `None` if the frames are no event, or if the event asks for an acknowledgement. The default is always `None`, for parsers that would have to
    /// decode.
    fn append_text(&self, frames: &Frames, text: &str) -> Option<Frames> {
        let _ = (frames, text);
        None
    }

    /// Returns a decoder for one connection.
    fn decoder(&self) -> Box<dyn Decoder>;
}

/// A decoder of one connection's Engine.IO messages into packets.
///
/// After an error the connection has to be closed, because the meaning of its next messages is unknown.
pub trait Decoder: Debug + Send {
    /// Decodes a text message, without the `4` of Engine.IO. Returns the packet, or `None` if attachments follow.
    ///
    /// # Errors
    ///
    /// The message is not a packet, or not allowed at this point.
    fn text(&mut self, text: ByteString) -> Result<Option<Packet>, DecodeError>;

    /// Decodes a binary message. Returns the packet if it is complete.
    ///
    /// # Errors
    ///
    /// The message is not a packet or attachment, or not allowed at this point.
    fn binary(&mut self, bytes: Bytes) -> Result<Option<Packet>, DecodeError>;
}

/// The limits of a packet.
///
/// The bytes of a packet need no limit here. The transport bounds each message (`maxHttpBufferSize`), and a packet with its attachments consists of
/// at most `max_attachments + 1` messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The limit of attachments of one packet, and of placeholders: 10 by default. The JavaScript parser has the same limit, but does not count
    /// placeholders.
    pub max_attachments: usize,
    /// The limit of nested arrays and objects in one packet, including that of its arguments: 1,000 by default. A type decoded from arguments may
    /// have 127 levels.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_attachments: 10, max_depth: 1_000 }
    }
}
