//! Connection state recovery: a client that lost its connection returns as the same socket.
//!
//! While recovery is on, each event gets a position in the [`History`]. Volatile events, and those that ask for an acknowledgement, get none. The
//! position travels with the event as its last argument. Each thread delivers these events in the order of their positions. So the last position of a
//! client determines all events that it has. A lost session is saved with its rooms, its data and the position up to which it was served.

pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod registry;
pub(crate) mod resume;
