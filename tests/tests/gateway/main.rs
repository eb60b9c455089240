//! The API for backends, over real NATS servers.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod nats;
mod permissions;
mod stores;
