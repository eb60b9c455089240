//! The evaluation: the address of each node, the removal of dead nodes, the addresses to probe, and the table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sociable_protocol::NodeTag;
use sociable_protocol::maps::{Map, Set};

use super::endpoint::Endpoint;
use super::process::Process;
use super::state::{FAREWELL, Registry};
use super::verdict::{HealthSignals, IgnoredSignals, Reachability, Verdict, Why, ignored};
use crate::table::{Node, State, Table};

/// A longer pause between two evaluations means that this process was suspended or starved. The silence is then no sign
/// of dead nodes.
const PAUSE: Duration = Duration::from_secs(2);

impl Registry {
    /// Evaluates all evidence, and returns the table if it changed. The caller evaluates after each batch of observations, and several times
    /// a second besides: silence is evidence too.
    pub fn evaluate(&mut self, now: Instant) -> Option<Arc<Table>> {
        self.forgive_pause(now);
        self.sources.settle(self.rules.silence, now);
        self.farewells.retain(|_, farewell| now.duration_since(farewell.seen) < FAREWELL);
        let listed = self.sources.addresses();
        let answers = self.locate_processes();
        self.expire(now);
        self.update_endpoints(&listed);
        self.decide_verdicts(&listed, &answers, now);
        self.publish()
    }

    fn forgive_pause(&mut self, now: Instant) {
        let pause = self.evaluated.replace(now).map_or(Duration::ZERO, |before| now.duration_since(before));
        if pause > PAUSE {
            tracing::warn!(target: "sociable::balancer", ?pause, "process was suspended or starved; ignoring the silence of the nodes");
            self.processes.values_mut().for_each(|process| process.forgive_pause(pause));
            self.sources.forgive_pause(pause);
        }
    }

    /// Finds the best address of each process. Returns all addresses at which each answered.
    fn locate_processes(&mut self) -> Map<NodeTag, Vec<SocketAddr>> {
        let mut answers: Map<NodeTag, Vec<SocketAddr>> = Map::default();
        for (address, endpoint) in &self.endpoints {
            if let Some(tag) = endpoint.tag() {
                answers.entry(tag).or_default().push(*address);
            }
        }
        for (tag, process) in &mut self.processes {
            let announced = process.announced_at();
            let candidates = answers.get(tag).into_iter().flatten().chain(announced).chain(&process.address);
            // A node keeps its address while no other is better. Else all replicas choose the same.
            let rank = |address: &&SocketAddr| {
                let reachability = Reachability::at(self.endpoints.get(address), *tag);
                (reachability, process.address != Some(**address), **address)
            };
            let best = candidates.min_by_key(rank).map(|address| (*address, rank(&address).0));
            process.reachability = best.map(|(_, reachability)| reachability);
            process.address = best.map(|(address, _)| address);
            process.was_reached |= process.reachability.is_some_and(Reachability::is_good);
            let reached = process.address.and_then(|address| self.endpoints.get(&address)?.reached());
            process.connect_fails_since.take_if(|since| reached.is_some_and(|reached| reached > *since));
        }
        answers
    }

    /// Removes nodes that were silent for too long.
    fn expire(&mut self, now: Instant) {
        let answers = |process: &Process| process.reachability.is_some_and(Reachability::is_good);
        let dead = |process: &Process| !answers(process) && now.duration_since(process.alive) > self.rules.dead_after;
        let dead: Vec<_> = self.processes.iter().filter(|(_, process)| dead(process)).map(|(tag, _)| *tag).collect();
        for tag in dead {
            self.counters.nodes_expired.increment();
            self.remove(tag, "silent for too long");
        }
    }

    fn any_is_heard(&self, now: Instant) -> bool {
        self.processes.values().any(|process| process.was_heard(self.rules.silence, now))
    }

    /// Returns true if a node that announced itself has stopped, while this process is connected and others are heard.
    fn is_silent(&self, process: &Process, others: bool, now: Instant) -> bool {
        let up_since = self.sources.nats().and_then(|nats| nats.up_since);
        let Some((up_since, announced)) = up_since.zip(process.announced.as_ref()) else { return false };
        others && now.duration_since(announced.heard.max(up_since)) > self.rules.silence
    }

    /// Keeps the addresses that matter: listed ones, and those of known or announced nodes.
    fn update_endpoints(&mut self, listed: &Set<SocketAddr>) {
        let processes = &self.processes;
        let mut wanted: Set<SocketAddr> = Set::default();
        for process in processes.values() {
            wanted.extend(process.announced_at());
            wanted.extend(process.address);
        }
        self.endpoints.retain(|address, endpoint| {
            listed.contains(address) || wanted.contains(address) || endpoint.tag().is_some_and(|tag| processes.contains_key(&tag))
        });
        let mut refused = 0;
        for address in listed.iter().chain(&wanted) {
            if self.endpoints.contains_key(address) {
                continue;
            }
            if self.endpoints.len() < self.rules.most_addresses {
                self.endpoints.insert(*address, Endpoint::default());
            } else {
                refused += 1;
            }
        }
        if refused > self.refused {
            self.counters.entries_refused.add((refused - self.refused) as u64);
            tracing::error!(
                target: "sociable::balancer", refused, most = self.rules.most_addresses,
                "too many addresses; nodes at the excess ones get no requests"
            );
        }
        self.refused = refused;
    }

    fn decide_verdicts(&mut self, listed: &Set<SocketAddr>, answers: &Map<NodeTag, Vec<SocketAddr>>, now: Instant) {
        let others = self.any_is_heard(now);
        let mut signals: Vec<_> = Vec::with_capacity(self.processes.len());
        for (tag, process) in &self.processes {
            let at = answers.get(tag).into_iter().flatten().chain(&process.address);
            let named =
                self.sources.nats().is_some() && process.announced.is_some() || at.into_iter().any(|address| listed.contains(address));
            let unreachable = match process.reachability {
                None => Some(Why::NoAddress),
                Some(reachability) if !reachability.is_good() => Some(Why::Reachability(reachability)),
                _ => process.connect_fails_since.map(|_| Why::ConnectFails),
            };
            let isolated = if process.cut_off { Some(Why::CutOff) } else { self.is_silent(process, others, now).then_some(Why::Silent) };
            let leaving = if process.draining { Some(Why::Draining) } else { (!named).then_some(Why::Unnamed) };
            signals.push((
                *tag,
                HealthSignals { leaving, unreachable, isolated, full: process.is_full(now), was_reached: process.was_reached },
            ));
        }
        let ignored = ignored(signals.iter().map(|(_, signals)| signals), self.rules.panic);
        self.set_ignored(ignored);
        for (tag, signals) in signals {
            let verdict = signals.verdict(ignored);
            let Some(process) = self.processes.get_mut(&tag) else { continue };
            let before = process.verdict.replace(verdict);
            log_transition(tag, process, before, verdict);
        }
    }

    fn set_ignored(&mut self, ignored: IgnoredSignals) {
        let before = std::mem::replace(&mut self.ignored, ignored);
        match (before.unreachable, ignored.unreachable) {
            (false, true) => {
                self.counters.panic_mode_activations.increment();
                tracing::error!(target: "sociable::balancer", "fewer than half of the nodes reachable; placing new sessions on all");
            }
            (true, false) => tracing::info!(target: "sociable::balancer", "at least half of the nodes reachable again"),
            _ => {}
        }
        match (before.isolated, ignored.isolated) {
            (false, true) => {
                tracing::warn!(target: "sociable::balancer", "no node well and connected to the cluster; placing new sessions on cut-off nodes")
            }
            (true, false) => tracing::info!(target: "sociable::balancer", "nodes well and connected to the cluster again"),
            _ => {}
        }
    }

    /// Makes a table, if it is another than before.
    fn publish(&mut self) -> Option<Arc<Table>> {
        let nodes = self.processes.iter().filter_map(|(tag, process)| {
            Some(Node {
                tag: *tag,
                name: process.name().to_owned(),
                address: process.address.filter(|_| process.reachability.is_some_and(Reachability::is_proven))?,
                state: process.verdict?.state,
                limits: process.limits,
                since: process.since,
                load: Arc::clone(&process.load),
            })
        });
        let table = Table::new(nodes, self.table.generation() + 1);
        let same = |(a, b): (&Arc<Node>, &Arc<Node>)| {
            (a.tag, &a.name, a.address, a.state, a.limits, a.since) == (b.tag, &b.name, b.address, b.state, b.limits, b.since)
        };
        if table.nodes().len() == self.table.nodes().len() && table.nodes().iter().zip(self.table.nodes()).all(same) {
            return None;
        }
        self.counters.table_updates.increment();
        self.table = Arc::new(table);
        Some(Arc::clone(&self.table))
    }
}

/// Logs what changed for a node.
fn log_transition(tag: NodeTag, process: &Process, before: Option<Verdict>, verdict: Verdict) {
    let (node, address, state, why) = (process.name(), process.address, verdict.state, verdict.why);
    match before {
        None => {
            tracing::info!(target: "sociable::balancer", %tag, node, address = address.map(tracing::field::display), ?state, %why, "node joined")
        }
        Some(before) if before.state == state => {}
        Some(_) if state == State::Unwell => {
            tracing::warn!(target: "sociable::balancer", %tag, node, address = address.map(tracing::field::display), %why, "node unwell");
        }
        Some(_) => {
            tracing::info!(target: "sociable::balancer", %tag, node, address = address.map(tracing::field::display), ?state, %why, "node state changed")
        }
    }
}
