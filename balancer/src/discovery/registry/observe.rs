//! Observations: how each changes the state.

use std::net::SocketAddr;
use std::time::Instant;

use sociable_protocol::{Announcement, Health, NodeTag, Occasion};

use super::state::Registry;
use crate::discovery::evidence::{Answer, ProbeError, Report, Sighting};

impl Registry {
    /// Learns something.
    pub fn see(&mut self, sighting: Sighting, now: Instant) {
        match sighting {
            Sighting::Listed { source, addresses, trouble } => {
                if self.sources.listed(source, addresses, trouble) {
                    self.counters.source_failures.one();
                }
            }
            Sighting::Link { source, up } => self.sources.link(source, up, now),
            Sighting::Announced { source, announcement } => {
                if self.sources.is_heard_on(source) {
                    self.announced(announcement, now);
                }
            }
            Sighting::Located { tag, announced, addresses } => self.located(tag, &announced, addresses, now),
            Sighting::Probed { address, begun, outcome } => self.probed(address, begun, outcome, now),
            Sighting::Reported(report) => self.reported(report, now),
        }
    }

    fn announced(&mut self, announcement: Announcement, now: Instant) {
        let Announcement { tag, epoch, occasion, .. } = announcement;
        match occasion {
            // It is no member yet, and may never be one.
            Occasion::Claim => {}
            Occasion::Bye => {
                // That of a process before, which had the same tag, says nothing of this one.
                match self.processes.get_mut(&tag) {
                    Some(process) if !process.is_of(epoch) => {}
                    Some(process) if process.is_proven() => {
                        process.leaves.get_or_insert((epoch, now));
                        self.look_again(tag, now);
                    }
                    _ => self.leave(tag, epoch, now),
                }
            }
            Occasion::Hello | Occasion::Alive => {
                if let Some(farewell) = self.farewells.get_mut(&tag) {
                    // It may be late. But a node that was said to go says hello.
                    if farewell.epoch == epoch && occasion == Occasion::Alive {
                        farewell.seen = now;
                        return;
                    }
                    self.farewells.remove(&tag);
                }
                self.sources.heard();
                if self.processes.get(&tag).is_some_and(|process| !process.is_of(epoch) && !process.is_proven()) {
                    self.forget(tag, "another process has its tag");
                }
                let Some(process) = self.process(tag, now) else { return };
                process.speaks(&announcement, now);
                let addresses = process.announced_at().to_vec();
                let is_doubtful = (announcement.draining || announcement.full) && process.is_proven();
                self.look_at(tag, &addresses, now);
                if is_doubtful {
                    self.look_again(tag, now);
                }
            }
        }
    }

    /// It has said goodbye.
    fn leave(&mut self, tag: NodeTag, epoch: u64, now: Instant) {
        self.forget(tag, "it has said goodbye");
        self.remember_farewell(tag, epoch, now);
    }

    fn located(&mut self, tag: NodeTag, announced: &str, addresses: Vec<SocketAddr>, now: Instant) {
        let Some(process) = self.processes.get_mut(&tag) else { return };
        if process.is_located(announced, addresses) {
            let addresses = process.announced_at().to_vec();
            self.look_at(tag, &addresses, now);
        }
    }

    /// Has those of the addresses probed at once that have not answered with the tag: they are new to it.
    fn look_at(&mut self, tag: NodeTag, addresses: &[SocketAddr], now: Instant) {
        for address in addresses {
            let is_due = self.places.get_mut(address).is_none_or(|place| !place.was_reached_as(tag) && place.may_hurry(now));
            if is_due && self.urgent.len() < self.rules.most_addresses {
                self.urgent.push(*address);
            }
        }
    }

    /// Has the addresses probed at once that have answered with the tag.
    fn look_again(&mut self, tag: NodeTag, now: Instant) {
        for (address, place) in &mut self.places {
            if place.was_reached_as(tag) && place.may_hurry(now) && self.urgent.len() < self.rules.most_addresses {
                self.urgent.push(*address);
            }
        }
    }

    fn probed(&mut self, address: SocketAddr, begun: Instant, outcome: Result<Answer, ProbeError>, now: Instant) {
        self.counters.probes.one();
        // Nobody wants to know any more.
        let Some(place) = self.places.get_mut(&address) else { return };
        let (before, was_well) = (place.tag(), place.is_well());
        match outcome {
            Err(error) => {
                self.counters.probe_failures.one();
                let error = error.to_string();
                if place.failed(&error, self.rules.fall) {
                    tracing::warn!(target: "sociable::balancer", %address, error, "nobody has answered yet at an address where a node is to be");
                }
                let leaving = before.filter(|_| was_well).and_then(|tag| Some((tag, self.processes.get(&tag)?.left_before(begun)?)));
                if let Some((tag, epoch)) = leaving {
                    self.leave(tag, epoch, now);
                }
            }
            Ok(Answer::Untagged) => {
                if place.answered(None, self.rules.rise, now) {
                    tracing::error!(
                        target: "sociable::balancer", %address,
                        "a node does not tell its tag, by which its sessions are known: have it serve its `Health` as JSON where it is probed"
                    );
                }
            }
            Ok(Answer::Health(health)) => {
                place.answered(Some(health.tag), self.rules.rise, now);
                if let Some(before) = before.filter(|before| *before != health.tag) {
                    self.replaced(before, address);
                }
                self.is_there(&health, begun, now);
            }
        }
    }

    /// A node that was said to go answers, and serves.
    fn refute_farewell(&self, tag: NodeTag) {
        self.counters.farewells_refuted.one();
        let times = self.counters.farewells_refuted.get();
        // The more there were the less often it is said.
        if times.is_power_of_two() {
            tracing::warn!(
                target: "sociable::balancer", %tag, times,
                "a node was said to go, and serves: somebody else speaks in its name; who may publish to the announcements on NATS?"
            );
        }
    }

    /// Another process answers where this one did.
    fn replaced(&mut self, tag: NodeTag, address: SocketAddr) {
        let elsewhere = self.places.values().any(|place| place.tag() == Some(tag))
            || self.processes.get(&tag).is_some_and(|process| process.announced_at().iter().any(|at| *at != address));
        if !elsewhere {
            self.forget(tag, "another process answers at its address");
        }
    }

    /// A process told its tag and its health.
    fn is_there(&mut self, health: &Health, begun: Instant, now: Instant) {
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
                return self.leave(tag, epoch, now);
            }
            self.refute_farewell(tag);
        }
        if let Some(process) = self.process(tag, now) {
            process.answers(health, begun, now);
        }
    }

    fn reported(&mut self, report: Report, now: Instant) {
        let (Report::ConnectFailed(tag) | Report::Refused(tag)) = report;
        // It may be gone already.
        let Some(process) = self.processes.get_mut(&tag) else { return };
        match report {
            Report::ConnectFailed(_) => process.connect_failed(&self.rules, now),
            Report::Refused(_) => process.refuses(now + self.rules.refused_for),
        }
    }
}
