//! Farewells, true and forged ones.

use super::*;

#[test]
fn forged_farewell_removes_no_serving_node() {
    let mut world = World::of_three_speakers();
    let before = Arc::clone(world.registry.table().owner(tag("aaaa")).unwrap());
    for _ in 0..5 {
        world.announce("bye", "aaaa", json!({}));
        assert_eq!(world.state("aaaa"), Some(Ready), "its probes say that it serves");
        world.pass(secs(1));
        assert_eq!(world.state("aaaa"), Some(Ready));
    }
    assert_eq!(world.counters.farewells_refuted.get(), 5);
    assert!(Arc::ptr_eq(&before.load, &world.registry.table().owner(tag("aaaa")).unwrap().load), "the node's load is kept");
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
fn farewell_triggers_one_probe_at_once() {
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
fn node_is_removed_when_probe_after_farewell_fails() {
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
fn probe_from_before_farewell_refutes_nothing() {
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
fn removed_node_returns_when_it_serves() {
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
    // The node answers at an address of a list.
    let mut world = World::new(1, true);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.list(0, &[1]);
    world.pass(secs(1));
    gone(&mut world);
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn node_stays_removed_after_its_farewell() {
    let mut world = World::of_three_speakers();
    world.silence("aaaa");
    world.answers.insert(at(1), Some(health("aaaa", json!({ "draining": true }))));
    world.probe(at(1));
    world.announce("bye", "aaaa", json!({ "epoch": 2 }));
    assert_eq!(world.state("aaaa"), Some(Draining), "the former process was another one");
    world.announce("bye", "aaaa", json!({}));
    assert_eq!(world.state("aaaa"), None);
    // An earlier announcement comes late, and the process takes time to end.
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
    assert_eq!(world.state("aaaa"), None, "the draining node still answers");
    // Another process that drew the same tag.
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.announce("hello", "aaaa", json!({ "epoch": 2, "address": at(1) }));
    world.pass(secs(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}
