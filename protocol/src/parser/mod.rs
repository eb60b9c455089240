//! How packets of Socket.IO are written: as JSON with attachments ([`JsonParser`], which every client speaks), or as MessagePack
//! ([`MsgPackParser`], for clients that bring `socket.io-msgpack-parser`).
//!
//! A [`Parser`] belongs to a server, a [`Decoder`] to a connection. What is encoded are [`Frames`]: the Engine.IO messages of a
//! packet, ready for every receiver.

mod json;
mod json_encode;
mod msgpack;
pub(crate) mod placeholder;
pub(crate) mod scan;

use std::fmt::Debug;

use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

use crate::args::Encoding;
use crate::packet::Packet;
use crate::websocket::Frames;

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

/// Why a message is refused. The texts are those of the JavaScript parsers, where these know the error.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The first character is not a digit from 0 to 6: the digit, if it is one.
    #[error("unknown packet type {}", .0.map_or("NaN".to_owned(), |digit| digit.to_string()))]
    UnknownType(Option<u8>),
    /// The number of attachments is missing, malformed or zero.
    #[error("Illegal attachments")]
    IllegalAttachments,
    /// The packet has more attachments, or placeholders for them, than [`Limits`] allow.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The payload is malformed, or none for this type of packet; or the name of the event is reserved.
    #[error("invalid payload")]
    InvalidPayload,
    /// The payload is nested more than [`Limits`] allow.
    #[error("payload nested more than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A placeholder names an attachment that the packet does not have.
    #[error("illegal attachments")]
    IllegalPlaceholder,
    /// A text message came where an attachment was awaited.
    #[error("got plaintext data when reconstructing a packet")]
    UnexpectedText,
    /// A binary message came, but no attachment was awaited.
    #[error("got binary data when not reconstructing a packet")]
    UnexpectedBinary,
    /// The MessagePack parser got text.
    #[error("got plaintext data, but packets are MessagePack: the client has to use socket.io-msgpack-parser, as the server does")]
    NotMsgPack,
    /// A message is no MessagePack, not all of it, or none that is UTF-8.
    #[error("malformed MessagePack")]
    MalformedMsgPack,
    /// The type in a MessagePack packet is not a number from 0 to 4.
    #[error("invalid packet type")]
    InvalidType,
    /// The namespace in a MessagePack packet is not a string.
    #[error("invalid namespace")]
    InvalidNamespace,
    /// The id in a MessagePack packet is not a whole number from 0 on.
    #[error("invalid packet id")]
    InvalidId,
}

/// What is written between the quotes of a JSON string that has been scanned. Half a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let unescaped = match character {
            '\\' => match characters.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    units.push(characters.by_ref().take(4).fold(0, |unit, digit| unit << 4 | digit.to_digit(16).unwrap_or(0) as u16));
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            plain => plain,
        };
        units.extend_from_slice(unescaped.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_a_surrogate_pair_is_replaced() {
        assert_eq!(unescape(br"a\ud83d\ude00b\ud83dc\u00e9\/\\"), "a😀b\u{fffd}cé/\\");
    }

    proptest! {
        #[test]
        fn strings_are_unescaped(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescape(&json.as_bytes()[1..json.len() - 1]), text);
        }
    }
}
