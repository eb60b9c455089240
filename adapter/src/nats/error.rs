//! Reasons why a node can't meet the others.

use std::path::PathBuf;

use sociable_nats::{CertificateError, NatsConfigError, NatsConnectError};
use thiserror::Error;

/// A reason why a node can't meet the others.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The address of a NATS server can't be read. Write it as `nats://HOST:PORT` or `tls://HOST:PORT`.
    #[error("{address:?} is no address of a NATS server ({error}); write nats://HOST:PORT")]
    Address {
        /// The address, without credentials.
        address: String,
        /// The reason.
        error: String,
    },
    /// The address of this node can't be read. Write it as `HOST:PORT`, as a balancer would reach it.
    #[error("{0:?} is no address at which a balancer reaches this node; write HOST:PORT")]
    Advertised(String),
    /// The name of the cluster is part of subjects: give it 1 to 64 characters of `[A-Za-z0-9_-]`.
    #[error("{0:?} can't be the name of a cluster: give it 1 to 64 characters of [A-Za-z0-9_-]")]
    ClusterName(String),
    /// Other nodes would take this one for dead: let `heartbeat_timeout` be at least twice `heartbeat_interval`, and this above zero.
    #[error("heartbeat_timeout has to be at least twice heartbeat_interval, and this above zero")]
    Heartbeat,
    /// None of the NATS servers can be reached. Are they running?
    #[error("no NATS server at {servers} can be reached: {error}")]
    Connect {
        /// The servers that were tried.
        servers: String,
        /// The error of the last.
        error: String,
    },
    /// The NATS servers do not let this process in. Are the credentials right?
    #[error("no NATS server at {servers} lets this process in with these credentials: {error}")]
    Refused {
        /// The servers that were tried.
        servers: String,
        /// The error of the last.
        error: String,
    },
    /// The seed of an nkey can't be read. It begins with `SU`.
    #[error("the nkey can't be read: {0}; give the seed, which begins with SU")]
    Nkey(String),
    /// A file with credentials, certificates or a key can't be read.
    #[error("{path} can't be used: {error}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why it can't be read.
        error: std::io::Error,
    },
    /// A file holds no usable certificate or key.
    #[error("TLS to NATS can't work: {0}")]
    Certificate(String),
    /// The interval of pings is zero.
    #[error("the ping interval of NATS has to be above zero")]
    PingInterval,
    /// The server can't persist events and sessions. Is JetStream enabled (`nats-server -js`), and is this process allowed to use it?
    #[error("JetStream can't be used: {0}; it has to be enabled (`nats-server -js`), and this process allowed to use it")]
    JetStream(String),
    /// No tag was free in several tries, or the thread of the adapter could not be started.
    #[error("the adapter can't be started: {0}")]
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
