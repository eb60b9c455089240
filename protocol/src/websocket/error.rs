//! The faults of a client's frames.

use thiserror::Error;

/// The error of a client's frames. The connection cannot be used any more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The frame is not masked, as a client's has to be.
    #[error("frame not masked")]
    NotMasked,
    /// A reserved bit is set without an agreed extension, or on a frame that cannot be compressed.
    #[error("reserved bit set")]
    ReservedBit,
    /// The opcode is undefined.
    #[error("unknown opcode {0}")]
    UnknownOpcode(u8),
    /// A control frame is fragmented, longer than 125 bytes, or closes with a forbidden status code.
    #[error("malformed control frame")]
    BadControl,
    /// A continuation came without a beginning, or a beginning inside a fragmented message.
    #[error("frame out of order")]
    BadContinuation,
    /// The message is longer than the limit.
    #[error("message longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A compressed message is longer than the limit.
    #[error("compressed message longer than {limit} bytes")]
    InflatedTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A text message is not UTF-8, or the reason of a close frame.
    #[error("text message is not UTF-8")]
    NotUtf8,
    /// A compressed message cannot be inflated.
    #[error("malformed compressed message")]
    BadDeflate,
}

impl FrameError {
    /// Returns the status code for the close frame.
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLarge { .. } | Self::InflatedTooLarge { .. } => 1009,
            Self::NotUtf8 | Self::BadDeflate => 1007,
            _ => 1002,
        }
    }
}
