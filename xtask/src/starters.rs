//! The starters: projects of their own in `examples/`, which people copy.

use std::process::Command;

use crate::report::Report;
use crate::rust::cargo;
use crate::{tally, workspace};

/// The manifest of the starter in Rust.
pub(crate) const RUST: &str = "examples/starter-rust/Cargo.toml";

/// Lints the starter in Rust. The output folder is that of the workspace, which has many of the dependencies already.
pub(crate) fn lint(report: &mut Report) {
    let mut clippy = cargo(&["clippy", "--locked", "--all-targets", "--all-features", "--manifest-path", RUST]);
    report.check("clippy of the Rust starter", in_target(&mut clippy).args(["--", "--deny", "warnings"]));
}

/// Sets the output folder of the workspace.
fn in_target(cargo: &mut Command) -> &mut Command {
    cargo.env("CARGO_TARGET_DIR", workspace::target())
}

/// Runs the tests of the starter in Rust.
pub(crate) fn test(report: &mut Report) {
    let mut tests = cargo(&["test", "--locked", "--all-features", "--manifest-path", RUST]);
    report.tests("the Rust starter", in_target(&mut tests), tally::cargo);
}
