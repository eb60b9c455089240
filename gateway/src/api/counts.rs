//! Counts of answers, and their metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sociable::MetricFamily;

use super::Inner;
use super::problem::ProblemKind;
use super::routes::Route;

/// The statuses of all answers.
const STATUSES: [u16; 14] = [200, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 429, 503];

/// The classes of statuses, each with its least one.
const CLASSES: [(&str, u16); 3] = [("2xx", 200), ("4xx", 400), ("5xx", 500)];

/// Counts of answers since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    answers: [[AtomicU64; STATUSES.len()]; Route::ALL.len()],
    problems: [AtomicU64; ProblemKind::ALL.len()],
}

impl Counts {
    /// Counts the answer to a request, or to one operation of a batch.
    pub(super) fn count(&self, route: Route, status: u16, problem: Option<ProblemKind>) {
        if let Some(place) = STATUSES.iter().position(|known| *known == status) {
            self.answers[route as usize][place].fetch_add(1, Relaxed);
        }
        if let Some(problem) = problem {
            self.problems[problem as usize].fetch_add(1, Relaxed);
        }
    }

    /// Returns the counts above zero.
    pub(super) fn answers(&self) -> BTreeMap<(Route, u16), u64> {
        let all = Route::ALL.iter().flat_map(|route| STATUSES.iter().map(|status| (*route, *status)).zip(&self.answers[*route as usize]));
        all.map(|(place, count)| (place, count.load(Relaxed))).filter(|(_, count)| *count > 0).collect()
    }

    fn requests(&self) -> MetricFamily {
        let mut family = MetricFamily::counter("api_requests", "Requests and operations of batches, by class of the status.");
        for (route, counts) in Route::ALL.iter().zip(&self.answers) {
            for (class, least) in CLASSES {
                let of_class = STATUSES.iter().zip(counts).filter(|(status, _)| **status / 100 == least / 100);
                let sum = of_class.map(|(_, count)| count.load(Relaxed)).sum();
                family = family.sample(&[("operation", route.name()), ("status", class)], sum);
            }
        }
        family
    }

    fn refusals(&self) -> MetricFamily {
        let family = MetricFamily::counter("api_problems", "Requests and operations of batches that failed, by kind of the problem.");
        ProblemKind::ALL.iter().zip(&self.problems).fold(family, |family, (kind, count)| {
            let reason = kind.name().replace('-', "_");
            family.sample(&[("reason", &reason)], count.load(Relaxed))
        })
    }
}

/// Returns the metrics of an API.
pub(super) fn metrics(api: &Inner) -> Vec<MetricFamily> {
    let mut keys = MetricFamily::counter("api_key_requests", "Requests by key, with those beyond the rate or the concurrency of the key.");
    let mut running = MetricFamily::gauge("api_requests_in_flight", "Requests that are being answered, by key.");
    for usage in api.keys.usage() {
        keys = keys.sample(&[("key", &usage.name), ("result", "admitted")], usage.admitted);
        keys = keys.sample(&[("key", &usage.name), ("result", "limited")], usage.limited);
        running = running.sample(&[("key", &usage.name)], usage.running);
    }
    let stats = api.idempotency.stats();
    let begun = [
        ("first", stats.first),
        ("replayed", stats.replayed),
        ("in_progress", stats.in_progress),
        ("unknown", stats.unknown),
        ("conflict", stats.conflicts),
        ("unavailable", stats.unavailable),
    ];
    let lost = [("dropped", stats.dropped), ("too_long", stats.too_long), ("unstored", stats.unstored)];
    let by = |family: MetricFamily, label: &'static str, samples: &[(&str, u64)]| {
        samples.iter().fold(family, |family, (value, count)| family.sample(&[(label, *value)], *count))
    };
    vec![
        api.counts.requests(),
        api.counts.refusals(),
        keys,
        running,
        by(MetricFamily::counter("api_idempotency_requests", "Requests with an idempotency key, by outcome."), "outcome", &begun),
        by(MetricFamily::counter("api_idempotency_lost_answers", "Answers that repetitions do not get, by reason."), "reason", &lost),
        MetricFamily::gauge("api_idempotency_records", "Requests in the memory of the node.").sample(&[], stats.entries as u64),
        MetricFamily::gauge("api_idempotency_bytes", "Bytes of these requests with their answers.").sample(&[], stats.bytes as u64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_place() {
        let counts = Counts::default();
        for (at, route) in Route::ALL.iter().enumerate() {
            assert_eq!(*route as usize, at);
            counts.count(*route, 200, None);
        }
        for (at, kind) in ProblemKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
            counts.count(Route::Emit, kind.status(), Some(*kind));
        }
        let answers = counts.answers();
        assert_eq!(answers.values().sum::<u64>() as usize, Route::ALL.len() + ProblemKind::ALL.len());
        assert_eq!(answers[&(Route::Emit, 409)], 2);
        assert!(counts.problems.iter().all(|count| count.load(Relaxed) == 1));
    }
}
