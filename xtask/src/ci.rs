//! `cargo xtask ci`: what must pass before a change is taken.

use std::fs::File;
use std::io;
use std::process::{Child, Command, Stdio};

use crate::report::Report;
use crate::rust::cargo;
use crate::{book, compose, deny, features, js, package, rust, starters, tally, test, tidy, tools, tree, workspace};

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

/// The checks beside the tests. Each runs even if one before it failed: one run shows all there is to mend.
pub(crate) fn run(report: &mut Report) {
    // Most tests wait more than they compute, so the compiler gets the rest of the processors.
    let checks = start_checks();
    if cfg!(target_os = "linux") {
        compose::syntax(report);
        test::run(report, &[]);
    } else {
        portable(report);
    }
    finish_checks(report, checks);
}

/// Starts the checks with what the tests leave of the processors. Their output is kept, and their folder is another, so that neither waits
/// for the other's cargo.
fn start_checks() -> io::Result<Child> {
    let folder = workspace::target().join("checks");
    std::fs::create_dir_all(&folder)?;
    let output = File::create(folder.join("output"))?;
    let mut checks = Command::new("nice");
    checks.args(["-n", "19"]).arg(std::env::current_exe()?).arg("check").env("CARGO_TARGET_DIR", &folder);
    checks.stdout(output.try_clone()?).stderr(output).stdin(Stdio::null()).spawn()
}

/// Waits for the checks, and shows their output.
fn finish_checks(report: &mut Report, checks: io::Result<Child>) {
    let ended = checks.and_then(|mut checks| checks.wait());
    let output = workspace::target().join("checks/output");
    let shown = "cat \"$1\"; exit \"$2\"";
    let mut show = Command::new("sh");
    let code = ended.ok().and_then(|status| status.code()).unwrap_or(1).to_string();
    report.tests("checks", show.args(["-c", shown, "checks"]).arg(output).arg(code), tally::acceptance);
}

/// The checks, the quickest first.
pub(crate) fn check(report: &mut Report) {
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
