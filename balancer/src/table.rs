//! The nodes of the cluster, as one replica of the balancer knows them.
//!
//! A [`Table`] is a snapshot that does not change: the registry makes a new one whenever something is learnt, and every worker reads the
//! newest. What changes from request to request, the [`Load`] of a node, is shared by all snapshots.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use serde::Serialize;
use sociable_protocol::NodeTag;

use crate::maps::Map;

/// What may be sent to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// New sessions, and all requests of those that it has.
    Ready,
    /// Requests of the sessions that it has, and no new ones: it is going, or no source names it any more.
    Draining,
    /// The same: it has as many sessions as it can bear, or said that it can't take one.
    Full,
    /// The same: it does not answer, or is cut off from the others. If it stays so it is taken out of the table.
    Unwell,
}

/// What a node bears, as far as it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Sessions.
    pub max_sessions: Option<usize>,
    /// Bytes of a request's body.
    pub max_payload: Option<u64>,
    /// For how long a connection that is well may be silent, in milliseconds: `ping_interval` and `ping_timeout`.
    pub max_silence: Option<u64>,
}

/// One process that serves.
#[derive(Clone, Debug)]
pub struct Node {
    /// The tag in the ids that it makes.
    pub tag: NodeTag,
    /// Its name, for people.
    pub name: String,
    /// Where it is reached.
    pub address: SocketAddr,
    /// What may be sent to it.
    pub state: State,
    /// What it bears.
    pub limits: Limits,
    /// Since when it is in the table: for the slow start.
    pub since: Instant,
    /// What it has to do. Shared by all snapshots.
    pub load: Arc<Load>,
}

/// What a node has to do, as far as this replica knows. One for each tag, for as long as the node is in the table.
#[derive(Debug, Default)]
pub struct Load {
    /// Sessions that it told of last.
    reported: AtomicUsize,
    /// Sessions that were placed there by this replica since.
    placed: AtomicUsize,
    /// All that were placed there by this replica.
    placements: AtomicU64,
    /// Connections that are open between this replica and the node for a WebSocket.
    tunnels: AtomicUsize,
    /// Requests of this replica that the node has not answered yet.
    requests: AtomicUsize,
}

impl Load {
    /// Its sessions: those that it told of, and those placed since.
    pub fn sessions(&self) -> usize {
        self.reported.load(Relaxed).saturating_add(self.placed.load(Relaxed))
    }

    /// Notes what it tells.
    pub fn set_reported(&self, sessions: usize) {
        self.reported.store(sessions, Relaxed);
        self.placed.store(0, Relaxed);
    }

    /// Notes that a session was placed there.
    pub fn count_placement(&self) {
        self.placed.fetch_add(1, Relaxed);
        self.placements.fetch_add(1, Relaxed);
    }

    /// How many sessions were placed there by this replica, ever.
    pub fn placements(&self) -> u64 {
        self.placements.load(Relaxed)
    }

    /// Its tunnels.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Relaxed)
    }

    /// Its requests.
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

/// All nodes: a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Table {
    nodes: Vec<Arc<Node>>,
    by_tag: Map<NodeTag, usize>,
    /// Indices of those that take new sessions.
    ready: Vec<usize>,
    generation: u64,
}

impl Table {
    /// A table of these nodes, in the order of their tags whatever order they come in: replicas that know the same nodes have the same
    /// table. Of two with one tag the last is taken.
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

    /// All of them.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The one that owns the sessions with this tag, in whatever state.
    pub fn owner(&self, tag: NodeTag) -> Option<&Arc<Node>> {
        self.by_tag.get(&tag).map(|index| &self.nodes[*index])
    }

    /// Those that take new sessions.
    pub fn ready(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> + Clone {
        self.ready.iter().map(|index| &self.nodes[*index])
    }

    /// One of those that take new sessions, by its place among them.
    pub fn nth_ready(&self, place: usize) -> Option<&Arc<Node>> {
        self.ready.get(place).map(|index| &self.nodes[*index])
    }

    /// Grows with each table that is made.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
