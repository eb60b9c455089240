//! Facts about this machine, for the record.

use std::{fs, thread};

use serde::{Deserialize, Serialize};

use crate::{tools, workspace};

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) system: String,
}

impl Machine {
    pub(super) fn of_this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model.trim());
        let is_virtual = info.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"));
        let processor = format!("{}{}", model.unwrap_or("unknown processor"), if is_virtual { ", virtual" } else { "" });
        Self { processor, cores: cores(), system: printed("uname", &["-srm"]).unwrap_or_else(|| "unknown system".into()) }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the single line that a command prints.
pub(super) fn printed(program: &str, args: &[&str]) -> Option<String> {
    tools::output(program, args).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Returns the time of now, in UTC.
pub(super) fn date() -> String {
    printed("date", &["-u", "+%Y-%m-%d %H:%M"]).unwrap_or_else(|| "unknown".into())
}

/// Returns the commit of the checkout, and says if files have changed since.
pub(super) fn commit() -> String {
    let root = workspace::root().to_string_lossy();
    let git = |args: &[&str]| printed("git", &[&["-C", &root], args].concat());
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    // The records of this run may lie there already.
    let changed = git(&["status", "--porcelain", "--", ".", ":!bench/runs", ":!bench/RESULTS.md", ":!docs/speed.svg"]);
    if changed.is_some() { format!("{commit} with changes") } else { commit }
}

/// The cores of the server under test and of the load generator.
#[derive(Debug)]
pub(super) struct Cores {
    pub(super) server: Option<usize>,
    pub(super) load: Option<usize>,
}

impl Cores {
    /// Returns two cores, or none where there is one core alone or no `taskset`.
    pub(super) fn find() -> Self {
        let are_apart = cores() > 1 && tools::find("taskset").is_some();
        if !are_apart {
            println!("the server and the load generator share their cores: the figures say less");
        }
        Self { server: are_apart.then_some(0), load: are_apart.then_some(1) }
    }

    pub(super) fn are_apart(&self) -> bool {
        self.server.is_some()
    }
}
