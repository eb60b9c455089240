//! `cargo xtask bench`: servers measured side by side, and the tables and the chart of the recorded runs.
//!
//! Layout, in reading order:
//! - `scenario`: the loads, and the sets that they form
//! - `peer`: the servers, each with its recipe
//! - `stage`: the processes of one run
//! - `process`: programs that are started, pinned to cores and ended
//! - `machine`: facts about this machine
//! - `record`: the lines of `bench/runs/`
//! - `figures`: medians and ratios
//! - `tables`, `chart`: how readers see them
//! - `compare`: two commits side by side
//! - `smoke`: each scenario for two seconds, as a test
//! - `pages`: the tables in `bench/RESULTS.md`, and the chart in `docs/`

mod chart;
mod compare;
mod figures;
mod machine;
mod pages;
mod peer;
mod process;
mod record;
mod scenario;
mod smoke;
mod stage;
mod tables;

use std::path::PathBuf;
use std::{fs, io};

use clap::Args;

pub(crate) use self::pages::{check, write as write_pages};
use self::peer::{Checkout, Peer};
use self::record::{Record, Run, Session};
use self::scenario::{Scenario, Set};
pub(crate) use self::smoke::run as smoke;
use crate::report::Report;
use crate::tally::Tally;
use crate::workspace;

/// The rounds of a measurement, and of a comparison of two commits.
const ROUNDS: u32 = 3;
const CHECK_ROUNDS: u32 = 5;

/// The rounds beyond which nobody waits.
const MAX_ROUNDS: u32 = 20;

/// The options of `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Scenarios such as `echo` or `rooms`, or sets of them: `servers` (the default), `balancers`, `clusters`, `backends`, `resilience`, `rolling`.
    scenarios: Vec<String>,
    /// Measure these peers alone, commas between.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Measure another server too: a program that listens on the port in `PORT`.
    #[arg(long, value_name = "NAME=PROGRAM")]
    server: Vec<String>,
    /// How often each peer is measured, in turns: 3 times, or 5 times by `--check`.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ROUNDS)))]
    rounds: Option<u32>,
    /// Seconds that a run measures: 2, or 60 of clients on bad networks and slow ones.
    #[arg(long)]
    seconds: Option<f64>,
    /// Clients instead of those of the scenarios: for a short look.
    #[arg(long, conflicts_with = "record")]
    clients: Option<usize>,
    /// Seconds of the same load before.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Record the runs: replace those in `bench/runs/`, the tables of `bench/RESULTS.md` and the chart.
    #[arg(long, conflicts_with_all = ["server", "debug"])]
    record: bool,
    /// A sentence for the record, such as what else the machine did.
    #[arg(long, requires = "record")]
    note: Option<String>,
    /// Compare Sociable with itself at this commit, and fail if a figure got worse.
    #[arg(long, value_name = "COMMIT", conflicts_with_all = ["record", "peers", "server"])]
    check: Option<String>,
    /// Build without optimizations: to try the command, not the servers.
    #[arg(long)]
    debug: bool,
    /// Print the scenarios and the peers.
    #[arg(long)]
    list: bool,
}

/// Measures, prints the tables, and records the runs if asked.
pub(crate) fn run(report: &mut Report, options: &Options) {
    if options.list {
        report.step("scenarios and peers", || {
            list();
            Ok(Tally { passed: 1, failed: 0 })
        });
        return;
    }
    let scenarios = match scenario::chosen(&options.scenarios, options.record) {
        Ok(scenarios) => scenarios,
        Err(why) => return fail(report, &why),
    };
    if !cfg!(target_os = "linux") {
        return report.skip("bench", "CPU time and memory are read from /proc, which only Linux has");
    }
    if let Some(before) = &options.check {
        return match compare::run(report, options, &scenarios, before) {
            Ok(()) => {}
            Err(why) => fail(report, &why),
        };
    }
    let tools = match peer::build(report, &Checkout::present(), options.debug, &scenarios, &options.peers) {
        Ok(tools) => tools,
        Err(why) => return fail(report, &why),
    };
    for set in Set::ALL {
        let scenarios = of_set(&scenarios, set);
        if scenarios.is_empty() {
            continue;
        }
        let peers = match peer::prepare(report, set, &tools, &options.peers, &options.server) {
            Ok(peers) => peers,
            Err(why) => return fail(report, &why),
        };
        if peers.is_empty() {
            report.skip(set.name(), "none of its peers can be measured here");
            continue;
        }
        let name = format!("bench of {}", set.name());
        report.step(&name, || {
            let (record, failed) = measure(options, &tools.load, &peers, &scenarios);
            // A record with gaps would replace a whole one.
            let path = path(set, options.record && failed == 0);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, record.to_lines())?;
            println!("\n{}", tables::of(set, &record));
            println!("runs: {}", path.display());
            Ok(Tally { passed: record.runs.len() as u64, failed })
        });
    }
    if options.record && report.is_good() {
        write_pages(report);
    }
}

fn of_set<'a>(scenarios: &[&'a Scenario], set: Set) -> Vec<&'a Scenario> {
    scenarios.iter().filter(|scenario| scenario.set == set).copied().collect()
}

fn fail(report: &mut Report, why: &str) {
    report.step("bench", || Err(io::Error::other(why)));
}

/// The runs of a set: those in the repository, or those of the last run without a record.
fn path(set: Set, is_recorded: bool) -> PathBuf {
    let folder = if is_recorded { workspace::root().join("bench/runs") } else { workspace::target().join("bench") };
    folder.join(format!("{}.jsonl", set.name()))
}

fn list() {
    for set in Set::ALL {
        println!("{}", set.name());
        for scenario in scenario::ALL.iter().filter(|scenario| scenario.set == set) {
            println!("  {:<22} {}: sociable-load {}", scenario.name, scenario.title, scenario.load.join(" "));
        }
        for recipe in peer::RECIPES.iter().filter(|recipe| recipe.set == set) {
            let more = if recipe.is_default { "" } else { " (only if named by --peers)" };
            println!("  peer {:<17} {}{more}", recipe.name, recipe.title);
        }
    }
}

/// Runs all scenarios in turns: round by round, and in a round each peer after the other. Returns the failed runs too.
fn measure(options: &Options, load: &std::path::Path, peers: &[Peer], scenarios: &[&Scenario]) -> (Record, u64) {
    let cores = machine::Cores::find();
    let (mut runs, mut failed) = (vec![], 0);
    let rounds = options.rounds.unwrap_or(if options.check.is_some() { CHECK_ROUNDS } else { ROUNDS });
    for round in 1..=rounds {
        for scenario in scenarios {
            let more = options.clients.iter().flat_map(|clients| ["--clients".to_owned(), clients.to_string()]).collect();
            let times = stage::Run { seconds: options.seconds.unwrap_or(scenario.seconds), warmup: options.warmup, more };
            for peer in peers {
                print!("round {round}, {}, {}: ", scenario.name, peer.name);
                match stage::run(load, peer, scenario, &cores, &times) {
                    Ok(figures) => {
                        let run = Run { round, scenario: scenario.name.into(), peer: peer.name.clone(), figures };
                        println!("{}", run.summary());
                        runs.push(run);
                    }
                    Err(error) => {
                        println!("failed: {error}");
                        failed += 1;
                    }
                }
            }
        }
    }
    let session = Session {
        date: machine::date(),
        commit: machine::commit(),
        machine: machine::Machine::of_this(),
        is_pinned: cores.are_apart(),
        rounds,
        seconds: options.seconds.unwrap_or(scenario::SECONDS),
        warmup: options.warmup,
        peers: peers.iter().map(Peer::version).collect(),
        note: options.note.clone(),
    };
    (Record { session, runs }, failed)
}
