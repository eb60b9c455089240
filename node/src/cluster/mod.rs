//! Operations across threads and nodes.

pub(crate) mod acks;
pub(crate) mod delivery;
pub(crate) mod fetch;
pub(crate) mod frames;
pub(crate) mod hooks;
pub(crate) mod node;
pub(crate) mod questions;
pub(crate) mod server_events;
mod sizes;
