//! Reasons why no connection to NATS comes about.

use std::path::PathBuf;

use thiserror::Error;

use crate::certificates::CertificateError;

/// A setting that can't work. No error shows a credential.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsConfigError {
    /// A server address is malformed.
    #[error("{address:?} is no address of a NATS server ({error}); write nats://HOST:PORT")]
    Address {
        /// The address, without credentials.
        address: String,
        /// The reason.
        error: String,
    },
    /// The name of the cluster can't be part of a subject.
    #[error("{0:?} can't be the name of a cluster: give it 1 to 64 characters of [A-Za-z0-9_-]")]
    ClusterName(String),
    /// The interval of pings is zero.
    #[error("the ping interval of NATS has to be above zero")]
    PingInterval,
    /// The seed of an nkey is malformed.
    #[error("the nkey for NATS can't be read: {0}; give its seed, which begins with SU")]
    Nkey(String),
    /// A file of credentials can't be read, or holds something else.
    #[error("{path} can't be used to show NATS who this is: {error}")]
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

/// A connection that did not come about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsConnectError {
    /// A setting can't work.
    #[error(transparent)]
    Config(#[from] NatsConfigError),
    /// A server answered, and refused the credentials.
    #[error("no NATS server at {servers} lets this process in with these credentials: {error}")]
    Refused {
        /// The servers that were tried.
        servers: String,
        /// The answer of the last.
        error: String,
    },
    /// No server answered.
    #[error("no NATS server at {servers} can be reached: {error}")]
    Unreachable {
        /// The servers that were tried.
        servers: String,
        /// The error of the last.
        error: String,
    },
}
