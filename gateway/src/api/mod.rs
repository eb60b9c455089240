//! The API by which backends send events and move sockets.

pub mod idempotency;
#[cfg(feature = "nats")]
pub mod link;
pub mod peers;
