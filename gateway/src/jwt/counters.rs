//! Counters of tokens.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sociable::MetricFamily;

use super::refusal::Refusal;

/// Counts of one [`Jwt`](super::Jwt) since its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sockets that were let in by their token.
    pub accepted: u64,
    /// Sockets that were refused, by the [name](Refusal::name) of the reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Sockets that were disconnected because their token expired.
    pub expired: u64,
    /// Attempts that read the keys.
    pub key_loads: u64,
    /// Attempts that did not. The keys before them stay valid.
    pub key_load_failures: u64,
    /// Keys that are in use now.
    pub keys: usize,
}

impl Stats {
    /// Returns the counts as metrics.
    pub(super) fn metrics(&self) -> Vec<MetricFamily> {
        let refused = MetricFamily::counter("tokens_refused", "Sockets refused because of their token, by reason.");
        let loads = MetricFamily::counter("token_key_loads", "Attempts to read the keys of tokens, by outcome.");
        vec![
            MetricFamily::counter("tokens_accepted", "Sockets let in by their token.").sample(&[], self.accepted),
            self.refused.iter().fold(refused, |family, (reason, count)| family.sample(&[("reason", *reason)], *count)),
            MetricFamily::counter("tokens_expired", "Sockets disconnected because their token expired.").sample(&[], self.expired),
            loads.sample(&[("outcome", "read")], self.key_loads).sample(&[("outcome", "failed")], self.key_load_failures),
            MetricFamily::gauge("token_keys", "Keys of tokens that are in use.").sample(&[], self.keys as u64),
        ]
    }
}

/// The counters of one `Jwt`. Each connection counts once, so threads share them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    pub(super) expired: AtomicU64,
    pub(super) key_loads: AtomicU64,
    pub(super) key_load_failures: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, outcome: Result<(), Refusal>) {
        match outcome {
            Ok(()) => &self.accepted,
            Err(refusal) => &self.refused[refusal as usize],
        }
        .fetch_add(1, Relaxed);
    }

    pub(super) fn stats(&self, keys: usize) -> Stats {
        Stats {
            accepted: self.accepted.load(Relaxed),
            refused: Refusal::ALL.iter().map(|refusal| (refusal.name(), self.refused[*refusal as usize].load(Relaxed))).collect(),
            expired: self.expired.load(Relaxed),
            key_loads: self.key_loads.load(Relaxed),
            key_load_failures: self.key_load_failures.load(Relaxed),
            keys,
        }
    }
}
