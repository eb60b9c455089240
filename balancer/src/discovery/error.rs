//! Reasons why discovery can't start.

use sociable_nats::NatsConfigError;
use thiserror::Error;

/// A reason why discovery can't start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// No source of nodes is configured. Name nodes, a name in DNS, or NATS servers.
    #[error("no source of nodes configured; name some, or a name in DNS, or NATS servers")]
    Nothing,
    /// The text is no `HOST:PORT`.
    #[error("invalid node address {0:?}; write HOST:PORT, and an IPv6 address in brackets, as in [::1]:3000")]
    HostPort(String),
    /// The text is no target for DNS.
    #[error("invalid DNS target {0:?}; write dns://NAME:PORT for all addresses of a name, or srv://_SERVICE._tcp.NAME for its services")]
    DnsTarget(String),
    /// A setting for NATS is invalid.
    #[error("invalid setting for NATS: {0}")]
    Nats(#[from] NatsConfigError),
    /// The text is no path.
    #[error("invalid path of probes {0:?}; write a path with a leading slash, as in /healthz")]
    Path(String),
    /// A number is out of range.
    #[error("{name} is out of range; it must be {bound}")]
    Number {
        /// The field.
        name: &'static str,
        /// The bound that it breaks.
        bound: &'static str,
    },
    /// The thread of discovery can't be started.
    #[error("starting the discovery thread failed: {0}")]
    Thread(std::io::Error),
    /// The thread of discovery has ended. Restart the process.
    #[error("the discovery thread has ended; restart the process")]
    Ended,
}
