//! The errors of the parsers.

use thiserror::Error;

/// The error of a refused message. The texts are those of the JavaScript parsers, where these detect the error.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The first character is not a digit from 0 to 6. Holds the digit, if it is one.
    #[error("unknown packet type {}", .0.map_or("NaN".to_owned(), |digit| digit.to_string()))]
    UnknownType(Option<u8>),
    /// The number of attachments is missing, malformed or zero.
    #[error("Illegal attachments")]
    IllegalAttachments,
    /// The packet has more attachments or placeholders than [`Limits`](super::Limits) allow.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The payload is malformed or of the wrong type, or the event name is reserved.
    #[error("invalid payload")]
    InvalidPayload,
    /// The payload is nested deeper than [`Limits`](super::Limits) allow.
    #[error("payload nested more than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A placeholder names a missing attachment.
    #[error("illegal attachments")]
    IllegalPlaceholder,
    /// A text message came where an attachment was expected.
    #[error("got plaintext data when reconstructing a packet")]
    UnexpectedText,
    /// A binary message came where no attachment was expected.
    #[error("got binary data when not reconstructing a packet")]
    UnexpectedBinary,
    /// The MessagePack parser got text.
    #[error("got plaintext data instead of MessagePack: use socket.io-msgpack-parser in the client")]
    NotMsgPack,
    /// A message is not MessagePack, or incomplete, or contains invalid UTF-8.
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
