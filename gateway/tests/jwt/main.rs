//! Tokens with a real server and client: who is let in, and what becomes of claims and keys.
//!
//! * `issuer.rs`: keys and tokens. `key_server.rs`: a server of keys. `node.rs`: a server that checks tokens.
//! * `refusals.rs`: each reason of a refusal. `algorithms.rs`: keys and algorithms. `sockets.rs`: what becomes of the claims.
//! * `files.rs`, `urls.rs`: keys that change, and places of keys that are away.
//!
//! `keys/` has keys for these tests alone.

#![cfg(feature = "jwt")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod algorithms;
mod files;
mod issuer;
mod key_server;
mod node;
mod refusals;
mod sockets;
mod urls;
