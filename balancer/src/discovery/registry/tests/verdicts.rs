//! Verdicts: which nodes get new sessions.

use super::*;

#[test]
fn draining_node_keeps_sessions_until_it_is_removed() {
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
    // A probe reports the drain too.
    world.answers.insert(at(2), Some(health("bbbb", json!({ "draining": true }))));
    world.probe(at(2));
    assert_eq!(world.state("bbbb"), Some(Draining));
}

#[test]
fn cut_off_nodes_get_no_sessions_unless_all_are() {
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
    // An unreachable node gets no sessions by this rule.
    world.answers.remove(&at(1));
    world.pass(secs(2));
    assert_eq!(world.states(), [("aaaa", Unwell), ("bbbb", Ready), ("cccc", Ready)]);
}

#[test]
fn node_is_full_when_announced_or_refusing() {
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
fn node_is_full_when_its_probe_reports_it() {
    let mut world = World::of_three_speakers();
    world.registry.drain_urgent();
    world.answers.insert(at(1), Some(health("aaaa", json!({ "sessions": 3, "max_sessions": 3 }))));
    world.speak("aaaa", json!({ "address": at(1), "full": true }));
    assert_eq!(world.registry.drain_urgent(), [at(1)], "the node is probed at once");
    world.probe(at(1));
    assert_eq!(world.states(), [("aaaa", Full), ("bbbb", Ready), ("cccc", Ready)]);
    world.speak("aaaa", json!({ "address": at(1) }));
    assert_eq!(world.state("aaaa"), Some(Full), "anybody could have said it");
    world.answers.insert(at(1), Some(health("aaaa", json!({ "sessions": 2, "max_sessions": 3 }))));
    world.probe(at(1));
    assert_eq!(world.state("aaaa"), Some(Ready));
}

#[test]
fn health_is_ignored_when_fewer_than_half_are_well() {
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
    assert_eq!(world.counters.panic_mode_activations.get(), 1);
    // Draining and full nodes do not count, and get nothing by this rule.
    world.answers = rest;
    world.answers.insert(at(2), Some(health("bbbb", json!({ "draining": true, "cut_off": true }))));
    world.answers.insert(at(3), Some(health("cccc", json!({ "sessions": 1, "max_sessions": 1 }))));
    world.pass(secs(2));
    assert_eq!(world.states(), [("aaaa", Ready), ("bbbb", Draining), ("cccc", Full)]);
    // The rule can be turned off.
    let mut world = World::with(Rules { panic: false, ..Rules::default() }, 1, false);
    world.answers.insert(at(1), Some(health("aaaa", json!({}))));
    world.list(0, &[1]);
    world.pass(secs(1));
    world.answers.clear();
    world.pass(secs(2));
    assert_eq!(world.state("aaaa"), Some(Unwell));
}

#[test]
fn table_is_published_only_when_it_changed() {
    let mut world = World::of_three_speakers();
    let (generation, tables) = (world.registry.table().generation(), world.counters.table_updates.get());
    world.pass(secs(60));
    assert_eq!(world.registry.table().generation(), generation);
    world.announce("bye", "aaaa", json!({}));
    assert_eq!(world.registry.table().generation(), generation);
    world.answers.remove(&at(1));
    world.probe(at(1));
    assert_eq!(world.registry.table().generation(), generation + 1);
    assert_eq!(world.counters.table_updates.get(), tables + 1);
}

#[test]
fn overview_is_json() {
    let mut world = World::of_three_speakers();
    world.pass(secs(1));
    let json = serde_json::to_value(world.registry.overview(world.now)).unwrap();
    assert_eq!(json["nodes"][0]["tag"], "aaaa");
    assert_eq!(json["nodes"][0]["address"], "10.0.0.1:3000");
    assert_eq!(json["nodes"][0]["state"], "ready");
    assert_eq!(json["nodes"][0]["sources"], json!(["nats"]));
    assert_eq!(json["sources"][0]["names"], 3);
}
