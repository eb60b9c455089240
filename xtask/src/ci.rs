//! `cargo xtask ci`: what must pass before a change is taken.

use crate::report::Report;
use crate::rust::cargo;
use crate::{book, compose, test, tidy, tree};

/// The checks, the quickest first, then all tests. Each runs even if one before it failed: one run shows all there is to mend.
pub(crate) fn run(report: &mut Report) {
    tidy::run(report);
    tree::check(report);
    report.check("formatting", &mut cargo(&["fmt", "--all", "--check"]));
    for folder in ["tests/rust_socketio", "bench/peers/socketioxide"] {
        let manifest = format!("{folder}/Cargo.toml");
        report.check(&format!("formatting of {folder}"), cargo(&["fmt", "--check", "--manifest-path"]).arg(manifest));
    }
    report.check("clippy", &mut cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]));
    let mut doc = cargo(&["doc", "--no-deps", "--workspace", "--all-features"]);
    report.check("rustdoc", doc.env("RUSTDOCFLAGS", "-D warnings"));
    book::build(report);
    compose::syntax(report);
    test::run(report, &[]);
}
