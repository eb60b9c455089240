//! Reasons why a node can't connect to its cluster.

use std::path::PathBuf;

use sociable_nats::{CertificateError, NatsConfigError, NatsConnectError};
use thiserror::Error;

/// A reason why a node can't connect to its cluster.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The address of a NATS server can't be read. Write it as `nats://HOST:PORT` or `tls://HOST:PORT`.
    #[error("invalid NATS address {address:?}: {error}; write nats://HOST:PORT")]
    Address {
        /// The address, without credentials.
        address: String,
        /// The reason.
        error: String,
    },
    /// The address of this node can't be read. Write it as `HOST:PORT`, as a balancer would reach it.
    #[error("invalid advertised address {0:?}; write HOST:PORT")]
    Advertised(String),
    /// The name of the cluster is invalid. Subjects contain it: give it 1 to 64 characters of `[A-Za-z0-9_-]`.
    #[error("invalid cluster name {0:?}; use 1 to 64 characters of [A-Za-z0-9_-]")]
    ClusterName(String),
    /// The timeout is too short: the other nodes would take this one for dead. Set `heartbeat_timeout` to at least
    /// twice `heartbeat_interval`, and the interval above zero.
    #[error("heartbeat_timeout too short; set it to at least twice heartbeat_interval, which must be above zero")]
    Heartbeat,
    /// No NATS server can be reached. Check that they are running.
    #[error("connecting to NATS at {servers} failed: {error}")]
    Connect {
        /// The servers that were tried.
        servers: String,
        /// The error of the last.
        error: String,
    },
    /// The NATS servers reject this process. Check its credentials.
    #[error("NATS at {servers} rejected the credentials: {error}")]
    Refused {
        /// The servers that were tried.
        servers: String,
        /// The error of the last.
        error: String,
    },
    /// The seed of an nkey can't be read. A seed starts with `SU`.
    #[error("reading the nkey failed: {0}; give its seed, which starts with SU")]
    Nkey(String),
    /// A file with credentials, certificates or a key can't be read.
    #[error("reading {path} failed: {error}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// A file holds no usable certificate or key.
    #[error("TLS to NATS failed: {0}")]
    Certificate(String),
    /// The interval of pings is zero.
    #[error("ping interval of NATS is zero; set it above zero")]
    PingInterval,
    /// The server can't persist events and sessions. Enable JetStream (`nats-server -js`), and allow this process to
    /// use it.
    #[error("using JetStream failed: {0}; enable it (`nats-server -js`), and allow this process to use it")]
    JetStream(String),
    /// No tag was free in several tries, or the thread of the adapter could not be started.
    #[error("starting the adapter failed: {0}")]
    Start(String),
}

impl From<NatsConfigError> for NatsError {
    fn from(error: NatsConfigError) -> Self {
        match error {
            NatsConfigError::Address { address, error } => Self::Address { address, error },
            NatsConfigError::ClusterName(name) => Self::ClusterName(name),
            NatsConfigError::PingInterval => Self::PingInterval,
            NatsConfigError::Nkey(error) => Self::Nkey(error),
            NatsConfigError::Credentials { path, error } => Self::Credentials { path, error },
            NatsConfigError::Certificate(CertificateError::Read { path, source: error }) => Self::Credentials { path, error },
            other => Self::Certificate(other.to_string()),
        }
    }
}

impl From<NatsConnectError> for NatsError {
    fn from(error: NatsConnectError) -> Self {
        match error {
            NatsConnectError::Config(error) => error.into(),
            NatsConnectError::Refused { servers, error } => Self::Refused { servers, error },
            NatsConnectError::Unreachable { servers, error } => Self::Connect { servers, error },
            other => Self::Start(other.to_string()),
        }
    }
}
