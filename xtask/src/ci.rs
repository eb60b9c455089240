//! `cargo xtask ci`: what must pass before a change is taken.

use crate::report::Report;
use crate::rust::cargo;
use crate::{book, compose, deny, features, js, package, rust, starters, tally, test, tidy, tools, tree};

/// The node and the libraries that it is made of.
const PORTABLE: [&str; 8] = [
    "sociable-protocol",
    "sociable-engine",
    "sociable-metrics",
    "sociable-nats",
    "sociable-adapter",
    "sociable",
    "sociable-gateway",
    "sociable-node",
];

/// The checks, the quickest first, then the tests. Each runs even if one before it failed: one run shows all there is to mend.
pub(crate) fn run(report: &mut Report) {
    tidy::run(report);
    tree::check(report);
    report.check("formatting", &mut cargo(&["fmt", "--all", "--check"]));
    for folder in ["tests/rust_socketio", "bench/peers/socketioxide", "examples/starter-rust"] {
        let manifest = format!("{folder}/Cargo.toml");
        report.check(&format!("formatting of {folder}"), cargo(&["fmt", "--check", "--manifest-path"]).arg(manifest));
    }
    report.check("clippy", &mut cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]));
    starters::lint(report);
    let mut doc = cargo(&["doc", "--no-deps", "--workspace", "--all-features"]);
    report.check("rustdoc", doc.env("RUSTDOCFLAGS", "-D warnings"));
    features::run(report);
    deny::run(report);
    package::check(report);
    book::build(report);
    if cfg!(target_os = "linux") {
        compose::syntax(report);
        test::run(report, &[]);
    } else {
        portable(report);
    }
}

/// The tests that need nothing of Linux: those of the libraries, real clients on a node, and the README's quick start.
fn portable(report: &mut Report) {
    let mut tests = cargo(&["test", "--all-features", "--no-fail-fast"]);
    report.tests("rust tests", tests.args(PORTABLE.iter().flat_map(|package| ["--package", package])), tally::cargo);
    starters::test(report);
    if rust::build_programs(report) {
        match tools::ensure_node() {
            Ok(()) if js::install(report) => js::interop(report),
            Ok(()) => {}
            Err(why) => report.skip("interop with socket.io-client", &why),
        }
    }
    package::run(report);
}
