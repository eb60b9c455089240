//! The kinds of load. Each connects its clients, warms up, measures, and waits for the last answers.

mod api;
mod avalanche;
mod crowd;
mod echo;
mod fanout;
mod idle;
mod jitter;
mod message;
mod pace;
mod polling;

use std::time::Duration;

use self::fanout::Rooms;
use crate::net::{Net, Scenario};
use crate::operator::Operator;
use crate::plan::{Load, Plan};
use crate::process::Snapshot;
use crate::report::{Report, Unit};
use crate::{RunError, limits};

/// Runs the plan.
pub(crate) fn run(plan: &Plan, operator: &mut dyn Operator) -> Result<Report, RunError> {
    let mut net = Net::new(plan.sources, plan.deflate)?;
    let mut broadcasts = |count, publishing, size, slow| fanout::run(&mut net, plan, &Rooms { count, publishing, size, slow });
    let mut report = match plan.load {
        Load::Idle { rest } => idle::run(&mut net, plan, rest),
        Load::Echo { kind, in_flight, size } => echo::run(&mut net, plan, kind, in_flight, size),
        Load::Latency { share, size } => echo::run_paced(&mut net, plan, share, size),
        Load::Polling { in_flight, size } => polling::run(&mut net, plan, in_flight, size),
        Load::Fanout { publishing, size, slow } => broadcasts(None, publishing, size, slow),
        Load::Rooms { rooms, publishing, size } => broadcasts(Some(rooms), publishing, size, 0),
        Load::Api { rooms, connections, size } => api::run(&mut net, plan, rooms, connections, size),
        Load::Jitter { cuts, rate, size } => jitter::run(&mut net, plan, cuts, rate, size),
        Load::Avalanche { ending, rate, size } => avalanche::run(&mut net, plan, operator, ending, rate, size),
    }?;
    report.disconnects = net.disconnects;
    report.protocol_errors = net.protocol_errors;
    report.last_error = net.last_error.take();
    net.close_all();
    Ok(report)
}

/// A closed loop: a new message for each answer, until it is stopped.
trait ClosedLoop: Scenario + Sized {
    /// Returns the counters of the loop.
    fn counters(&mut self) -> &mut Counters;

    /// Returns the answers that are missing.
    fn outstanding(&self) -> u64;
}

/// The counters of a closed loop.
#[derive(Debug, Default)]
struct Counters {
    is_stopped: bool,
    is_measuring: bool,
    sent: u64,
    received: u64,
    /// The answers that came in the measured time.
    measured: u64,
    wrong: u64,
}

/// Lets a closed loop run, and returns its figures without its latencies.
fn measure(net: &mut Net, scenario: &mut impl ClosedLoop, plan: &Plan, name: &'static str) -> Report {
    net.run(scenario, Duration::from_secs_f64(plan.warmup), |_| false);
    let before = Snapshot::take(&plan.targets);
    scenario.counters().is_measuring = true;
    net.run(scenario, Duration::from_secs_f64(plan.seconds), |_| false);
    scenario.counters().is_measuring = false;
    let after = Snapshot::take(&plan.targets);
    scenario.counters().is_stopped = true;
    net.run(scenario, limits::DRAINING, |scenario| scenario.outstanding() == 0);
    let lost = scenario.outstanding();
    let counters = scenario.counters();
    let mut report = empty(name, plan, Unit::RoundTrip, counters.measured);
    report.expected = counters.sent;
    report.received = counters.received;
    report.lost = lost;
    report.wrong = counters.wrong;
    before.report_cpu(&after, &plan.targets, &mut report);
    report
}

/// Returns a report with its units alone.
fn empty(scenario: &'static str, plan: &Plan, unit: Unit, units: u64) -> Report {
    Report {
        scenario,
        clients: plan.clients,
        unit,
        units,
        seconds: 0.0,
        per_second: 0.0,
        cpu_us: None,
        client_cpu_us: None,
        server_demand: 0.0,
        client_demand: 0.0,
        other_cores: 0.0,
        stolen_cores: 0.0,
        processes: vec![],
        bytes_per_connection: None,
        latency: None,
        latency_across: None,
        peak_per_second: None,
        returns: None,
        expected: 0,
        received: 0,
        lost: 0,
        wrong: 0,
        duplicates: 0,
        disorder: 0,
        stalls: 0,
        slow_closed: 0,
        disconnects: 0,
        protocol_errors: 0,
        last_error: None,
    }
}

/// Returns a text of so many letters.
fn letters(size: usize) -> String {
    (b'a'..=b'z').cycle().take(size).map(char::from).collect()
}

/// Reads a number in hexadecimal digits.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | u64::from(char::from(digit).to_digit(16)?)))
}
