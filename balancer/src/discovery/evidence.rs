//! The evidence: what sources, probes and workers observe.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use http::StatusCode;
use sociable_protocol::{Announcement, Health, NodeTag};
use thiserror::Error;

/// Something that was learnt.
#[derive(Debug)]
pub enum Observation {
    /// A list gives all its addresses. If there are none, it stays as it was.
    Listed {
        /// Which list.
        source: SourceId,
        /// All its addresses.
        addresses: Vec<SocketAddr>,
        /// What could not be had.
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
        /// What it said.
        announcement: Announcement,
    },
    /// The name in an announced address was looked up.
    Resolved {
        /// Who announced it.
        tag: NodeTag,
        /// The address as it was announced.
        announced: String,
        /// What it stands for.
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

/// What a worker found when it turned to a node. That all went well is not told: it happens too often, and probes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It could not be connected to.
    ConnectFailed(NodeTag),
    /// It answered 503 to a new session.
    Refused(NodeTag),
}

/// What an address answered.
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
    /// It can't be connected to.
    #[error("it can't be connected to: {0}")]
    Connect(#[source] io::Error),
    /// There was no answer in time.
    #[error("no answer in time")]
    Timeout,
    /// What came is no answer in HTTP/1.1.
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
