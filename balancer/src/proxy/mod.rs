//! Between a client and a node: requests and their answers, and WebSockets.

pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod h2;
pub(crate) mod permit;
pub(crate) mod stream;
pub(crate) mod tunnel;
pub(crate) mod upstream;
