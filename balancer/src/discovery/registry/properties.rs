//! The registry's invariants under random observations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;
use sociable_protocol::NodeTag;

use super::rules::Rules;
use super::state::Registry;
use crate::discovery::evidence::{Answer, Observation, ProbeError, Report};
use crate::table::State;

const TAGS: [&str; 4] = ["aaaa", "bbbb", "cccc", "dddd"];
const MOST: usize = 4;

fn at(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 3000))
}

fn tag(which: usize) -> NodeTag {
    TAGS[which].parse().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    List(usize, Vec<u8>),
    Link(bool),
    Say(&'static str, usize, u64, Option<u8>, bool),
    Locate(usize, u8),
    Answer(u8, Option<usize>, bool),
    Fail(u8),
    ConnectFailed(usize),
    Refused(usize),
    Reload,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let host = || 1..6_u8;
    let who = || 0..TAGS.len();
    let occasion = prop_oneof![4 => Just("alive"), 2 => Just("hello"), 1 => Just("claim"), 1 => Just("bye")];
    let step = prop_oneof![
        3 => (0..2_usize, prop::collection::vec(host(), 0..5)).prop_map(|(list, hosts)| Step::List(list, hosts)),
        1 => any::<bool>().prop_map(Step::Link),
        6 => (occasion, who(), 1..3_u64, prop::option::of(host()), any::<bool>()).prop_map(|(o, w, e, h, d)| Step::Say(o, w, e, h, d)),
        1 => (who(), host()).prop_map(|(who, host)| Step::Locate(who, host)),
        8 => (host(), prop::option::weighted(0.8, who()), any::<bool>()).prop_map(|(h, w, d)| Step::Answer(h, w, d)),
        3 => host().prop_map(Step::Fail),
        2 => who().prop_map(Step::ConnectFailed),
        1 => who().prop_map(Step::Refused),
        1 => Just(Step::Reload),
        4 => (1..20_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn registry_holds_its_invariants_whatever_it_observes(steps in steps()) {
        let rules = Rules { most_addresses: MOST, ..Rules::default() };
        let mut registry = Registry::new(rules, Arc::default());
        let begin = |registry: &mut Registry| registry.set_sources(vec!["one".into(), "two".into()], Some("nats".into()));
        let mut sources = begin(&mut registry);
        let mut now = Instant::now();
        // The tags that said farewell, each with its epoch.
        let mut left: BTreeMap<NodeTag, u64> = BTreeMap::new();
        let mut generation = 0;
        for step in steps {
            let before = Arc::clone(registry.table());
            let mut changes_nothing = false;
            match &step {
                Step::List(list, hosts) => {
                    changes_nothing = hosts.is_empty();
                    let addresses = hosts.iter().map(|host| at(*host)).collect();
                    registry.observe(Observation::Listed { source: sources.0[*list], addresses, trouble: None }, now);
                }
                Step::Link(up) => registry.observe(Observation::Link { source: sources.1.unwrap(), up: *up }, now),
                Step::Say(occasion, who, epoch, host, draining) => {
                    match *occasion {
                        "bye" if registry.processes.get(&tag(*who)).is_none_or(|process| process.is_of(*epoch) && !process.is_proven()) => {
                            left.insert(tag(*who), *epoch);
                        }
                        "hello" | "alive" if left.get(&tag(*who)).is_some_and(|left| left != epoch || *occasion == "hello") => {
                            left.remove(&tag(*who));
                        }
                        _ => {}
                    }
                    let announcement = serde_json::from_value(json!({
                        "occasion": occasion, "tag": TAGS[*who], "epoch": epoch, "draining": draining, "address": host.map(at),
                    })).unwrap();
                    registry.observe(Observation::Announced { source: sources.1.unwrap(), announcement }, now);
                }
                Step::Locate(who, host) => {
                    registry.observe(Observation::Resolved { tag: tag(*who), announced: at(*host).to_string(), addresses: vec![at(*host)] }, now);
                }
                Step::Answer(host, who, draining) => {
                    now += Duration::from_millis(1);
                    if let Some(who) = who.filter(|_| !draining) {
                        left.remove(&tag(who));
                    }
                    let health = |who: &usize| serde_json::from_value(json!({ "tag": TAGS[*who], "draining": draining })).unwrap();
                    let answer = who.as_ref().map_or(Answer::Untagged, |who| Answer::Health(Box::new(health(who))));
                    registry.observe(Observation::Probed { address: at(*host), begun: now, outcome: Ok(answer) }, now);
                }
                Step::Fail(host) => {
                    now += Duration::from_millis(1);
                    registry.observe(Observation::Probed { address: at(*host), begun: now, outcome: Err(ProbeError::Timeout) }, now);
                }
                Step::ConnectFailed(who) => registry.observe(Observation::Reported(Report::ConnectFailed(tag(*who))), now),
                Step::Refused(who) => registry.observe(Observation::Reported(Report::Refused(tag(*who))), now),
                Step::Reload => sources = begin(&mut registry),
                Step::Wait(quarters) => {
                    for _ in 0..*quarters {
                        now += Duration::from_millis(250);
                        registry.evaluate(now);
                    }
                }
            }
            let made = registry.evaluate(now);
            let table = Arc::clone(registry.table());
            if changes_nothing {
                prop_assert!(Arc::ptr_eq(&before, &table), "an empty list changed something");
            }
            prop_assert!(made.is_none_or(|made| Arc::ptr_eq(&made, &table)));
            prop_assert!(table.generation() >= generation);
            generation = table.generation();
            let tags: BTreeSet<_> = table.nodes().iter().map(|node| node.tag).collect();
            prop_assert_eq!(tags.len(), table.nodes().len(), "a tag twice");
            prop_assert!(tags.iter().all(|tag| !left.contains_key(tag)), "{:?} of {:?} have said goodbye", left, tags);
            prop_assert!(registry.endpoints.len() <= MOST && registry.processes.len() <= MOST);
            for node in table.ready() {
                let process = &registry.processes[&node.tag];
                prop_assert!(process.was_reached && !process.draining, "{:?}", node);
            }
            // The same conclusions from the same facts.
            prop_assert!(registry.evaluate(now).is_none());
            // Of two at one address at most one is well there by what it answered.
            let mut taken = BTreeSet::new();
            let answering = table.nodes().iter().filter(|node| registry.endpoints.get(&node.address).is_some_and(|endpoint| endpoint.tag() == Some(node.tag)));
            for node in answering {
                prop_assert!(taken.insert(node.address));
            }
            prop_assert!(table.nodes().iter().filter(|node| node.state == State::Ready).count() == table.ready().len());
        }
    }
}
