//! Builds and tests by cargo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::report::Report;
use crate::{tally, tools, workspace};

/// The cargo that runs us, at the top of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(workspace::root());
    command
}

/// Runs all Rust tests, with doc tests. A failing crate does not hide the others' results.
pub(crate) fn test(report: &mut Report) {
    let all = || cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    let mut tests = all();
    let name = match tools::ensure_nats() {
        Ok(nats) => {
            tests.env("NATS_SERVER", nats.program);
            format!("rust tests, NATS {}", nats.version)
        }
        Err(why) => {
            eprintln!("there is no NATS server, and the tests of clusters will fail: {why}");
            "rust tests".into()
        }
    };
    report.tests(&name, &mut tests, tally::cargo);

    match tools::ensure_current_nats() {
        // All other arguments stay the same, so that nothing is compiled again.
        Ok(nats) => {
            let mut tests = all();
            tests.args(over_nats().iter().flat_map(|name| ["--test", name])).env("NATS_SERVER", nats.program);
            report.tests(&format!("clusters, NATS {}", nats.version), &mut tests, tally::cargo);
        }
        Err(why) => report.skip("clusters, current NATS", &why),
    }
}

/// The test programs that start NATS servers. None has to be named to be run.
fn over_nats() -> Vec<String> {
    let programs = entries(&workspace::root().join("tests/tests"));
    let name = |path: &PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    let mut names: Vec<_> = programs.iter().filter(|path| starts_nats(path)).filter_map(name).collect();
    names.sort();
    names
}

/// Returns whether a test program starts NATS servers: a file, or a folder of chapters.
fn starts_nats(path: &Path) -> bool {
    entries(path).iter().any(|chapter| starts_nats(chapter)) || fs::read_to_string(path).is_ok_and(|text| text.contains("Nats::"))
}

/// The paths in a folder; none if it is a file.
fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The binaries and examples that the JavaScript suites drive.
pub(crate) fn build_programs(report: &mut Report) -> bool {
    let packages = ["sociable", "sociable-protocol", "sociable-node", "sociable-balancer", "sociable-emit"]
        .into_iter()
        .flat_map(|name| ["--package", name]);
    report.check(
        "build of binaries and examples",
        cargo(&["build", "--bins", "--examples", "--features", "sociable-node/otel"]).args(packages),
    )
}
