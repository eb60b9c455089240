//! Recovery of sockets whose clients come back: to their node, and to other nodes of a cluster.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

mod away;
mod history;
mod one_node;
