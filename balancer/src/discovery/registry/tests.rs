//! Each rule, with a clock that the test turns.

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
    /// What is answered where; elsewhere nobody answers.
    answers: BTreeMap<SocketAddr, Option<Health>>,
    /// Who announces itself every 5 s.
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

#[test]
fn an_address_becomes_a_node_when_a_probe_tells_its_tag() {
    let mut world = World::new(1, false);
    world.list(0, &[1]);
    assert_eq!(world.states(), []);
    world.answers.insert(
        at(1),
        Some(health("aaaa", json!({ "sessions": 7, "max_sessions": 9, "max_payload": 5, "ping_interval": 25000, "ping_timeout": 20000 }))),
    );
    world.probe(at(1));
    let node = world.registry.table().owner(tag("aaaa")).unwrap();
    assert_eq!((node.state, node.address, &*node.name, node.load.sessions()), (Ready, at(1), "node-aaaa", 7));
    assert_eq!((node.limits.max_sessions, node.limits.max_payload, node.limits.max_silence), (Some(9), Some(5), Some(45_000)));
}

#[test]
fn who_answers_without_a_tag_is_shown_and_gets_nothing() {
    let mut world = World::new(1, false);
    world.answers.insert(at(1), None);
    world.list(0, &[1]);
    world.pass(secs(3));
    assert_eq!(world.states(), []);
    let overview = world.registry.overview(world.now);
    assert_eq!((overview.nodes.len(), overview.nodes[0].tag), (1, None));
    assert!(overview.nodes[0].why.contains("tag"), "{}", overview.nodes[0].why);
}

#[test]
fn two_bad_probes_make_a_node_unwell_and_two_good_ones_well_again() {
    let mut world = World::of_three();
    let well = world.answers.remove(&at(1)).unwrap();
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Unwell));
    assert!(world.why("aaaa").contains("no answer in time"), "{}", world.why("aaaa"));
    world.answers.insert(at(1), well);
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Unwell));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn a_node_of_which_nothing_is_heard_is_unwell_and_then_gone() {
    let mut world = World::of_three();
    world.answers.remove(&at(1));
    world.pass(secs(9));
    assert_eq!(world.state("aaaa"), Some(Unwell));
    world.pass(secs(2));
    assert_eq!(world.states(), [("bbbb", Ready), ("cccc", Ready)]);
    assert_eq!(world.counters.lost.get(), 1);
    // The list still names it: it is probed, and comes back.
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.pass(secs(2));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn another_tag_at_an_address_is_another_process() {
    let mut world = World::of_three();
    world.answers.insert(at(1), Some(health("dddd", json!({}))));
    world.probe(at(1));
    assert_eq!(world.states(), [("bbbb", Ready), ("cccc", Ready), ("dddd", Ready)]);
}

#[test]
fn another_tag_at_an_address_takes_nobody_out_who_is_elsewhere() {
    let mut world = World::of_three_speakers();
    // It has moved, and said so.
    world.answers.insert(at(4), Some(health("aaaa", json!({}))));
    world.answers.insert(at(1), Some(health("dddd", json!({}))));
    world.speak("aaaa", json!({ "address": at(4) }));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), None, "nobody has reached it there");
    world.pass(secs(1));
    assert_eq!((world.state("aaaa"), world.state("dddd")), (Some(Ready), Some(Draining)), "no source names the other");
    // It answers at two addresses, as one with IPv4 and IPv6 does.
    let mut world = World::of_three();
    world.answers.insert(at(4), Some(health("aaaa", json!({}))));
    world.list(0, &[1, 2, 3, 4]);
    world.pass(secs(1));
    assert_eq!(world.states().len(), 3, "no tag twice");
    assert_eq!(world.registry.table().owner(tag("aaaa")).unwrap().address, at(1), "it stays where it was");
    world.answers.remove(&at(1));
    world.pass(secs(2));
    let node = world.registry.table().owner(tag("aaaa")).unwrap();
    assert_eq!((node.address, node.state), (at(4), Ready));
}

#[test]
fn an_announced_node_counts_when_a_probe_has_told_its_tag() {
    let mut world = World::new(0, true);
    world.announce("claim", "aaaa", json!({ "address": at(1) }));
    assert_eq!(world.states(), [], "it only wants to be one");
    world.announce("hello", "aaaa", json!({ "address": at(1), "sessions": 3, "name": "first" }));
    assert_eq!(world.states(), [], "anybody could have said it");
    assert_eq!(world.why("aaaa"), "it was not probed yet");
    assert_eq!(world.registry.drain_urgent(), [at(1)]);
    assert_eq!(world.registry.addresses().collect::<Vec<_>>(), [at(1)]);
    world.probe(at(1));
    assert_eq!(world.states(), []);
    world.answers.insert(at(1), Some(health("bbbb", json!({}))));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), None, "another answers there");
    world.answers.insert(at(1), Some(health("aaaa", json!({ "sessions": 4 }))));
    world.probe(at(1));
    let node = world.registry.table().owner(tag("aaaa")).unwrap();
    assert_eq!((node.state, node.load.sessions()), (Ready, 4));
    world.announce("alive", "aaaa", json!({ "address": at(1), "sessions": 5 }));
    assert_eq!(world.registry.table().owner(tag("aaaa")).unwrap().load.sessions(), 4, "its probes tell how many it has");
    assert_eq!(world.registry.drain_urgent(), [], "it is known there");
}

#[test]
fn an_announced_address_that_tells_no_tag_gets_nothing() {
    let mut world = World::new(0, true);
    world.answers.insert(at(1), None);
    world.speak("aaaa", json!({ "address": at(1) }));
    world.pass(secs(30));
    assert_eq!(world.states(), []);
    assert!(world.why("aaaa").contains("does not tell its tag"), "{}", world.why("aaaa"));
}

#[test]
fn a_forged_goodbye_takes_nobody_out_who_serves() {
    let mut world = World::of_three_speakers();
    let before = Arc::clone(world.registry.table().owner(tag("aaaa")).unwrap());
    for _ in 0..5 {
        world.announce("bye", "aaaa", json!({}));
        assert_eq!(world.state("aaaa"), Some(Ready), "its probes say that it serves");
        world.pass(secs(1));
        assert_eq!(world.state("aaaa"), Some(Ready));
    }
    assert_eq!(world.counters.farewells_refuted.get(), 5);
    assert!(Arc::ptr_eq(&before.load, &world.registry.table().owner(tag("aaaa")).unwrap().load), "what it has is known");
    // Nor with another epoch, nor in the name of one that is announced there too.
    world.announce("hello", "aaaa", json!({ "epoch": 2, "address": at(9) }));
    world.announce("bye", "aaaa", json!({ "epoch": 2 }));
    let node = world.registry.table().owner(tag("aaaa")).unwrap();
    assert_eq!((node.address, node.state), (at(1), Ready));
    world.pass(secs(60));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)]);
    assert!(Arc::ptr_eq(&before.load, &world.registry.table().owner(tag("aaaa")).unwrap().load));
}

#[test]
fn a_goodbye_has_its_node_probed_at_once_and_once() {
    let mut world = World::of_three_speakers();
    world.registry.drain_urgent();
    for _ in 0..1000 {
        world.announce("bye", "aaaa", json!({}));
    }
    assert_eq!(world.registry.drain_urgent(), [at(1)]);
    // As one that drains does.
    world.announce("alive", "bbbb", json!({ "address": at(2), "draining": true }));
    assert_eq!((world.registry.drain_urgent(), world.state("bbbb")), (vec![at(2)], Some(Ready)));
    world.answers.insert(at(2), Some(health("bbbb", json!({ "draining": true }))));
    world.probe(at(2));
    assert_eq!(world.state("bbbb"), Some(Draining));
}

#[test]
fn a_node_that_was_said_to_go_is_gone_when_a_probe_fails() {
    let mut world = World::of_three_speakers();
    world.silence("aaaa");
    world.announce("bye", "aaaa", json!({}));
    world.answers.remove(&at(1));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), None, "one probe is enough");
    // Or when it says that it drains.
    let mut world = World::of_three_speakers();
    world.announce("bye", "aaaa", json!({}));
    world.answers.insert(at(1), Some(health("aaaa", json!({ "draining": true }))));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), None);
    assert_eq!(world.counters.farewells_refuted.get(), 0);
}

#[test]
fn a_probe_from_before_a_goodbye_refutes_nothing() {
    let mut world = World::of_three_speakers();
    let begun = world.now;
    world.now += STEP;
    world.answers.insert(at(1), Some(health("aaaa", json!({ "draining": true }))));
    world.probe(at(1));
    world.announce("bye", "aaaa", json!({}));
    assert_eq!(world.state("aaaa"), None);
    let outcome = Ok(Answer::Health(Box::new(health("aaaa", json!({})))));
    world.observe(Observation::Probed { address: at(1), begun, outcome });
    assert_eq!(world.state("aaaa"), None);
}

#[test]
fn who_was_taken_for_gone_comes_back_when_it_serves() {
    let mut world = World::of_three_speakers();
    let gone = |world: &mut World| {
        world.answers.insert(at(1), Some(health("aaaa", json!({ "draining": true }))));
        world.probe(at(1));
        world.announce("bye", "aaaa", json!({}));
        assert_eq!(world.state("aaaa"), None);
        world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    };
    gone(&mut world);
    world.announce("hello", "aaaa", json!({ "address": at(1) }));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
    // It answers at an address that a list names.
    let mut world = World::new(1, true);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.list(0, &[1]);
    world.pass(secs(1));
    gone(&mut world);
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn a_name_is_known_when_it_was_looked_up() {
    let mut world = World::new(0, true);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.speak("aaaa", json!({ "address": "first:3000" }));
    assert_eq!(world.states(), [], "nobody can be sent there");
    assert_eq!(world.why("aaaa"), "it tells no address that can be used");
    let located = |announced: &str, addresses| Observation::Resolved { tag: tag("aaaa"), announced: announced.into(), addresses };
    world.observe(located("before:3000", vec![at(7)]));
    assert_eq!(world.states(), [], "that is not its name");
    world.observe(located("first:3000", vec![at(1)]));
    assert_eq!(world.registry.drain_urgent(), [at(1)]);
    world.pass(secs(6));
    world.observe(located("first:3000", vec![]));
    assert_eq!(world.states(), [("aaaa", Ready)], "also when it has spoken again, and can't be looked up");
}

#[test]
fn who_says_goodbye_is_gone_and_stays_so() {
    let mut world = World::of_three_speakers();
    world.silence("aaaa");
    world.answers.insert(at(1), Some(health("aaaa", json!({ "draining": true }))));
    world.probe(at(1));
    world.announce("bye", "aaaa", json!({ "epoch": 2 }));
    assert_eq!(world.state("aaaa"), Some(Draining), "that was another process");
    world.announce("bye", "aaaa", json!({}));
    assert_eq!(world.state("aaaa"), None);
    // What was said before comes late, and its process takes its time to end.
    world.announce("alive", "aaaa", json!({ "address": at(1) }));
    world.pass(secs(1));
    assert_eq!(world.state("aaaa"), None);
    // Also one that a list names.
    let mut world = World::new(1, true);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.list(0, &[1]);
    world.pass(secs(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
    world.answers.insert(at(1), Some(health("aaaa", json!({ "draining": true }))));
    world.announce("bye", "aaaa", json!({}));
    world.pass(2 * FAREWELL);
    assert_eq!(world.state("aaaa"), None, "it answers all the time");
    // Another process that drew the same tag.
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.announce("hello", "aaaa", json!({ "epoch": 2, "address": at(1) }));
    world.pass(secs(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn another_epoch_is_another_process() {
    let mut world = World::of_three_speakers();
    let before = Arc::clone(world.registry.table().owner(tag("aaaa")).unwrap());
    world.announce("hello", "aaaa", json!({ "epoch": 2, "address": at(1) }));
    let after = Arc::clone(world.registry.table().owner(tag("aaaa")).unwrap());
    assert!(Arc::ptr_eq(&before.load, &after.load), "its probes say that it serves");
    // It does not answer any more: the tag may be that of another.
    let answer = world.answers.remove(&at(1)).unwrap();
    world.probe(at(1));
    world.probe(at(1));
    world.answers.insert(at(1), answer);
    world.announce("hello", "aaaa", json!({ "epoch": 3, "address": at(1) }));
    world.pass(secs(3));
    let after = world.registry.table().owner(tag("aaaa")).unwrap();
    assert!(!Arc::ptr_eq(&before.load, &after.load));
    assert_eq!(after.state, Ready);
}

#[test]
fn a_draining_node_keeps_what_it_has_until_it_is_gone() {
    let mut world = World::of_three_speakers();
    world.answers.insert(at(1), Some(health("aaaa", json!({ "draining": true }))));
    world.speak("aaaa", json!({ "address": at(1), "draining": true }));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Draining));
    world.pass(secs(30));
    assert_eq!(world.state("aaaa"), Some(Draining));
    // Killed: who can't be reached goes as everybody does.
    world.answers.remove(&at(1));
    world.silence("aaaa");
    world.pass(secs(16));
    assert_eq!(world.state("aaaa"), None);
    // A probe tells it too.
    world.answers.insert(at(2), Some(health("bbbb", json!({ "draining": true }))));
    world.probe(at(2));
    assert_eq!(world.state("bbbb"), Some(Draining));
}

#[test]
fn a_silent_node_gets_no_sessions_if_others_are_heard() {
    let mut world = World::of_three_speakers();
    world.silence("aaaa");
    world.pass(secs(16));
    assert_eq!(world.states(), [("aaaa", Unwell), ("bbbb", Ready), ("cccc", Ready)]);
    assert!(world.why("aaaa").contains("not heard"));
    world.pass(secs(60));
    assert_eq!(world.state("aaaa"), Some(Unwell), "it answers, so that its sessions are sent there");
    world.speak("aaaa", json!({ "address": at(1) }));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn silence_says_nothing_if_nats_is_down_or_nobody_is_heard() {
    let mut world = World::of_three_speakers();
    world.speakers.clear();
    world.pass(secs(60));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "nobody is heard");
    assert_eq!(world.why("aaaa"), "it is well");
    let mut world = World::of_three_speakers();
    world.link(false);
    world.speakers.clear();
    world.pass(secs(60));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "NATS is down");
    // It is up again: all have time to speak.
    world.link(true);
    world.speak("aaaa", json!({ "address": at(1) }));
    assert_eq!(world.state("bbbb"), Some(Ready));
    world.pass(secs(12));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Unwell), ("cccc", Unwell)]);
    // While it is down, probes decide.
    world.link(false);
    assert_eq!(world.state("bbbb"), Some(Ready));
    world.answers.remove(&at(2));
    world.pass(secs(2));
    assert_eq!(world.state("bbbb"), Some(Unwell));
}

#[test]
fn nodes_that_are_cut_off_get_no_sessions_unless_all_are() {
    let mut world = World::of_three();
    for (host, tag) in [(1, "aaaa"), (2, "bbbb")] {
        world.answers.insert(at(host), Some(health(tag, json!({ "cut_off": true }))));
    }
    world.probe_all();
    assert_eq!(world.states(), [("aaaa", Unwell), ("bbbb", Unwell), ("cccc", Ready)]);
    assert!(world.why("aaaa").contains("other nodes"));
    world.answers.insert(at(3), Some(health("cccc", json!({ "cut_off": true }))));
    world.probe_all();
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "NATS is down for all");
    assert!(world.registry.overview(world.now).all_cut_off);
    // One that can't be reached has nothing by that.
    world.answers.remove(&at(1));
    world.pass(secs(2));
    assert_eq!(world.states(), [("aaaa", Unwell), ("bbbb", Ready), ("cccc", Ready)]);
}

#[test]
fn failures_to_connect_make_a_node_unwell_until_a_probe_reaches_it() {
    let mut world = World::of_three();
    let failed = || Observation::Reported(Report::ConnectFailed(tag("aaaa")));
    world.observe(failed());
    world.observe(failed());
    assert_eq!(world.state("aaaa"), Some(Ready));
    world.observe(failed());
    assert_eq!(world.state("aaaa"), Some(Unwell));
    world.pass(secs(1));
    assert_eq!(world.state("aaaa"), Some(Ready), "a probe has reached it");
    // Spread over a longer time they mean nothing.
    for _ in 0..6 {
        world.observe(failed());
        world.pass(secs(3));
        assert_eq!(world.state("aaaa"), Some(Ready));
    }
    world.observe(Observation::Reported(Report::ConnectFailed(tag("none"))));
}

#[test]
fn full_is_who_says_so_and_who_refuses() {
    let mut world = World::of_three();
    world.answers.insert(at(1), Some(health("aaaa", json!({ "sessions": 9, "max_sessions": 10 }))));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
    world.registry.table().owner(tag("aaaa")).unwrap().load.count_placement();
    world.pass(STEP);
    assert_eq!(world.state("aaaa"), Some(Full), "this replica has placed one more");
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
    world.observe(Observation::Reported(Report::Refused(tag("aaaa"))));
    assert_eq!(world.state("aaaa"), Some(Full));
    world.pass(secs(4));
    assert_eq!(world.state("aaaa"), Some(Full));
    world.pass(secs(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn node_is_full_when_its_probe_says_so() {
    let mut world = World::of_three_speakers();
    world.registry.drain_urgent();
    world.answers.insert(at(1), Some(health("aaaa", json!({ "sessions": 3, "max_sessions": 3 }))));
    world.speak("aaaa", json!({ "address": at(1), "full": true }));
    assert_eq!(world.registry.drain_urgent(), [at(1)], "it is asked at once");
    world.probe(at(1));
    assert_eq!(world.states(), [("aaaa", Full), ("bbbb", Ready), ("cccc", Ready)]);
    world.speak("aaaa", json!({ "address": at(1) }));
    assert_eq!(world.state("aaaa"), Some(Full), "anybody could have said it");
    world.answers.insert(at(1), Some(health("aaaa", json!({ "sessions": 2, "max_sessions": 3 }))));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn forged_announcements_take_out_nobody_who_serves() {
    for forged in [json!({ "full": true }), json!({ "draining": true }), json!({ "sessions": u64::MAX }), json!({ "sessions": 1_000_000 })]
    {
        let mut world = World::of_three_speakers();
        for n in 0..100 {
            for text in ["aaaa", "bbbb", "cccc"] {
                world.announce(if n % 2 == 0 { "alive" } else { "hello" }, text, forged.clone());
            }
            assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "{forged}");
            world.pass(Duration::from_millis(100));
        }
    }
}

#[test]
fn lists_that_are_empty_change_nothing() {
    let mut world = World::of_three();
    let generation = world.registry.table().generation();
    world.list(0, &[]);
    world.observe(Observation::Listed { source: world.lists[0], addresses: vec![], trouble: Some("NXDOMAIN".into()) });
    world.pass(secs(30));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)]);
    assert_eq!(world.registry.table().generation(), generation);
    assert_eq!(world.counters.source_failures.get(), 2);
    let trouble = world.registry.overview(world.now).sources[0].trouble.clone();
    assert_eq!(trouble.as_deref(), Some("NXDOMAIN"));
}

#[test]
fn who_is_named_no_more_keeps_its_sessions_until_it_is_dead() {
    let mut world = World::of_three();
    world.list(0, &[2, 3]);
    assert_eq!(world.state("aaaa"), Some(Draining));
    assert!(world.why("aaaa").contains("no source"));
    world.pass(secs(60));
    assert_eq!(world.state("aaaa"), Some(Draining));
    world.list(0, &[1, 2, 3]);
    assert_eq!(world.state("aaaa"), Some(Ready));
    world.list(0, &[2, 3]);
    world.answers.remove(&at(1));
    world.pass(secs(11));
    assert_eq!(world.states(), [("bbbb", Ready), ("cccc", Ready)]);
    assert_eq!(world.registry.addresses().len(), 2, "its address is not probed any more");
}

#[test]
fn who_is_announced_is_named() {
    let mut world = World::new(1, true);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.answers.insert(at(2), Some(health("bbbb", json!({}))));
    world.speak("aaaa", json!({ "address": at(1) }));
    world.list(0, &[1, 2]);
    world.pass(secs(1));
    world.list(0, &[2]);
    world.pass(secs(1));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready)]);
}

#[test]
fn if_fewer_than_half_are_well_health_is_ignored() {
    let mut world = World::of_three();
    world.answers.remove(&at(1));
    world.pass(secs(2));
    assert_eq!(world.states(), [("aaaa", Unwell), ("bbbb", Ready), ("cccc", Ready)]);
    let rest = world.answers.clone();
    world.answers.clear();
    world.answers.insert(at(2), rest[&at(2)].clone());
    world.pass(secs(2));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)]);
    assert!(world.registry.overview(world.now).panicking);
    assert!(world.why("aaaa").contains("ignored"));
    assert_eq!(world.counters.panics.get(), 1);
    // Who is leaving or full gets nothing by this, and does not count.
    world.answers = rest;
    world.answers.insert(at(2), Some(health("bbbb", json!({ "draining": true, "cut_off": true }))));
    world.answers.insert(at(3), Some(health("cccc", json!({ "sessions": 1, "max_sessions": 1 }))));
    world.pass(secs(2));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Draining), ("cccc", Full)]);
    // It can be turned off.
    let mut world = World::with(Rules { panic: false, ..Rules::default() }, 1, false);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.list(0, &[1]);
    world.pass(secs(1));
    world.answers.clear();
    world.pass(secs(2));
    assert_eq!(world.state("aaaa"), Some(Unwell));
}

#[test]
fn a_process_that_was_stopped_blames_nobody() {
    let mut world = World::of_three_speakers();
    world.answers.remove(&at(1));
    world.pass(secs(4));
    world.now += secs(3600);
    world.pass(STEP);
    assert_eq!(world.states(), [("aaaa", Unwell), ("bbbb", Ready), ("cccc", Ready)]);
    world.silence("aaaa");
    world.pass(secs(16));
    assert_eq!(world.state("aaaa"), None, "the clock goes on");
}

#[test]
fn what_was_named_before_a_reload_stays_until_all_have_spoken() {
    let mut world = World::of_three();
    let before = world.lists[0];
    let (lists, nats) = world.registry.set_sources(vec!["other".into(), "another".into()], Some("nats".into()));
    world.observe(Observation::Listed { source: before, addresses: vec![at(9)], trouble: None });
    (world.lists, world.nats) = (lists, nats);
    world.link(true);
    world.pass(secs(1));
    world.list(0, &[2]);
    world.list(1, &[]);
    world.speak("cccc", json!({ "address": at(3) }));
    world.pass(secs(20));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "one has not spoken");
    world.list(1, &[2]);
    assert_eq!(world.states(), [("aaaa", Draining), ("bbbb", Ready), ("cccc", Ready)]);
    // And away from NATS again.
    (world.lists, world.nats) = world.registry.set_sources(vec!["last".into()], None);
    world.speakers.clear();
    world.pass(secs(20));
    assert_eq!(world.state("cccc"), Some(Ready));
    world.list(0, &[2]);
    assert_eq!(world.states(), [("aaaa", Draining), ("bbbb", Ready), ("cccc", Draining)]);
}

#[test]
fn there_is_a_bound_for_all_that_is_kept() {
    let mut world = World::with(Rules { most_addresses: 2, ..Rules::default() }, 1, true);
    for host in 1..=4 {
        world.answers.insert(at(host), Some(health(["aaaa", "bbbb", "cccc", "dddd"][usize::from(host) - 1], json!({}))));
    }
    world.list(0, &[1, 2, 3]);
    world.pass(secs(2));
    assert_eq!((world.states().len(), world.registry.addresses().len()), (2, 2));
    assert_eq!(world.counters.refused.get(), 1);
    world.announce("hello", "eeee", json!({ "address": at(4) }));
    assert_eq!((world.states().len(), world.registry.addresses().len()), (2, 2));
    assert_eq!(world.counters.refused.get(), 2);
    for n in 0..MAX_FAREWELLS + 5 {
        let tag = format!("{n:04x}");
        world.announce("bye", &tag, json!({}));
    }
    assert_eq!(world.registry.farewells.len(), MAX_FAREWELLS);
}

#[test]
fn a_table_is_made_only_if_something_has_changed() {
    let mut world = World::of_three_speakers();
    let (generation, tables) = (world.registry.table().generation(), world.counters.tables.get());
    world.pass(secs(60));
    assert_eq!(world.registry.table().generation(), generation);
    world.announce("bye", "aaaa", json!({}));
    assert_eq!(world.registry.table().generation(), generation);
    world.answers.remove(&at(1));
    world.probe(at(1));
    assert_eq!(world.registry.table().generation(), generation + 1);
    assert_eq!(world.counters.tables.get(), tables + 1);
}

#[test]
fn the_overview_is_json() {
    let mut world = World::of_three_speakers();
    world.pass(secs(1));
    let json = serde_json::to_value(world.registry.overview(world.now)).unwrap();
    assert_eq!(json["nodes"][0]["tag"], "aaaa");
    assert_eq!(json["nodes"][0]["address"], "10.0.0.1:3000");
    assert_eq!(json["nodes"][0]["state"], "ready");
    assert_eq!(json["nodes"][0]["sources"], json!(["nats"]));
    assert_eq!(json["sources"][0]["names"], 3);
}
