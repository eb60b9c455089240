//! What is known of the nodes, and what follows from it: a state machine without I/O, which is told what was seen and when.
//!
//! Three kinds of witnesses speak of nodes. Lists (configured, or out of DNS) give addresses. Probes of an address tell whose tag it is, and
//! that it answers. Announcements on NATS tell a tag and its address. They are merged by the tag, which is another for each start of a
//! process; what a request needs of all this is one [`Table`].
//!
//! * Anybody on the bus can speak in the name of a node. So an address that was announced counts when a probe of it has told the announced
//!   tag: nothing is sent there before. It is probed at once.
//! * An address that answers with another tag than before is another process: the tag before is gone at once, unless it is announced
//!   elsewhere or answers at another address.
//! * A node that said goodbye is gone at once: it says so when it has closed its sessions. But if its probes say that it serves, it is
//!   probed first, and is gone when it fails that probe or says that it drains. A later probe of a node that is gone brings it back if it
//!   does not say that it drains.
//! * Another start of a process under a known tag is another process, unless probes reach that tag and it serves.
//! * A node that neither answered a probe nor announced itself for `dead_after` is gone.
//! * A node that no source names any more, but that answers, keeps its sessions and gets no new ones.
//! * A node that announced itself and fell silent gets no new sessions, if others are heard: the fault is on its side. If NATS is down,
//!   or nobody is heard, its silence says nothing, and only probes decide.
//! * A list that is empty, or that could not be had, changes nothing.
//! * If fewer than half of the nodes that could take sessions can be reached, the fault is likely here: new sessions are sent to the rest
//!   too. If there is none that is well and reaches the others, those that are cut off or silent get new sessions: NATS is down, and an
//!   island is better than nothing. Nodes that are leaving or full, and those that no probe ever reached, neither count nor get anything by this.
//!
//! # Layout
//!
//! * `sources`: which lists there are, and whether NATS is heard.
//! * `place`: an address, and how probes of it went.
//! * `process`: a node, and what it and others tell of it.
//! * `judge`: what follows: which addresses are probed, who is gone, and the table.
//! * `view`: the same for people.

mod judge;
mod place;
mod process;
#[cfg(test)]
mod properties;
mod sources;
#[cfg(test)]
mod tests;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sociable_protocol::{Announcement, Health, NodeTag, Occasion};

pub use self::sources::SourceId;
pub use self::view::{NodeView, Overview, SourceView};

use self::judge::Ignored;
use self::place::Place;
use self::process::Process;
use self::sources::Sources;
use crate::lookout::{DiscoveryCounters, Report};
use crate::maps::Map;
use crate::probe::{Answer, ProbeError};
use crate::table::Table;

/// For how long a goodbye is remembered after the tag was last seen: far longer than a process takes to end behind it.
const FAREWELL: Duration = Duration::from_secs(60);
/// How many goodbyes are remembered. Beyond it the oldest is forgotten: an announcement that comes late would bring its node back.
const MAX_FAREWELLS: usize = 4096;

/// What follows from what is seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// So many good probes in a row make an address well that was not: 2 by default. One that was never reached is well after the first.
    pub rise: u32,
    /// So many bad probes in a row make it unwell: 2 by default.
    pub fall: u32,
    /// A node that announced itself is silent if it has not for so long: 10 s by default, while nodes speak every 5 s.
    pub silence: Duration,
    /// A node of which nothing was heard for so long, by no way, is gone: 10 s by default. Its sessions are answered as unknown then.
    pub dead_after: Duration,
    /// For how long a node that answered 503 to a new session gets no other: 5 s by default.
    pub refused_for: Duration,
    /// So many failures to connect, within `connect_window`, make a node unwell until a probe reaches it: 3 by default.
    pub connect_errors: u32,
    /// 5 s by default.
    pub connect_window: Duration,
    /// True, by default, if new sessions are sent also to nodes that can't be reached while fewer than half can.
    pub panic: bool,
    /// How many addresses are probed, and how many nodes known, at most: 4096 by default. What is more is refused and counted: those nodes get
    /// nothing.
    pub most_addresses: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rise: 2,
            fall: 2,
            silence: Duration::from_secs(10),
            dead_after: Duration::from_secs(10),
            refused_for: Duration::from_secs(5),
            connect_errors: 3,
            connect_window: Duration::from_secs(5),
            panic: true,
            most_addresses: 4096,
        }
    }
}

/// Something that was learnt.
#[derive(Debug)]
pub enum Sighting {
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
    Located {
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

/// A node that said goodbye.
#[derive(Debug)]
struct Farewell {
    /// The start of the process that it is of.
    epoch: u64,
    /// When it was said.
    said: Instant,
    /// When the tag was last seen.
    seen: Instant,
}

/// What is known of the nodes. See the module.
#[derive(Debug)]
pub struct Registry {
    rules: Rules,
    counters: Arc<DiscoveryCounters>,
    sources: Sources,
    places: Map<SocketAddr, Place>,
    processes: Map<NodeTag, Process>,
    farewells: Map<NodeTag, Farewell>,
    /// Addresses that are to be probed without delay.
    urgent: Vec<SocketAddr>,
    /// Addresses that were refused at the last judgement.
    refused: usize,
    ignored: Ignored,
    table: Arc<Table>,
    judged: Option<Instant>,
}

impl Registry {
    /// One that knows of nobody.
    pub fn new(rules: Rules, counters: Arc<DiscoveryCounters>) -> Self {
        Self {
            rules,
            counters,
            sources: Sources::default(),
            places: Map::default(),
            processes: Map::default(),
            farewells: Map::default(),
            urgent: vec![],
            refused: 0,
            ignored: Ignored::default(),
            table: Arc::default(),
            judged: None,
        }
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Listens to other sources from now on: these lists, and NATS if it has a label. What those before named stays named until all of these have spoken.
    /// Gives the ids of the lists, and that of NATS.
    pub fn begin(&mut self, lists: Vec<String>, nats: Option<String>) -> (Vec<SourceId>, Option<SourceId>) {
        self.sources.begin(lists, nats)
    }

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

    /// The process with this tag, which may be new. None if there are too many.
    fn process(&mut self, tag: NodeTag, now: Instant) -> Option<&mut Process> {
        if !self.processes.contains_key(&tag) {
            if self.processes.len() >= self.rules.most_addresses {
                self.counters.refused.one();
                return None;
            }
            self.counters.came.one();
        }
        Some(self.processes.entry(tag).or_insert_with(|| Process::new(now)))
    }

    fn forget(&mut self, tag: NodeTag, why: &'static str) {
        let Some(process) = self.processes.remove(&tag) else { return };
        tracing::info!(target: "sociable::balancer", %tag, node = process.name(), why, "a node is gone");
    }

    fn remember_farewell(&mut self, tag: NodeTag, epoch: u64, now: Instant) {
        if self.farewells.len() >= MAX_FAREWELLS
            && let Some(oldest) = self.farewells.iter().min_by_key(|(_, farewell)| farewell.seen).map(|(tag, _)| *tag)
        {
            self.farewells.remove(&oldest);
        }
        self.farewells.insert(tag, Farewell { epoch, said: now, seen: now });
    }

    /// All addresses that are to be probed.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.places.keys().copied()
    }

    /// Takes those that are to be probed at once.
    pub fn take_urgent(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.urgent)
    }

    /// The newest table.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }
}
