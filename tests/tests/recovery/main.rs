//! Recovery of sockets, on their node and on other nodes of a cluster.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

mod away;
mod history;
mod one_node;
