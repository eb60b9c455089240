//! The evidence: what sources, probes and workers observe.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use http::StatusCode;
use sociable_protocol::{Announcement, Health, NodeTag};
use thiserror::Error;

/// An observation of a source, a probe or a worker.
#[derive(Debug)]
pub enum Observation {
    /// The full list of addresses of a source. An empty list changes nothing.
    Listed {
        /// The list.
        source: SourceId,
        /// All its addresses.
        addresses: Vec<SocketAddr>,
        /// The reason why some addresses are missing.
        trouble: Option<String>,
    },
    /// The link to NATS is up or down.
    Link {
        /// The link. A link of an earlier configuration is ignored.
        source: SourceId,
        /// True if it is up.
        up: bool,
    },
    /// A node spoke on NATS.
    Announced {
        /// The source that received it.
        source: SourceId,
        /// The announcement.
        announcement: Announcement,
    },
    /// The name in an announced address was looked up.
    Resolved {
        /// The node that announced it.
        tag: NodeTag,
        /// The address as it was announced.
        announced: String,
        /// The addresses that it resolves to.
        addresses: Vec<SocketAddr>,
    },
    /// An address was probed.
    Probed {
        /// The address.
        address: SocketAddr,
        /// The time when the probe started.
        begun: Instant,
        /// The outcome.
        outcome: Result<Answer, ProbeError>,
    },
    /// The report of a worker.
    Reported(Report),
}

/// A source of one configuration. A reload gives all sources new ids, so late results of old ones are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u64);

impl SourceId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The report of a worker that turned to a node. Success is not reported: it is frequent, and probes show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The worker could not connect to the node.
    ConnectFailed(NodeTag),
    /// The node answered 503 to a new session.
    Refused(NodeTag),
}

/// The answer of an address to a probe.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A node's health, with any status.
    Health(Box<Health>),
    /// A success without a health and its tag.
    Untagged,
}

/// An error of a probe.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Connecting to the address failed.
    #[error("connecting failed: {0}")]
    Connect(#[source] io::Error),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer is no HTTP/1.1.
    #[error("the answer is no HTTP/1.1: {0}")]
    Http(#[source] hyper::Error),
    /// The status is an error, and the answer has no health.
    #[error("GET /healthz has status {0}: the node needs this route")]
    Status(StatusCode),
    /// The answer is too long, or broke off.
    #[error("reading the answer failed: {0}")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// The path or the address does not form a request.
    #[error("invalid request: {0}")]
    Request(#[from] http::Error),
}
