//! Reasons why a connection to NATS fails.

use std::path::PathBuf;

use thiserror::Error;

use crate::certificates::CertificateError;

/// An invalid setting. No error shows a credential.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsConfigError {
    /// A server address is malformed.
    #[error("invalid NATS address {address:?}: {error}; write nats://HOST:PORT")]
    Address {
        /// The address, without credentials.
        address: String,
        /// The reason.
        error: String,
    },
    /// The name of the cluster can't be part of a subject.
    #[error("invalid cluster name {0:?}; use 1 to 64 characters of [A-Za-z0-9_-]")]
    ClusterName(String),
    /// The interval of pings is zero.
    #[error("ping interval of NATS is zero; set it above zero")]
    PingInterval,
    /// The seed of an nkey is malformed.
    #[error("reading the nkey for NATS failed: {0}; give its seed, which starts with SU")]
    Nkey(String),
    /// A file of credentials can't be read, or has other contents.
    #[error("reading the NATS credentials {path} failed: {error}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// A certificate or a key can't be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A failed connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsConnectError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] NatsConfigError),
    /// A server answered, and refused the credentials.
    #[error("NATS at {servers} rejected the credentials: {error}")]
    Refused {
        /// The servers that were tried.
        servers: String,
        /// The answer of the last.
        error: String,
    },
    /// No server answered.
    #[error("connecting to NATS at {servers} failed: {error}")]
    Unreachable {
        /// The servers that were tried.
        servers: String,
        /// The error of the last.
        error: String,
    },
}
