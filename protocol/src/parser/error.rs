//! The errors of the parsers.

use thiserror::Error;

/// Why a message is refused. The texts are those of the JavaScript parsers, where these know the error.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The first character is not a digit from 0 to 6: the digit, if it is one.
    #[error("unknown packet type {}", .0.map_or("NaN".to_owned(), |digit| digit.to_string()))]
    UnknownType(Option<u8>),
    /// The number of attachments is missing, malformed or zero.
    #[error("Illegal attachments")]
    IllegalAttachments,
    /// The packet has more attachments, or placeholders for them, than [`Limits`](super::Limits) allow.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The payload is malformed, or none for this type of packet; or the name of the event is reserved.
    #[error("invalid payload")]
    InvalidPayload,
    /// The payload is nested more than [`Limits`](super::Limits) allow.
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
