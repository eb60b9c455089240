//! What cargo builds and tests.

use std::env;
use std::process::Command;

use crate::report::Report;
use crate::{tally, tools, workspace};

/// The cargo that runs us, at the top of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(workspace::root());
    command
}

/// All Rust tests, doc tests included. One failing crate does not hide what the others say.
pub(crate) fn test(report: &mut Report) {
    let mut tests = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    match tools::ensure_nats() {
        Ok(nats) => tests.env("NATS_SERVER", nats),
        Err(why) => {
            eprintln!("there is no NATS server, and the tests of clusters will fail: {why}");
            &mut tests
        }
    };
    report.tests("rust tests", &mut tests, tally::cargo);
}

/// The binaries and examples that the JavaScript suites drive.
pub(crate) fn build_programs(report: &mut Report) -> bool {
    let packages = ["--package", "sociable", "--package", "sociable-protocol"];
    report.check("build of binaries and examples", cargo(&["build", "--bins", "--examples"]).args(packages))
}
