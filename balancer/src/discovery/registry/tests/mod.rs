//! Each rule, with a clock that the test turns.

mod announcements;
mod farewells;
mod probes;
mod sources;
mod verdicts;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sociable_protocol::{Health, NodeTag};

use super::rules::Rules;
use super::state::{FAREWELL, MAX_FAREWELLS, Registry};
use crate::discovery::counters::DiscoveryCounters;
use crate::discovery::evidence::{Answer, Observation, ProbeError, Report, SourceId};
use crate::table::State::{self, Draining, Full, Ready, Unwell};

const STEP: Duration = Duration::from_millis(250);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tag(text: &str) -> NodeTag {
    text.parse().unwrap()
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 3000))
}

fn health(tag: &str, more: serde_json::Value) -> Health {
    let mut health = json!({ "tag": tag, "name": format!("node-{tag}") });
    health.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    serde_json::from_value(health).unwrap()
}

/// Nodes that answer, a registry that probes them once a second, and a clock.
struct World {
    registry: Registry,
    counters: Arc<DiscoveryCounters>,
    now: Instant,
    steps: u64,
    /// The answers by address. Other addresses do not answer.
    answers: BTreeMap<SocketAddr, Option<Health>>,
    /// The nodes that announce themselves every 5 s.
    speakers: BTreeMap<NodeTag, serde_json::Value>,
    lists: Vec<SourceId>,
    nats: Option<SourceId>,
}

impl World {
    fn new(lists: usize, nats: bool) -> Self {
        Self::with(Rules::default(), lists, nats)
    }

    fn with(rules: Rules, lists: usize, nats: bool) -> Self {
        let counters = Arc::new(DiscoveryCounters::default());
        let mut registry = Registry::new(rules, Arc::clone(&counters));
        let labels = (0..lists).map(|n| format!("list-{n}")).collect();
        let (lists, nats) = registry.set_sources(labels, nats.then(|| "nats".into()));
        let (answers, speakers) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { registry, counters, now: Instant::now(), steps: 0, answers, speakers, lists, nats };
        if let Some(source) = world.nats {
            world.observe(Observation::Link { source, up: true });
        }
        world
    }

    /// Three nodes in one list, which are found to be well.
    fn of_three() -> Self {
        let mut world = Self::new(1, false);
        for (host, tag) in [(1, "aaaa"), (2, "bbbb"), (3, "cccc")] {
            world.answers.insert(at(host), Some(health(tag, json!({}))));
        }
        world.list(0, &[1, 2, 3]);
        world.pass(secs(1));
        assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)]);
        world
    }

    /// Three nodes that announce themselves and answer.
    fn of_three_speakers() -> Self {
        let mut world = Self::new(0, true);
        for (host, tag) in [(1, "aaaa"), (2, "bbbb"), (3, "cccc")] {
            world.answers.insert(at(host), Some(health(tag, json!({}))));
            world.speak(tag, json!({ "address": at(host) }));
        }
        world.pass(secs(1));
        assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)]);
        world
    }

    fn observe(&mut self, observation: Observation) {
        self.registry.observe(observation, self.now);
        self.registry.evaluate(self.now);
    }

    fn list(&mut self, list: usize, hosts: &[u8]) {
        let addresses = hosts.iter().map(|host| at(*host)).collect();
        self.observe(Observation::Listed { source: self.lists[list], addresses, trouble: None });
    }

    fn link(&mut self, up: bool) {
        self.observe(Observation::Link { source: self.nats.unwrap(), up });
    }

    /// Says something once.
    fn announce(&mut self, occasion: &str, tag: &str, more: serde_json::Value) {
        let mut announcement = json!({ "occasion": occasion, "tag": tag, "epoch": 1 });
        announcement.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let announcement = serde_json::from_value(announcement).unwrap();
        self.observe(Observation::Announced { source: self.nats.unwrap(), announcement });
    }

    /// Says it now, and every 5 s from now on.
    fn speak(&mut self, text: &str, more: serde_json::Value) {
        self.announce("hello", text, more.clone());
        self.speakers.insert(tag(text), more);
    }

    fn silence(&mut self, text: &str) {
        self.speakers.remove(&tag(text));
    }

    fn probe(&mut self, address: SocketAddr) {
        // Some time after what was said before.
        self.now += Duration::from_millis(1);
        let outcome = match self.answers.get(&address) {
            Some(Some(health)) => Ok(Answer::Health(Box::new(health.clone()))),
            Some(None) => Ok(Answer::Untagged),
            None => Err(ProbeError::Timeout),
        };
        self.observe(Observation::Probed { address, begun: self.now, outcome });
    }

    fn probe_all(&mut self) {
        let mut addresses: Vec<_> = self.registry.addresses().collect();
        addresses.sort_unstable();
        addresses.into_iter().for_each(|address| self.probe(address));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.steps += 1;
            self.registry.evaluate(self.now);
            if self.steps.is_multiple_of(20) {
                for (tag, more) in self.speakers.clone() {
                    self.announce("alive", tag.as_str(), more);
                }
            }
            if self.steps.is_multiple_of(4) {
                self.probe_all();
            }
        }
    }

    fn states(&self) -> Vec<(&str, State)> {
        self.registry.table().nodes().iter().map(|node| (node.tag.as_str(), node.state)).collect()
    }

    fn state(&self, text: &str) -> Option<State> {
        self.registry.table().owner(tag(text)).map(|node| node.state)
    }

    fn why(&self, text: &str) -> String {
        self.registry.overview(self.now).nodes.into_iter().find(|node| node.tag == Some(tag(text))).unwrap().why
    }
}
