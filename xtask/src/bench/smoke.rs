//! Each scenario for two seconds against Sociable, as a test: nothing may be lost, doubled or out of order.
//!
//! The programs are those that the tests have built. Several scenarios run at a time, so no figure means anything.

use std::sync::Mutex;
use std::thread;

use super::machine::Cores;
use super::peer::{self, Peer, Tools};
use super::record::Figures;
use super::scenario::{ALL, Scenario, Set};
use super::stage;
use crate::report::Report;
use crate::tally::Tally;
use crate::workspace;

/// The scenarios at a time.
const AT_A_TIME: usize = 6;

/// The seconds of a run, and of the same load before.
const SECONDS: f64 = 2.0;
const WARMUP: f64 = 0.2;

/// The arguments whose numbers are divided: programs without optimizations are slow.
const SCALED: [&str; 3] = ["--clients", "--rooms", "--slow"];
const SCALE: usize = 10;

/// Runs all scenarios with the programs of the tests.
pub(crate) fn run(report: &mut Report) {
    let tools = Tools::of(&workspace::target(), true);
    let mut peers = vec![];
    for set in Set::ALL {
        match peer::prepare_ours(report, set, &tools, set.ours()) {
            Ok(peer) => peers.push((set, peer)),
            Err(why) => report.skip(&format!("scenarios of {}", set.name()), &why),
        }
    }
    report.step("scenarios of the benchmarks", || {
        let peer_of = |scenario: &Scenario| peers.iter().find(|(set, _)| *set == scenario.set).map(|(_, peer)| peer);
        let runs = ALL.iter().filter_map(|scenario| Some((scenario, peer_of(scenario)?)));
        let (runs, tally) = (Mutex::new(runs), Mutex::new(Tally::default()));
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| {
                    // The lock is held while a run is taken, and not while it runs.
                    while let Some((scenario, peer)) = runs.lock().ok().and_then(|mut runs| runs.next()) {
                        let outcome = attempt(&tools, peer, scenario);
                        match &outcome {
                            Ok(()) => println!("ok     {}", scenario.name),
                            Err(why) => println!("FAILED {}: {why}", scenario.name),
                        }
                        if let Ok(mut tally) = tally.lock() {
                            tally.add(Tally { passed: outcome.is_ok().into(), failed: outcome.is_err().into() });
                        }
                    }
                });
            }
        });
        let tally = tally.into_inner().unwrap_or_default();
        Ok(tally)
    });
}

fn attempt(tools: &Tools, peer: &Peer, scenario: &Scenario) -> Result<(), String> {
    let run = stage::Run { seconds: SECONDS, warmup: WARMUP, more: smaller(scenario.load) };
    let figures = stage::run(&tools.load, peer, scenario, &Cores { server: None, load: None }, &run).map_err(|error| error.to_string())?;
    let Figures { lost, wrong, duplicates, disorder, .. } = figures;
    if lost + wrong + duplicates + disorder == 0 {
        return Ok(());
    }
    Err(format!("{lost} messages were lost, {wrong} wrong, {duplicates} doubled, {disorder} out of order"))
}

/// Returns the arguments that make a load small: fewer clients, and cuts that fit into two seconds.
fn smaller(load: &[&str]) -> Vec<String> {
    let mut args = vec![];
    for pair in load.windows(2).filter(|pair| SCALED.contains(&pair[0])) {
        let number: usize = pair[1].parse().unwrap_or(SCALE);
        args.extend([pair[0].to_owned(), number.div_ceil(SCALE).to_string()]);
    }
    if load.first() == Some(&"jitter") {
        args.extend(["--spell", "1", "--outage", "1"].map(str::to_owned));
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_has_a_tenth_of_its_clients() {
        assert_eq!(smaller(&["rooms", "--clients", "1000", "--rooms", "100", "--window", "64"]), ["--clients", "100", "--rooms", "10"]);
        assert_eq!(smaller(&["jitter", "--clients", "5", "--silent"]), ["--clients", "1", "--spell", "1", "--outage", "1"]);
    }
}
