//! The nodes of the cluster, as one replica of the balancer sees them.
//!
//! A [`Table`] is an immutable snapshot. The registry publishes a new one after each change, and every worker reads the
//! newest. The [`Load`] of a node changes with each request, and all snapshots share it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use serde::Serialize;
use sociable_protocol::NodeTag;
use sociable_protocol::maps::Map;

/// The requests that a node may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// New sessions, and all requests of its own sessions.
    Ready,
    /// Requests of its own sessions, and no new ones: it drains, or no source names it any more.
    Draining,
    /// Requests of its own sessions: it has its most sessions, or refused a new one.
    Full,
    /// Requests of its own sessions: it does not answer, or is cut off from the others. If this lasts, the node is
    /// removed.
    Unwell,
}

/// The limits of a node, as far as it announced them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// The most sessions.
    pub max_sessions: Option<usize>,
    /// The longest body of a request, in bytes.
    pub max_payload: Option<u64>,
    /// The longest silence of a healthy connection, in milliseconds: `ping_interval` and `ping_timeout`.
    pub max_silence: Option<u64>,
}

/// A node of the cluster: one start of a process.
#[derive(Clone, Debug)]
pub struct Node {
    /// The tag in the node's ids.
    pub tag: NodeTag,
    /// The node's name, for people.
    pub name: String,
    /// The node's address.
    pub address: SocketAddr,
    /// The requests that the node may get.
    pub state: State,
    /// The node's limits.
    pub limits: Limits,
    /// The time when the node joined the table, for the slow start.
    pub since: Instant,
    /// The node's load, which all snapshots share.
    pub load: Arc<Load>,
}

/// The load of a node, as this replica sees it. Each tag has one load while the node is in the table.
#[derive(Debug, Default)]
pub struct Load {
    /// The sessions that the node last reported.
    reported: AtomicUsize,
    /// The sessions that this replica placed there since.
    placed: AtomicUsize,
    /// All sessions that this replica placed there.
    placements: AtomicU64,
    /// Open WebSocket connections between this replica and the node.
    tunnels: AtomicUsize,
    /// Requests of this replica that the node has not answered yet.
    requests: AtomicUsize,
}

impl Load {
    /// Returns the sessions of the node: those it reported, and those placed since.
    pub fn sessions(&self) -> usize {
        self.reported.load(Relaxed).saturating_add(self.placed.load(Relaxed))
    }

    /// Sets the sessions that the node reported.
    pub fn set_reported(&self, sessions: usize) {
        self.reported.store(sessions, Relaxed);
        self.placed.store(0, Relaxed);
    }

    /// Notes that a session was placed there.
    pub fn count_placement(&self) {
        self.placed.fetch_add(1, Relaxed);
        self.placements.fetch_add(1, Relaxed);
    }

    /// Returns the number of sessions that this replica has placed there.
    pub fn placements(&self) -> u64 {
        self.placements.load(Relaxed)
    }

    /// Returns the number of tunnels.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Relaxed)
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// Counts a tunnel until the guard is dropped.
    pub fn count_tunnel(self: &Arc<Self>) -> LoadGuard {
        LoadGuard::new(self, |load| &load.tunnels)
    }

    /// Counts a request until the guard is dropped.
    pub fn count_request(self: &Arc<Self>) -> LoadGuard {
        LoadGuard::new(self, |load| &load.requests)
    }
}

/// Something that counts as long as it is held.
pub struct LoadGuard {
    load: Arc<Load>,
    gauge: fn(&Load) -> &AtomicUsize,
}

impl LoadGuard {
    fn new(load: &Arc<Load>, gauge: fn(&Load) -> &AtomicUsize) -> Self {
        gauge(load).fetch_add(1, Relaxed);
        Self { load: Arc::clone(load), gauge }
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        (self.gauge)(&self.load).fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for LoadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadGuard").field(&(self.gauge)(&self.load)).finish()
    }
}

/// A snapshot of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Table {
    nodes: Vec<Arc<Node>>,
    by_tag: Map<NodeTag, usize>,
    /// Indices of those that take new sessions.
    ready: Vec<usize>,
    generation: u64,
}

impl Table {
    /// Returns a table of these nodes, ordered by their tags. Replicas that know the same nodes have the same table. Of
    /// two nodes with one tag the last is kept.
    pub fn new(nodes: impl IntoIterator<Item = Node>, generation: u64) -> Self {
        let mut sorted = std::collections::BTreeMap::new();
        for node in nodes {
            sorted.insert(node.tag, Arc::new(node));
        }
        let nodes: Vec<_> = sorted.into_values().collect();
        let by_tag = nodes.iter().enumerate().map(|(index, node)| (node.tag, index)).collect();
        let ready = nodes.iter().enumerate().filter(|(_, node)| node.state == State::Ready).map(|(index, _)| index).collect();
        Self { nodes, by_tag, ready, generation }
    }

    /// Returns all nodes.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The one that owns the sessions with this tag, in whatever state.
    pub fn owner(&self, tag: NodeTag) -> Option<&Arc<Node>> {
        self.by_tag.get(&tag).map(|index| &self.nodes[*index])
    }

    /// Returns the nodes that take new sessions.
    pub fn ready(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> + Clone {
        self.ready.iter().map(|index| &self.nodes[*index])
    }

    /// Returns a node that takes new sessions, by its place among them.
    pub fn nth_ready(&self, place: usize) -> Option<&Arc<Node>> {
        self.ready.get(place).map(|index| &self.nodes[*index])
    }

    /// Grows with each table that is made.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
