//! Counters of the admin UI.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, by: usize) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    #[cfg(any(test, feature = "metrics"))]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Logins by a password that was right.
    pub(super) by_password: Counter,
    /// Logins by a session id.
    pub(super) by_session: Counter,
    /// Logins with wrong or no credentials.
    pub(super) refused: Counter,
    /// Logins refused because too many waited or failed.
    pub(super) throttled: Counter,
    pub(super) commands: Counter,
    pub(super) commands_failed: Counter,
    /// Events of sockets that were not reported, for lack of budget.
    pub(super) events_dropped: Counter,
    /// Changes of sockets that were not reported, for lack of budget. The list of sockets is sent again.
    pub(super) changes_dropped: Counter,
}

#[cfg(feature = "metrics")]
impl Counters {
    /// Returns the metrics. `watched` is true while someone looks.
    pub(super) fn metrics(&self, watched: bool) -> Vec<crate::metric_family::MetricFamily> {
        use crate::metric_family::MetricFamily;
        let family = |name: &'static str, help: &'static str, label: &'static str, samples: &[(&str, &Counter)]| {
            let family = MetricFamily::counter(name, help);
            samples.iter().fold(family, |family, (value, counter)| family.sample(&[(label, value)], counter.get()))
        };
        vec![
            MetricFamily::gauge("admin_watched", "1 while someone looks at the admin UI, here or on another node.")
                .sample(&[], watched.into()),
            family(
                "admin_logins",
                "Logins to the admin UI, by outcome.",
                "outcome",
                &[
                    ("password", &self.by_password),
                    ("session", &self.by_session),
                    ("refused", &self.refused),
                    ("throttled", &self.throttled),
                ],
            ),
            family(
                "admin_commands",
                "Commands of the admin UI, by outcome.",
                "outcome",
                &[("done", &self.commands), ("failed", &self.commands_failed)],
            ),
            family(
                "admin_records_dropped",
                "Reports to the admin UI dropped for lack of budget, by kind.",
                "kind",
                &[("event", &self.events_dropped), ("change", &self.changes_dropped)],
            ),
        ]
    }
}
