//! Nodes and name servers for tests: real sockets, and just as much behind them as is asked for.
#![allow(dead_code, unused_imports, reason = "no test needs all of it")]

mod names;
mod node;
mod script;

use std::time::{Duration, Instant};

pub(crate) use names::Nameserver;
pub(crate) use node::{Node, health};
pub(crate) use script::Script;

/// How long any one thing may take. It only decides how soon a failure is told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
