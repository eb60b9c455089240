//! The state: what is known of the nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sociable_protocol::NodeTag;
use sociable_protocol::maps::Map;

use super::endpoint::Endpoint;
use super::process::Process;
use super::rules::Rules;
use super::sources::Sources;
use super::verdict::IgnoredSignals;
use crate::discovery::counters::DiscoveryCounters;
use crate::discovery::evidence::SourceId;
use crate::table::Table;

/// The time for which a farewell is remembered after the tag was last seen. A process ends long before.
pub(super) const FAREWELL: Duration = Duration::from_secs(60);
/// The most remembered farewells. Beyond it the oldest is forgotten, and a late announcement could restore its node.
pub(super) const MAX_FAREWELLS: usize = 4096;

/// The farewell of a node.
#[derive(Debug)]
pub(super) struct Farewell {
    /// The start of the process that it is of.
    pub(super) epoch: u64,
    /// The time of the farewell.
    pub(super) said: Instant,
    /// The time when the tag was last seen.
    pub(super) seen: Instant,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Registry {
    pub(super) rules: Rules,
    pub(super) counters: Arc<DiscoveryCounters>,
    pub(super) sources: Sources,
    pub(super) endpoints: Map<SocketAddr, Endpoint>,
    pub(super) processes: Map<NodeTag, Process>,
    pub(super) farewells: Map<NodeTag, Farewell>,
    /// Addresses that are to be probed without delay.
    pub(super) urgent: Vec<SocketAddr>,
    /// Addresses that were refused at the last evaluation.
    pub(super) refused: usize,
    pub(super) ignored: IgnoredSignals,
    pub(super) table: Arc<Table>,
    pub(super) evaluated: Option<Instant>,
}

impl Registry {
    /// Returns a registry without nodes.
    pub fn new(rules: Rules, counters: Arc<DiscoveryCounters>) -> Self {
        Self {
            rules,
            counters,
            sources: Sources::default(),
            endpoints: Map::default(),
            processes: Map::default(),
            farewells: Map::default(),
            urgent: vec![],
            refused: 0,
            ignored: IgnoredSignals::default(),
            table: Arc::default(),
            evaluated: None,
        }
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Replaces the sources: these lists, and NATS if it has a label. Addresses of the former sources stay until all
    /// new ones have reported. Returns the ids of the lists, and that of NATS.
    pub fn set_sources(&mut self, lists: Vec<String>, nats: Option<String>) -> (Vec<SourceId>, Option<SourceId>) {
        self.sources.replace(lists, nats)
    }

    /// The process with this tag, which may be new. None if there are too many.
    pub(super) fn process_mut(&mut self, tag: NodeTag, now: Instant) -> Option<&mut Process> {
        if !self.processes.contains_key(&tag) {
            if self.processes.len() >= self.rules.most_addresses {
                self.counters.entries_refused.increment();
                return None;
            }
            self.counters.nodes_added.increment();
        }
        Some(self.processes.entry(tag).or_insert_with(|| Process::new(now)))
    }

    pub(super) fn remove(&mut self, tag: NodeTag, why: &'static str) {
        let Some(process) = self.processes.remove(&tag) else { return };
        tracing::info!(target: "sociable::balancer", %tag, node = process.name(), why, "node removed");
    }

    pub(super) fn remember_farewell(&mut self, tag: NodeTag, epoch: u64, now: Instant) {
        if self.farewells.len() >= MAX_FAREWELLS
            && let Some(oldest) = self.farewells.iter().min_by_key(|(_, farewell)| farewell.seen).map(|(tag, _)| *tag)
        {
            self.farewells.remove(&oldest);
        }
        self.farewells.insert(tag, Farewell { epoch, said: now, seen: now });
    }

    /// Returns all addresses to probe.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.endpoints.keys().copied()
    }

    /// Takes those that are to be probed at once.
    pub fn drain_urgent(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.urgent)
    }

    /// The newest table.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }
}
