//! Sources: what lists name, and what a reload changes.

use super::*;

#[test]
fn empty_list_changes_nothing() {
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
fn unnamed_node_keeps_sessions_until_it_is_dead() {
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
fn former_sources_count_until_all_new_ones_spoke() {
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
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "one source has not reported");
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
fn registry_bounds_its_memory() {
    let mut world = World::with(Rules { most_addresses: 2, ..Rules::default() }, 1, true);
    for host in 1..=4 {
        world.answers.insert(at(host), Some(health(["aaaa", "bbbb", "cccc", "dddd"][usize::from(host) - 1], json!({}))));
    }
    world.list(0, &[1, 2, 3]);
    world.pass(secs(2));
    assert_eq!((world.states().len(), world.registry.addresses().len()), (2, 2));
    assert_eq!(world.counters.entries_refused.get(), 1);
    world.announce("hello", "eeee", json!({ "address": at(4) }));
    assert_eq!((world.states().len(), world.registry.addresses().len()), (2, 2));
    assert_eq!(world.counters.entries_refused.get(), 2);
    for n in 0..MAX_FAREWELLS + 5 {
        let tag = format!("{n:04x}");
        world.announce("bye", &tag, json!({}));
    }
    assert_eq!(world.registry.farewells.len(), MAX_FAREWELLS);
}
