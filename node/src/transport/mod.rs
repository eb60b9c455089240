//! The ways by which a session's packets travel: polls and posts, WebSockets, and the change from one to the other.

pub(crate) mod bridge;
pub(crate) mod polling;
pub(crate) mod stream;
pub(crate) mod upgrade;
pub(crate) mod websocket;
