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
    /// A list gives all its addresses. If there are none, it stays as it was.
    Listed {
        /// Which list.
        source: SourceId,
        /// All its addresses.
        addresses: Vec<SocketAddr>,
        /// Why some addresses are missing.
        trouble: Option<String>,
    },
    /// The link to NATS is up or down.
    Link {
        /// Which one: that of a configuration before this one says nothing.
        source: SourceId,
        /// True if it is up.
        up: bool,
    },
    /// A node spoke on NATS.
    Announced {
        /// Where it was heard.
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
        /// Which one.
        address: SocketAddr,
        /// When the probe was begun.
        begun: Instant,
        /// How it went.
        outcome: Result<Answer, ProbeError>,
    },
    /// A worker turned to a node.
    Reported(Report),
}

/// A source, of one configuration: after a reload all have other ids, so that what was under way says nothing.
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
    /// A node that tells of itself, with whatever status.
    Health(Box<Health>),
    /// Somebody who answers with success, and does not tell who it is.
    Untagged,
}

/// Why a probe failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The address can't be connected to.
    #[error("it can't be connected to: {0}")]
    Connect(#[source] io::Error),
    /// There was no answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer is no HTTP/1.1.
    #[error("it does not answer as HTTP/1.1 has it: {0}")]
    Http(#[source] hyper::Error),
    /// The status says that it is not well, and there is no health in the answer that would say more.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// The answer is too long, or broke off.
    #[error("its answer can't be read: {0}")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// The path or the address can't be asked for.
    #[error("it can't be asked: {0}")]
    Request(#[from] http::Error),
}
