//! Connections to the NATS servers of a cluster, as the adapter and the balancer open them.
//!
//! This crate is internal to Sociable: its interface changes with these two. No credential ever shows in its `Debug` output or its errors.
//!
//! # Layout
//!
//! * `auth`: the credentials. `redact`: server addresses without credentials.
//! * `config`: the settings of a connection, and the checks that need no server. `certificates`: the checks of PEM files.
//! * `connect`: the connection itself. `event`: its ups and downs. `throttle`: a limit for repeated log lines.
//! * `error`: the reasons why settings are refused, or connections fail.

mod auth;
mod certificates;
mod config;
mod connect;
mod error;
mod event;
mod redact;
#[cfg(test)]
mod testing;
mod throttle;

pub use auth::NatsAuth;
pub use certificates::CertificateError;
pub use config::NatsConfig;
pub use connect::Role;
pub use error::{NatsConfigError, NatsConnectError};
pub use event::LinkEvent;
pub use throttle::LogThrottle;
