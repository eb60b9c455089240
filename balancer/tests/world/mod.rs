//! Nodes and name servers for tests: real sockets, and just as much behind them as is asked for.
#![allow(dead_code, unused_imports, reason = "no test needs all of it")]

mod front;
mod names;
mod node;
mod script;
mod tls;

use std::time::{Duration, Instant};

pub(crate) use front::{KEY, World, connect, count, listener, narrow_listener, until, until_end, websocket};
pub(crate) use names::Nameserver;
pub(crate) use node::{Node, health};
pub(crate) use script::{Script, pattern};
pub(crate) use tls::Certificate;

/// The longest wait. A failing test reports after this time.
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
