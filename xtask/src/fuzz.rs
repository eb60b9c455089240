//! `cargo xtask fuzz`: generates inputs for every decoder, and reports those that break a check.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use crate::report::Report;
use crate::workspace;

/// The length of the longest message with a form of its own. Longer inputs repeat.
const LONGEST_INPUT: u32 = 4096;
/// The bounds of memory and time for an input of that length.
const MEMORY_MB: u32 = 1024;
const INPUT_LIMIT_SECS: u32 = 10;

/// Builds all targets and runs each for so many seconds.
pub(crate) fn run(report: &mut Report, seconds: u32) {
    const NAME: &str = "fuzzing";
    if let Err(why) = ensure_fuzzer() {
        report.skip(NAME, &why);
        return;
    }
    if !report.check("build of the fuzz targets", fuzzer().arg("build")) {
        return;
    }
    match targets() {
        Ok(targets) => targets.iter().for_each(|target| run_target(report, target, seconds)),
        Err(error) => {
            report.step(NAME, || Err(error));
        }
    }
}

fn run_target(report: &mut Report, target: &str, seconds: u32) {
    // The first folder gets new inputs, so that the versioned ones stay few.
    let finds = workspace::target().join("fuzz").join(target);
    if let Err(error) = fs::create_dir_all(&finds) {
        report.step(target, || Err(error));
        return;
    }
    let mut command = fuzzer();
    command.args(["run", target]).arg(finds).arg(folder().join("corpus").join(target)).arg("--");
    command.args([format!("-max_total_time={seconds}"), format!("-max_len={LONGEST_INPUT}")]);
    command.args([format!("-rss_limit_mb={MEMORY_MB}"), format!("-timeout={INPUT_LIMIT_SECS}"), "-print_final_stats=1".to_owned()]);
    let dictionary = folder().join("dictionaries").join(target).with_extension("dict");
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    report.check(&format!("fuzz {target}"), &mut command);
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

/// The targets are the files of their folder.
fn targets() -> io::Result<Vec<String>> {
    let mut targets = vec![];
    for entry in fs::read_dir(folder().join("fuzz_targets"))? {
        targets.extend(Path::new(&entry?.file_name()).file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// cargo-fuzz with the compiler that it needs.
fn fuzzer() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).current_dir(folder());
    command
}

fn ensure_fuzzer() -> Result<(), String> {
    let runs = |args: &[&str]| {
        let status = Command::new("rustup").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !runs(&["run", "nightly", "cargo", "--version"]) {
        return Err("there is no nightly compiler: rustup toolchain install nightly --profile minimal".to_owned());
    }
    if !runs(&["run", "nightly", "cargo", "fuzz", "--version"]) {
        return Err("there is no cargo-fuzz: cargo install cargo-fuzz --locked".to_owned());
    }
    Ok(())
}
