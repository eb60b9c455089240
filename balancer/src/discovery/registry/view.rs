//! The overview for a status page, as JSON.

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;
use sociable_protocol::NodeTag;

use super::endpoint::Endpoint;
use super::process::Process;
use super::state::Registry;
use crate::table::State;

/// An overview of the registry.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// The generation of the table.
    pub generation: u64,
    /// True if so few nodes are reachable that new sessions go to the unreachable ones too.
    pub panicking: bool,
    /// True if no node is well and connected to the others, so that cut-off nodes get new sessions.
    pub all_cut_off: bool,
    /// All nodes, and all addresses where none was found.
    pub nodes: Vec<NodeView>,
    /// The sources of nodes.
    pub sources: Vec<SourceView>,
}

/// A node, or an address where none was found.
#[derive(Clone, Debug, Serialize)]
pub struct NodeView {
    /// The node's tag; `None` if unknown.
    pub tag: Option<NodeTag>,
    /// The node's name, empty if unknown.
    pub name: String,
    /// The node's address, if known.
    pub address: Option<SocketAddr>,
    /// The state of the node; `None` if it has no tag.
    pub state: Option<State>,
    /// The reason of the state.
    pub why: String,
    /// The node's sessions.
    pub sessions: usize,
    /// The node's limit of sessions, if known.
    pub max_sessions: Option<usize>,
    /// Tunnels between this replica and the node.
    pub tunnels: usize,
    /// Requests of this replica that it has not answered yet.
    pub requests: usize,
    /// Seconds since it last spoke or answered.
    pub heard_seconds_ago: Option<f64>,
    /// The sources that name it.
    pub sources: Vec<String>,
}

/// A source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceView {
    /// The label of the source.
    pub source: String,
    /// The number of its addresses, or of nodes that announced themselves there.
    pub names: usize,
    /// The reason why the source is incomplete.
    pub trouble: Option<String>,
}

impl Registry {
    /// Returns all that is known: nodes in the order of their addresses.
    pub fn overview(&self, now: Instant) -> Overview {
        let processes = self.processes.iter().map(|(tag, process)| self.node(*tag, process, now));
        let nobody = |endpoint: &Endpoint| endpoint.tag().is_none_or(|tag| !self.processes.contains_key(&tag));
        let announced = |address: &SocketAddr| self.processes.values().any(|process| process.address == Some(*address));
        let endpoints = self.endpoints.iter().filter(|(address, endpoint)| nobody(endpoint) && !announced(address));
        let mut nodes: Vec<_> = processes.chain(endpoints.map(|(address, endpoint)| self.nobody(*address, endpoint, now))).collect();
        nodes.sort_by_key(|node| (node.address, node.tag));
        Overview {
            generation: self.table.generation(),
            panicking: self.ignored.unreachable,
            all_cut_off: self.ignored.isolated,
            nodes,
            sources: self.all_sources(),
        }
    }

    fn node(&self, tag: NodeTag, process: &Process, now: Instant) -> NodeView {
        let endpoint = process.address.and_then(|address| self.endpoints.get(&address));
        let why = process.verdict.map(|verdict| verdict.why.to_string());
        let parts: Vec<_> = why.into_iter().chain(endpoint.and_then(Endpoint::trouble).map(str::to_owned)).collect();
        let announced = self.sources.nats().filter(|_| process.announced.is_some()).map(|nats| nats.label.clone());
        NodeView {
            tag: Some(tag),
            name: process.name().to_owned(),
            address: process.address,
            state: process.verdict.map(|verdict| verdict.state),
            why: parts.join(": "),
            sessions: process.load.sessions(),
            max_sessions: process.limits.max_sessions,
            tunnels: process.load.tunnels(),
            requests: process.load.requests(),
            heard_seconds_ago: Some(now.duration_since(process.alive).as_secs_f64()),
            sources: process.address.map(|address| self.lists_with(address)).unwrap_or_default().into_iter().chain(announced).collect(),
        }
    }

    fn nobody(&self, address: SocketAddr, endpoint: &Endpoint, now: Instant) -> NodeView {
        let why = match endpoint.trouble() {
            Some(trouble) => trouble,
            None if endpoint.is_untagged() => "answers without its tag",
            None if endpoint.tag().is_some() => "answers after its farewell",
            None => "not probed yet",
        };
        NodeView {
            tag: endpoint.tag(),
            name: String::new(),
            address: Some(address),
            state: None,
            why: why.to_owned(),
            sessions: 0,
            max_sessions: None,
            tunnels: 0,
            requests: 0,
            heard_seconds_ago: endpoint.reached().map(|reached| now.duration_since(reached).as_secs_f64()),
            sources: self.lists_with(address),
        }
    }

    fn lists_with(&self, address: SocketAddr) -> Vec<String> {
        let lists = self.sources.lists().filter(|list| list.addresses.binary_search(&address).is_ok());
        let mut labels: Vec<_> = lists.map(|list| list.label.clone()).collect();
        labels.sort();
        labels.dedup();
        labels
    }

    fn all_sources(&self) -> Vec<SourceView> {
        let lists = self.sources.lists().map(|list| SourceView {
            source: list.label.clone(),
            names: list.addresses.len(),
            trouble: list.trouble.clone(),
        });
        let nats = self.sources.nats().map(|nats| SourceView {
            source: nats.label.clone(),
            names: self.processes.values().filter(|process| process.announced.is_some()).count(),
            trouble: nats.up_since.is_none().then(|| "not connected".into()),
        });
        let mut all: Vec<_> = lists.chain(nats).collect();
        all.sort_by(|a, b| a.source.cmp(&b.source));
        all
    }
}
