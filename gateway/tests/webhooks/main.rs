//! Webhooks with real backends: an HTTP server, and raw TCP for backends that break the rules.
//!
//! * `backend.rs`: the backends. `node.rs`: a server with webhooks.
//! * `connect.rs`, `events.rs`, `life.rs`: what webhooks carry, and what their answers do. `order.rs`: order and parallelism.
//! * `faults.rs`, `breaker.rs`, `bounds.rs`: backends that fail, and what stays bounded. `batches.rs`: batches. `signed.rs`: signatures. `log.rs`: warnings.

#![cfg(feature = "webhooks")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod backend;
mod batches;
mod bounds;
mod breaker;
mod connect;
mod events;
mod faults;
mod life;
mod log;
mod node;
mod order;
mod signed;
