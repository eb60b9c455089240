//! What is counted.

use std::time::Instant;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::http::refusal::Refusal;
use crate::http::request::RequestKind;

/// What requests are for, by the names in metrics.
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
            /// Enters those without labels. What each means is told to Prometheus as it is here.
            pub(crate) fn register(&self, registry: &mut Registry) {
                registry.register("connections", "Connections of clients, and streams of HTTP/2 beyond the first of each", self.connections.clone());
                registry.register("waiting_bytes", "Bytes that wait for those who do not read, or for the rest of a head", self.waiting.clone());
                $(registry.register(stringify!($name), concat!($($doc),+).trim().trim_end_matches('.'), self.$name.clone());)*
            }
        }
    };
}

counters! {
    /// Sessions that were placed.
    placements,
    /// Requests that went to another node, because the first could not be reached.
    retries,
    /// Requests that did not go to another node, because too many do.
    retries_refused,
    /// Connections to nodes that were to be opened.
    connects,
    /// Connections to nodes that could not be opened.
    connects_failed,
    /// WebSockets that were opened.
    upgrades,
    /// WebSockets that were closed because nothing came through them.
    tunnels_late,
    /// Clients that were cut off because they did not take what they were sent.
    clients_slow,
    /// Connections that were cut off because their clients did not close them after the end, or sent too much.
    lingers_cut,
    /// Answers that broke off.
    broken,
    /// Connections that were accepted.
    accepted,
    /// Connections that were refused because there were too many.
    shed,
    /// Times that no connection was accepted for a while because too many came.
    accept_waits,
    /// Times that a connection could not be accepted because of an error.
    accept_errors,
    /// Connections that did not get through TLS.
    tls_failed,
    /// Connections that had no proper PROXY header.
    proxy_headers_refused,
    /// Times that the options were loaded anew.
    reloads,
    /// Times that the options were to be loaded anew, and were wrong.
    reloads_failed,
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
        let mut family =
            encoder.encode_descriptor("refusals", "Requests that went to no node, or got no answer of one.", None, MetricType::Counter)?;
        for refusal in Refusal::ALL {
            let value = ConstCounter::new(self.refused[refusal as usize].get());
            value.encode(family.encode_family(&[("cause", refusal.cause())])?)?;
        }
        let help = "From the end of a request's head to the first byte of the node's answer.";
        let kind = self.first_byte[0].metric_type();
        let mut family = encoder.encode_descriptor("first_byte", help, Some(&Unit::Seconds), kind)?;
        for (kind, name) in KINDS {
            self.first_byte[kind as usize].encode(family.encode_family(&[("kind", name)])?)?;
        }
        Ok(())
    }
}
