//! Announcements on NATS, true and forged ones.

use super::*;

#[test]
fn announced_node_counts_when_probe_confirms_its_tag() {
    let mut world = World::new(0, true);
    world.announce("claim", "aaaa", json!({ "address": at(1) }));
    assert_eq!(world.states(), [], "no probe has confirmed the node");
    world.announce("hello", "aaaa", json!({ "address": at(1), "sessions": 3, "name": "first" }));
    assert_eq!(world.states(), [], "anybody could have said it");
    assert_eq!(world.why("aaaa"), "not probed yet");
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
    assert_eq!(world.registry.drain_urgent(), [], "the address is known");
}

#[test]
fn announced_address_is_unused_without_its_tag() {
    let mut world = World::new(0, true);
    world.answers.insert(at(1), None);
    world.speak("aaaa", json!({ "address": at(1) }));
    world.pass(secs(30));
    assert_eq!(world.states(), []);
    assert!(world.why("aaaa").contains("without its tag"), "{}", world.why("aaaa"));
}

#[test]
fn announced_name_counts_when_it_is_resolved() {
    let mut world = World::new(0, true);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.speak("aaaa", json!({ "address": "first:3000" }));
    assert_eq!(world.states(), [], "the name is not resolved");
    assert_eq!(world.why("aaaa"), "no usable address: set NatsOptions::address or --advertise");
    let located = |announced: &str, addresses| Observation::Resolved { tag: tag("aaaa"), announced: announced.into(), addresses };
    world.observe(located("before:3000", vec![at(7)]));
    assert_eq!(world.states(), [], "the name is another's");
    world.observe(located("first:3000", vec![at(1)]));
    assert_eq!(world.registry.drain_urgent(), [at(1)]);
    world.pass(secs(6));
    world.observe(located("first:3000", vec![]));
    assert_eq!(world.states(), [("aaaa", Ready)], "also when it has spoken again, and can't be looked up");
}

#[test]
fn process_is_replaced_when_its_epoch_changes() {
    let mut world = World::of_three_speakers();
    let before = Arc::clone(world.registry.table().owner(tag("aaaa")).unwrap());
    world.announce("hello", "aaaa", json!({ "epoch": 2, "address": at(1) }));
    let after = Arc::clone(world.registry.table().owner(tag("aaaa")).unwrap());
    assert!(Arc::ptr_eq(&before.load, &after.load), "its probes say that it serves");
    // The node does not answer any more, so the tag may be another's.
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
fn silent_node_gets_no_sessions_when_others_are_heard() {
    let mut world = World::of_three_speakers();
    world.silence("aaaa");
    world.pass(secs(16));
    assert_eq!(world.states(), [("aaaa", Unwell), ("bbbb", Ready), ("cccc", Ready)]);
    assert!(world.why("aaaa").contains("not heard"));
    world.pass(secs(60));
    assert_eq!(world.state("aaaa"), Some(Unwell), "the node answers, so its sessions are routed there");
    world.speak("aaaa", json!({ "address": at(1) }));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn silence_is_ignored_when_nats_is_down_or_mute() {
    let mut world = World::of_three_speakers();
    world.speakers.clear();
    world.pass(secs(60));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "no node is heard");
    assert_eq!(world.why("aaaa"), "healthy");
    let mut world = World::of_three_speakers();
    world.link(false);
    world.speakers.clear();
    world.pass(secs(60));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Ready), ("cccc", Ready)], "NATS is down");
    // NATS is up again, and all nodes have time to announce themselves.
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
fn forged_announcement_removes_no_serving_node() {
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
fn announced_node_needs_no_list() {
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
