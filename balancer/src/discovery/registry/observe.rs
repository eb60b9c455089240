//! Observations: how each changes the state.

use std::net::SocketAddr;
use std::time::Instant;

use sociable_protocol::{Announcement, Health, NodeTag, Occasion};

use super::state::Registry;
use crate::discovery::evidence::{Answer, Observation, ProbeError, Report};

impl Registry {
    /// Takes an observation.
    pub fn observe(&mut self, observation: Observation, now: Instant) {
        match observation {
            Observation::Listed { source, addresses, trouble } => {
                if self.sources.on_listed(source, addresses, trouble) {
                    self.counters.source_failures.increment();
                }
            }
            Observation::Link { source, up } => self.sources.on_link(source, up, now),
            Observation::Announced { source, announcement } => {
                if self.sources.is_heard_on(source) {
                    self.on_announced(announcement, now);
                }
            }
            Observation::Resolved { tag, announced, addresses } => self.on_resolved(tag, &announced, addresses, now),
            Observation::Probed { address, begun, outcome } => self.on_probed(address, begun, outcome, now),
            Observation::Reported(report) => self.on_reported(report, now),
        }
    }

    fn on_announced(&mut self, announcement: Announcement, now: Instant) {
        let Announcement { tag, epoch, occasion, .. } = announcement;
        match occasion {
            // The node is no member yet, and may never be one.
            Occasion::Claim => {}
            Occasion::Bye => {
                // The farewell of an earlier process with this tag says nothing of this one.
                match self.processes.get_mut(&tag) {
                    Some(process) if !process.is_of(epoch) => {}
                    Some(process) if process.is_proven() => {
                        process.leaving.get_or_insert((epoch, now));
                        self.probe_confirmed(tag, now);
                    }
                    _ => self.remove_with_farewell(tag, epoch, now),
                }
            }
            Occasion::Hello | Occasion::Alive => {
                if let Some(farewell) = self.farewells.get_mut(&tag) {
                    // The announcement may be late. But a node that was said to go says hello.
                    if farewell.epoch == epoch && occasion == Occasion::Alive {
                        farewell.seen = now;
                        return;
                    }
                    self.farewells.remove(&tag);
                }
                self.sources.on_announced();
                if self.processes.get(&tag).is_some_and(|process| !process.is_of(epoch) && !process.is_proven()) {
                    self.remove(tag, "another process has its tag");
                }
                let Some(process) = self.process_mut(tag, now) else { return };
                process.on_announcement(&announcement, now);
                let addresses = process.announced_at().to_vec();
                let is_doubtful = (announcement.draining || announcement.full) && process.is_proven();
                self.probe_unconfirmed(tag, &addresses, now);
                if is_doubtful {
                    self.probe_confirmed(tag, now);
                }
            }
        }
    }

    /// Removes a node after its farewell.
    fn remove_with_farewell(&mut self, tag: NodeTag, epoch: u64, now: Instant) {
        self.remove(tag, "farewell");
        self.remember_farewell(tag, epoch, now);
    }

    fn on_resolved(&mut self, tag: NodeTag, announced: &str, addresses: Vec<SocketAddr>, now: Instant) {
        let Some(process) = self.processes.get_mut(&tag) else { return };
        if process.on_resolved(announced, addresses) {
            let addresses = process.announced_at().to_vec();
            self.probe_unconfirmed(tag, &addresses, now);
        }
    }

    /// Requests a probe of the addresses that have not answered with the tag.
    fn probe_unconfirmed(&mut self, tag: NodeTag, addresses: &[SocketAddr], now: Instant) {
        for address in addresses {
            let is_due =
                self.endpoints.get_mut(address).is_none_or(|endpoint| !endpoint.was_reached_as(tag) && endpoint.may_probe_now(now));
            if is_due && self.urgent.len() < self.rules.most_addresses {
                self.urgent.push(*address);
            }
        }
    }

    /// Requests a probe of the addresses that have answered with the tag.
    fn probe_confirmed(&mut self, tag: NodeTag, now: Instant) {
        for (address, endpoint) in &mut self.endpoints {
            if endpoint.was_reached_as(tag) && endpoint.may_probe_now(now) && self.urgent.len() < self.rules.most_addresses {
                self.urgent.push(*address);
            }
        }
    }

    fn on_probed(&mut self, address: SocketAddr, begun: Instant, outcome: Result<Answer, ProbeError>, now: Instant) {
        self.counters.probes.increment();
        // The address is probed no more.
        let Some(endpoint) = self.endpoints.get_mut(&address) else { return };
        let (before, was_well) = (endpoint.tag(), endpoint.is_well());
        match outcome {
            Err(error) => {
                self.counters.probe_failures.increment();
                let error = error.to_string();
                if endpoint.on_failure(&error, self.rules.fall) {
                    tracing::warn!(target: "sociable::balancer", %address, error, "node address has never answered a probe");
                }
                let leaving = before.filter(|_| was_well).and_then(|tag| Some((tag, self.processes.get(&tag)?.left_before(begun)?)));
                if let Some((tag, epoch)) = leaving {
                    self.remove_with_farewell(tag, epoch, now);
                }
            }
            Ok(Answer::Untagged) => {
                if endpoint.on_answer(None, self.rules.rise, now) {
                    tracing::error!(
                        target: "sociable::balancer", %address,
                        "probe answer has no tag; serve the node's `Health` as JSON at the path of probes"
                    );
                }
            }
            Ok(Answer::Health(health)) => {
                endpoint.on_answer(Some(health.tag), self.rules.rise, now);
                if let Some(before) = before.filter(|before| *before != health.tag) {
                    self.on_replaced(before, address);
                }
                self.on_health(&health, begun, now);
            }
        }
    }

    /// Counts and logs that a node serves after a farewell in its name.
    fn refute_farewell(&self, tag: NodeTag) {
        self.counters.farewells_refuted.increment();
        let times = self.counters.farewells_refuted.get();
        // Logged at powers of two.
        if times.is_power_of_two() {
            tracing::warn!(
                target: "sociable::balancer", %tag, times,
                "farewell of a node that serves was refuted; check who may publish announcements on NATS"
            );
        }
    }

    /// Records that another process answers at this one's address.
    fn on_replaced(&mut self, tag: NodeTag, address: SocketAddr) {
        let elsewhere = self.endpoints.values().any(|endpoint| endpoint.tag() == Some(tag))
            || self.processes.get(&tag).is_some_and(|process| process.announced_at().iter().any(|at| *at != address));
        if !elsewhere {
            self.remove(tag, "another process at its address");
        }
    }

    /// Records the health of a process, which includes its tag.
    fn on_health(&mut self, health: &Health, begun: Instant, now: Instant) {
        let tag = health.tag;
        if let Some(farewell) = self.farewells.get_mut(&tag) {
            farewell.seen = now;
            if health.draining || begun <= farewell.said {
                return;
            }
            self.farewells.remove(&tag);
            self.refute_farewell(tag);
        }
        if let Some(epoch) = self.processes.get(&tag).and_then(|process| process.left_before(begun)) {
            if health.draining {
                return self.remove_with_farewell(tag, epoch, now);
            }
            self.refute_farewell(tag);
        }
        if let Some(process) = self.process_mut(tag, now) {
            process.on_health(health, begun, now);
        }
    }

    fn on_reported(&mut self, report: Report, now: Instant) {
        let (Report::ConnectFailed(tag) | Report::Refused(tag)) = report;
        // The node may have been removed already.
        let Some(process) = self.processes.get_mut(&tag) else { return };
        match report {
            Report::ConnectFailed(_) => process.on_connect_failed(&self.rules, now),
            Report::Refused(_) => process.on_refused(now + self.rules.refused_for),
        }
    }
}
