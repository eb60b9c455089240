//! Why nodes can't be looked for.

use std::path::PathBuf;

use thiserror::Error;

use crate::tls::TlsError;

/// Why nodes can't be looked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Nothing says which nodes there are. Name some, a name in DNS, or NATS servers.
    #[error("nothing says which nodes there are: name some, or a name in DNS, or NATS servers")]
    Nothing,
    /// This is no `HOST:PORT`.
    #[error("{0:?} is no address of a node: write HOST:PORT, and an IPv6 address in brackets, as in [::1]:3000")]
    HostPort(String),
    /// This is no name to be looked up in DNS.
    #[error("{0:?} can't be looked up: write dns://NAME:PORT for all addresses of a name, or srv://_SERVICE._tcp.NAME for its services")]
    DnsTarget(String),
    /// The address of a NATS server can't be read.
    #[error("{address:?} is no address of a NATS server ({error}); write nats://HOST:PORT")]
    NatsAddress {
        /// The address as it was given, without secrets.
        address: String,
        /// Why it can't be read.
        error: String,
    },
    /// The nkey for NATS is none.
    #[error("the nkey for NATS is none: give its seed, which begins with SU")]
    NatsNkey,
    /// A file for NATS can't be used: a JWT and an nkey, as `nsc` writes them.
    #[error("{path} can't be used to show NATS who this is: {error}")]
    NatsCredentials {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A certificate or key for NATS can't be used.
    #[error("for NATS: {0}")]
    NatsTls(#[from] TlsError),
    /// The name of the cluster is part of a subject.
    #[error("{0:?} can't be the name of a cluster: give it 1 to 64 characters of [A-Za-z0-9_-]")]
    ClusterName(String),
    /// This is no path.
    #[error("{0:?} can't be the path of probes: it has to begin with a slash, as /healthz does")]
    Path(String),
    /// A number can't work.
    #[error("{name} has to be {bound}")]
    Number {
        /// The field.
        name: &'static str,
        /// The bound that it breaks.
        bound: &'static str,
    },
    /// The thread that looks for nodes can't be started, or has ended.
    #[error("the thread that looks for nodes can't be started: {0}")]
    Thread(std::io::Error),
    /// The thread that looks for nodes has ended. It is started with the process: start that anew.
    #[error("the thread that looks for nodes has ended; the process has to be started anew")]
    Ended,
}
