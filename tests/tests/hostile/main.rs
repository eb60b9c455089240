//! Attacks on one node, and on a node behind a balancer.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

mod early_answers;
mod front;
mod memory;
mod namespaces;
mod node;
mod query;
mod requests;
mod rooms;
