//! The counters of a balancer.

use std::time::Instant;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sociable_metrics::encode;

use crate::http::refusal::Refusal;
use crate::http::request::RequestKind;

/// The kinds of requests, by their names in metrics.
const KINDS: [(RequestKind, &str); 5] = [
    (RequestKind::Handshake, "handshake"),
    (RequestKind::Poll, "poll"),
    (RequestKind::Post, "post"),
    (RequestKind::Upgrade, "upgrade"),
    (RequestKind::Other, "other"),
];

/// Up to a minute: a poll may wait for as long as nothing is sent.
const BOUNDARIES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0];

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// All counters of a balancer.
        #[derive(Debug)]
        pub(crate) struct Metrics {
            /// From the request to the first byte of its answer, by [`RequestKind`].
            first_byte: [Histogram; KINDS.len()],
            refused: [Counter; Refusal::ALL.len()],
            /// Connections of clients.
            pub(crate) connections: Gauge,
            /// Bytes that wait for those who do not read, or for the rest of a head.
            pub(crate) waiting: Gauge,
            $($(#[doc = $doc])+ pub(crate) $name: Counter,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self {
                    first_byte: std::array::from_fn(|_| Histogram::new(BOUNDARIES)),
                    refused: Default::default(),
                    connections: Gauge::default(),
                    waiting: Gauge::default(),
                    $($name: Counter::default(),)*
                }
            }
        }

        impl Metrics {
            /// Registers those without labels. Their documentation is the help text.
            pub(crate) fn register(&self, registry: &mut Registry) {
                registry.register("connections", "Open connections of clients, and HTTP/2 streams beyond the first of each", self.connections.clone());
                registry.register("waiting_bytes", "Bytes that wait for slow clients, and of incomplete request heads", self.waiting.clone());
                $(registry.register(stringify!($name), concat!($($doc),+).trim().trim_end_matches('.'), self.$name.clone());)*
            }
        }
    };
}

counters! {
    /// Requests sent to another node because the first was unreachable.
    retries,
    /// Retries refused because too many requests were being retried.
    retries_refused,
    /// Connections to nodes that were attempted.
    upstream_connects,
    /// Connections to nodes that failed.
    upstream_connect_failures,
    /// WebSockets opened.
    tunnels_opened,
    /// WebSockets closed because they were silent for too long.
    tunnels_timed_out,
    /// Clients disconnected because they did not read.
    slow_clients,
    /// Connections cut off because their clients did not close them after the end.
    lingers_cut,
    /// Responses of nodes that ended early.
    responses_aborted,
    /// Connections of clients accepted.
    connections_accepted,
    /// Connections of clients refused because the balancer was at its limit.
    connections_shed,
    /// Pauses of accepting because clients connected too fast.
    accept_pauses,
    /// Connections that could not be accepted because of an error.
    accept_errors,
    /// TLS handshakes that failed.
    tls_handshake_failures,
    /// Connections without a valid PROXY header.
    proxy_headers_refused,
    /// Reloads of the options.
    reloads,
    /// Reloads refused because the options were invalid.
    reload_failures,
}

impl Metrics {
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].inc();
    }

    /// A request was answered: its first byte came at that time.
    pub(crate) fn answered(&self, kind: RequestKind, begun: Instant, first_byte: Option<Instant>) {
        if let Some(at) = first_byte {
            self.first_byte[kind as usize].observe(at.saturating_duration_since(begun).as_secs_f64());
        }
    }

    /// Writes those with labels.
    pub(crate) fn encode_labelled(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let refused = Refusal::ALL.map(|refusal| (refusal.reason(), self.refused[refusal as usize].get()));
        encode::counters(encoder, "requests_refused", "Requests that the balancer answered itself, by reason.", "reason", refused)?;
        let help = "Time from the end of a request's head to the first byte of the node's response.";
        let kind = self.first_byte[0].metric_type();
        let mut family = encoder.encode_descriptor("first_byte", help, Some(&Unit::Seconds), kind)?;
        for (kind, name) in KINDS {
            self.first_byte[kind as usize].encode(family.encode_family(&[("kind", name)])?)?;
        }
        Ok(())
    }
}
