//! HTTP/2 through a balancer, over real sockets: what a client of HTTP/2 gets from a node that speaks HTTP/1.1.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod hostile;
mod requests;
mod setup;
mod websockets;
#[path = "../world/mod.rs"]
mod world;
