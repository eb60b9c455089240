//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! * [`negotiate`] decides on the offers of a client.
//! * [`Frames::deflated`](super::Frames::deflated) compresses a message alone. Clones of [shared](super::Frames::sharing) frames are compressed once.
//! * [`ContextDeflater`] compresses the messages of one client in the context of the messages before.
//! * A [`Decoder`](super::Decoder) [with the agreement](super::Decoder::deflated) inflates the messages of a client.
//!
//! Without context takeover a connection holds no state. Each thread has one inflater, and one compressor for each window size in use.

mod deflater;
mod inflater;
mod negotiation;
#[cfg(test)]
mod tests;

pub(super) use deflater::deflate_alone;
pub use deflater::{ContextDeflater, Settings};
pub use inflater::CONTEXT_BYTES as INFLATE_CONTEXT_BYTES;
pub(super) use inflater::Inflater;
pub use negotiation::{Agreement, MalformedExtensions, Terms, negotiate};

/// The end of every compressed message, which is left out on the wire.
const TRAILER: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The window that is agreed unless one side asks for a smaller one.
pub(super) const MAX_WINDOW_BITS: u8 = 15;

/// The size of a thread's buffer for the output of a codec.
const SCRATCH: usize = 16 * 1024;
