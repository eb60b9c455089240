//! Why nodes can't be looked for.

use sociable_nats::NatsConfigError;
use thiserror::Error;

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
    /// A setting for NATS can't work.
    #[error("for NATS: {0}")]
    Nats(#[from] NatsConfigError),
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
