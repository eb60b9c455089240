//! Probes: whose address it is, and whether it is well.

use super::*;

#[test]
fn address_becomes_a_node_when_a_probe_has_its_tag() {
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
fn endpoint_is_shown_and_unused_without_a_tag() {
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
fn node_turns_unwell_and_well_after_two_probes() {
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
fn node_is_unwell_then_removed_when_nothing_is_heard() {
    let mut world = World::of_three();
    world.answers.remove(&at(1));
    world.pass(secs(9));
    assert_eq!(world.state("aaaa"), Some(Unwell));
    world.pass(secs(2));
    assert_eq!(world.states(), [("bbbb", Ready), ("cccc", Ready)]);
    assert_eq!(world.counters.nodes_expired.get(), 1);
    // The list still has the address, so it is probed and the node returns.
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.pass(secs(2));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn process_is_replaced_when_its_address_has_another_tag() {
    let mut world = World::of_three();
    world.answers.insert(at(1), Some(health("dddd", json!({}))));
    world.probe(at(1));
    assert_eq!(world.states(), [("bbbb", Ready), ("cccc", Ready), ("dddd", Ready)]);
}

#[test]
fn node_stays_when_another_takes_one_of_its_addresses() {
    let mut world = World::of_three_speakers();
    // The node has moved, and announced it.
    world.answers.insert(at(4), Some(health("aaaa", json!({}))));
    world.answers.insert(at(1), Some(health("dddd", json!({}))));
    world.speak("aaaa", json!({ "address": at(4) }));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), None, "no probe reached the node there");
    world.pass(secs(1));
    assert_eq!((world.state("aaaa"), world.state("dddd")), (Some(Ready), Some(Draining)), "no source names the other");
    // The node answers at two addresses, as one with IPv4 and IPv6 does.
    let mut world = World::of_three();
    world.answers.insert(at(4), Some(health("aaaa", json!({}))));
    world.list(0, &[1, 2, 3, 4]);
    world.pass(secs(1));
    assert_eq!(world.states().len(), 3, "no tag twice");
    assert_eq!(world.registry.table().owner(tag("aaaa")).unwrap().address, at(1), "the node keeps its address");
    world.answers.remove(&at(1));
    world.pass(secs(2));
    let node = world.registry.table().owner(tag("aaaa")).unwrap();
    assert_eq!((node.address, node.state), (at(4), Ready));
}

#[test]
fn node_is_unwell_after_connect_failures_until_probed() {
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
fn no_node_is_blamed_when_this_process_was_stopped() {
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
