//! `cargo xtask bench --check`: Sociable at two commits, side by side.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::figures::{Figure, Measure, shown};
use super::peer::{self, Checkout};
use super::record::Record;
use super::scenario::{Scenario, Set};
use super::{Options, measure, of_set};
use crate::report::Report;
use crate::tally::Tally;
use crate::workspace;

/// The names of the peers.
const BEFORE: &str = "before";
const AFTER: &str = "after";

/// The change of a median below which nobody cares.
const LEAST: f64 = 1.03;

/// The rounds without which all is noise.
const LEAST_ROUNDS: u32 = 3;

/// A figure at both commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Every round after is worse than every round before.
    Worse,
    Better,
    /// The ranges overlap, or the medians are as good as equal.
    Same,
}

/// Measures a commit and this checkout in turns, and fails if a figure got worse beyond the noise.
pub(super) fn run(report: &mut Report, options: &Options, scenarios: &[&Scenario], before: &str) -> Result<(), String> {
    if options.rounds.is_some_and(|rounds| rounds < LEAST_ROUNDS) {
        return Err(format!("fewer rounds show no noise: give --rounds {LEAST_ROUNDS} or more"));
    }
    let earlier = checkout(report, before)?;
    let named: Vec<String> = Set::ALL.iter().map(|set| set.ours().to_owned()).collect();
    let tools = [&earlier, &Checkout::present()].map(|checkout| peer::build(report, checkout, options.debug, scenarios, &named));
    let [before, after] = tools;
    let (before, after) = (before?, after?);
    for set in Set::ALL {
        let scenarios = of_set(scenarios, set);
        if scenarios.is_empty() {
            continue;
        }
        let peers = [peer::prepare_ours(report, set, &before, BEFORE)?, peer::prepare_ours(report, set, &after, AFTER)?];
        report.step(&format!("comparison of {}", set.name()), || {
            let (record, failed) = measure(options, &after.load, &peers, &scenarios);
            let (text, tally) = compared(&record, &scenarios);
            println!("\n{text}");
            Ok(Tally { passed: tally.passed, failed: tally.failed + failed })
        });
    }
    Ok(())
}

/// Checks a commit out beside this one.
fn checkout(report: &mut Report, commit: &str) -> Result<Checkout, String> {
    let folder = workspace::target().join("bench/before");
    let earlier = Checkout { root: folder.join("checkout"), target: folder.join("target") };
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let git = |root: &Path, args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(root).args(args);
        git
    };
    let is_there = earlier.root.join(".git").exists();
    // A checkout that was removed by hand is still in git's list.
    let mut checkout = if is_there {
        git(&earlier.root, &["checkout", "--force", "--detach", commit])
    } else {
        git(workspace::root(), &["worktree", "add", "--force", "--detach", &earlier.root.to_string_lossy(), commit])
    };
    // A branch of the same name may have moved in the meantime, so the commit is read in this checkout.
    if report.check(&format!("checkout of {commit}"), &mut checkout) { Ok(earlier) } else { Err(format!("cannot check out {commit}")) }
}

/// Returns a table of all figures, and counts those that got worse.
fn compared(record: &Record, scenarios: &[&Scenario]) -> (String, Tally) {
    let mut lines = vec!["| | before | after | |".to_owned(), "|---|---|---|---|".to_owned()];
    let mut tally = Tally::default();
    for scenario in scenarios {
        for (row, &measure) in scenario.rows.iter().flat_map(|row| row.measures.iter().map(move |measure| (row, measure))) {
            let figures = [BEFORE, AFTER].map(|peer| record.figure(scenario, peer, measure));
            let [Some(before), Some(after)] = figures else { continue };
            let verdict = verdict(measure, &before, &after);
            let count = if verdict == Verdict::Worse { &mut tally.failed } else { &mut tally.passed };
            *count += 1;
            let title = if row.measures.len() > 1 { format!("{}, {measure:?}", row.title(scenario)) } else { row.title(scenario) };
            let [before, after] = [before, after].map(|figure| {
                format!("{} ({}–{})", measure.shown(figure.median), measure.shown(figure.lowest), measure.shown(figure.highest))
            });
            lines.push(format!("| {title} | {before} | {after} | {} |", verdict.name()));
        }
        let faults: u64 = record.faults_of(scenario, AFTER);
        if faults > 0 {
            tally.failed += 1;
            lines.push(format!(
                "| {}: messages lost, doubled, changed or out of order | | {} | **worse** |",
                scenario.title,
                shown(faults as f64)
            ));
        }
    }
    (lines.join("\n"), tally)
}

fn verdict(measure: Measure, before: &Figure, after: &Figure) -> Verdict {
    let is_lower = after.highest < before.lowest;
    let is_higher = after.lowest > before.highest;
    let change = measure.worsening(before.median, after.median);
    if !is_lower && !is_higher {
        Verdict::Same
    } else if change > LEAST {
        Verdict::Worse
    } else if change < 1.0 / LEAST {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Worse => "**worse**",
            Self::Better => "better",
            Self::Same => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(lowest: f64, median: f64, highest: f64) -> Figure {
        Figure { median, lowest, highest }
    }

    #[test]
    fn figure_is_worse_beyond_the_noise_alone() {
        let before = figure(9.0, 10.0, 11.0);
        let judged = |after: Figure| verdict(Measure::Cpu, &before, &after);
        assert_eq!(judged(figure(10.9, 13.0, 14.0)), Verdict::Same, "the ranges overlap");
        assert_eq!(judged(figure(11.1, 13.0, 14.0)), Verdict::Worse);
        assert_eq!(judged(figure(6.0, 7.0, 8.9)), Verdict::Better);
        let narrow = figure(9.99, 10.0, 10.01);
        assert_eq!(verdict(Measure::Cpu, &narrow, &figure(10.1, 10.2, 10.3)), Verdict::Same, "2 % are nothing");
    }

    #[test]
    fn fewer_messages_exactly_once_are_worse() {
        let (all, most) = (figure(100.0, 100.0, 100.0), figure(80.0, 81.0, 82.0));
        assert_eq!(verdict(Measure::ExactlyOnce, &all, &most), Verdict::Worse);
        assert_eq!(verdict(Measure::ExactlyOnce, &most, &all), Verdict::Better);
    }

    #[test]
    fn zeros_are_compared() {
        let (none, some) = (figure(0.0, 0.0, 0.0), figure(3.0, 4.0, 5.0));
        assert_eq!(verdict(Measure::Absent, &none, &some), Verdict::Worse);
        assert_eq!(verdict(Measure::Absent, &some, &none), Verdict::Better);
        assert_eq!(verdict(Measure::Absent, &none, &none), Verdict::Same);
    }
}
