//! Medians, ranges and ratios of a record.

use super::record::{Figures, Record, Returns, Run};
use super::scenario::{Scenario, Set};

/// The thing that a figure measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// CPU time in microseconds for each unit.
    Cpu,
    /// Resident bytes for each idle connection.
    Memory,
    /// Latencies in microseconds.
    P50,
    P99,
    P999,
    /// The percentage of messages that each client got exactly once.
    ExactlyOnce,
    /// The messages of the times in which clients were new ones.
    Missed,
    /// The clients that came back as the sockets that they were, and as new ones.
    Recovered,
    Fresh,
    /// The clients that are not back at the end.
    Absent,
    /// The attempts while nobody listened, those that were answered by no session, and the sessions whose first question had no answer in time.
    Refused,
    Failed,
    Unanswered,
    /// The milliseconds from the signal until a share of the clients is served again.
    BackHalf,
    BackMost,
    BackAll,
    /// The milliseconds from a loss until 99 % of the clients are served again, and until their first attempt that could succeed.
    AwayMost,
    BackoffMost,
    /// The most cores that were busy for a second.
    PeakCores,
    /// Resident megabytes at the beginning, and at their highest.
    StartMemory,
    PeakMemory,
    /// The slow clients that the server disconnected.
    SlowClosed,
}

impl Measure {
    /// Returns a figure as readers see it: things that are counted are whole.
    pub(super) fn shown(self, value: f64) -> String {
        match self {
            Self::Memory
            | Self::Missed
            | Self::Recovered
            | Self::Fresh
            | Self::Absent
            | Self::Refused
            | Self::Failed
            | Self::Unanswered
            | Self::SlowClosed => thousands(value),
            // The last digits are the losses. A loss is never rounded away.
            Self::ExactlyOnce => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
            _ => shown(value),
        }
    }

    /// Returns the figure of a run, for the processes of a name.
    fn of(self, figures: &Figures, process: &str) -> Option<f64> {
        let peak = figures.peaks.get(process);
        let returns = figures.returns.as_ref();
        let count = |of: fn(&Returns) -> u64| returns.map(|returns| of(returns) as f64);
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        match self {
            Self::Cpu => figures.cpu_us.get(process).copied(),
            Self::Memory => figures.bytes.get(process).copied(),
            Self::P50 => figures.p50_us,
            Self::P99 => figures.p99_us,
            Self::P999 => figures.p999_us,
            Self::ExactlyOnce => returns.map(|returns| returns.exactly_once),
            Self::Missed => count(|returns| returns.missed),
            Self::Recovered => count(|returns| returns.recovered),
            Self::Fresh => count(|returns| returns.fresh),
            Self::Absent => count(|returns| returns.absent),
            Self::Refused => count(|returns| returns.refused),
            Self::Failed => count(|returns| returns.failed),
            Self::Unanswered => count(|returns| returns.unanswered),
            Self::BackHalf => returns?.back?.p50_ms,
            Self::BackMost => returns?.back?.p99_ms,
            Self::BackAll => returns?.back?.all_ms,
            Self::AwayMost => returns?.away?.p99_ms,
            Self::BackoffMost => returns?.backoff?.p99_ms,
            Self::PeakCores => peak?.cores,
            Self::StartMemory => Some(megabytes(peak?.start_bytes)),
            Self::PeakMemory => Some(megabytes(peak?.bytes)),
            Self::SlowClosed => figures.slow_closed.map(|count| count as f64),
        }
    }

    /// Returns how much worse a figure is than an earlier one: above 1 if it is.
    pub(super) fn worsening(self, before: f64, after: f64) -> f64 {
        match self {
            Self::ExactlyOnce | Self::Recovered => before / after,
            _ => after / before,
        }
    }
}

/// The figure of a peer in a scenario, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

impl Figure {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&lowest, &highest) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] };
        Some(Self { median, lowest, highest })
    }
}

impl Record {
    fn runs_of<'a>(&'a self, scenario: &'a str, peer: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.scenario == scenario && run.peer == peer)
    }

    /// Returns the figure of the compared processes.
    pub(super) fn figure(&self, scenario: &Scenario, peer: &str, measure: Measure) -> Option<Figure> {
        self.figure_of(scenario, peer, measure, scenario.set.subject())
    }

    /// Returns the figure of the processes of this name.
    pub(super) fn figure_of(&self, scenario: &Scenario, peer: &str, measure: Measure, process: &str) -> Option<Figure> {
        Figure::of(self.runs_of(scenario.name, peer).filter_map(|run| measure.of(&run.figures, process)).collect())
    }

    /// Returns a figure as a multiple of the base of the set.
    pub(super) fn ratio(&self, set: Set, scenario: &Scenario, peer: &str, measure: Measure) -> Option<f64> {
        let base = self.figure(scenario, set.base(), measure)?.median;
        let figure = self.figure(scenario, peer, measure)?.median;
        (peer != set.base() && base > 0.0).then_some(figure / base)
    }

    /// Returns the cores that other programs kept busy: in the median run, and the most.
    pub(super) fn other_cores(&self) -> Option<Figure> {
        Figure::of(self.runs.iter().map(|run| run.figures.other_cores.max(0.0)).collect())
    }
}

/// Returns a figure with three digits, or a whole one with its thousands apart.
pub(super) fn shown(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        return thousands(value);
    }
    let decimals = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.as_bytes()[at - 1].is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in
            [(0.385, "0.39"), (1.4, "1.40"), (27.94, "27.9"), (634.4, "634"), (2211.0, "2,211"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(shown(value), text);
        }
        assert_eq!((shown(0.0), shown(-12345.0)), ("0.00".into(), "-12,345".into()));
        assert_eq!((Measure::ExactlyOnce.shown(100.0), Measure::ExactlyOnce.shown(99.999)), ("100".into(), "99.999".into()));
        assert_eq!((Measure::Memory.shown(30.4), Measure::Memory.shown(2211.0)), ("30".into(), "2,211".into()));
    }

    #[test]
    fn median_is_the_middle_of_all_rounds() {
        let figure = |values: &[f64]| Figure::of(values.to_vec()).unwrap();
        assert_eq!(figure(&[3.0, 1.0, 2.0]), Figure { median: 2.0, lowest: 1.0, highest: 3.0 });
        assert_eq!(figure(&[4.0, 1.0]).median, 2.5);
        assert_eq!(Figure::of(vec![]), None);
    }
}
