//! What Prometheus is shown: all that is counted, and how things stand when it asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::discovery::DiscoveryCounters;
use crate::state::BalancerState;
use crate::table::{Load, State};
use crate::tls::Tls;

/// The kind of text that it is.
pub(crate) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All of it.
#[derive(Debug)]
pub(crate) struct Exporter(Registry);

impl Exporter {
    pub(crate) fn new(state: Arc<BalancerState>, discovery: Arc<DiscoveryCounters>, tls: Option<Arc<Tls>>) -> Self {
        let mut registry = Registry::with_prefix("sociable_balancer");
        state.metrics.register(&mut registry);
        registry.register_collector(Box::new(ScrapeCollector { state, discovery, tls }));
        Self(registry)
    }

    /// As text.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

/// The values that are looked up for each scrape.
#[derive(Debug)]
struct ScrapeCollector {
    state: Arc<BalancerState>,
    discovery: Arc<DiscoveryCounters>,
    tls: Option<Arc<Tls>>,
}

impl Collector for ScrapeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.state.metrics.encode_labelled(&mut encoder)?;
        self.nodes(&mut encoder)?;
        self.drain(&mut encoder)?;
        let (loaded, failed) = self.tls.as_ref().map_or((0, 0), |tls| tls.reloads());
        counter(&mut encoder, "certificate_reloads", "Certificates that were read again.", loaded)?;
        counter(&mut encoder, "certificate_reloads_failed", "Certificates that were to be read again, and can't be used.", failed)?;
        for (name, value) in self.discovery.iter() {
            let help = format!("While nodes were looked for: {}.", name.replace('_', " "));
            counter(&mut encoder, &format!("discovery_{name}"), &help, value)?;
        }
        Ok(())
    }
}

type LoadGauge = fn(&Load) -> usize;

/// What each node has to do.
const LOAD_GAUGES: [(&str, &str, LoadGauge); 3] = [
    ("node_sessions", "Sessions of the node: those that it told of, and those placed since.", Load::sessions),
    ("node_tunnels", "WebSockets between this balancer and the node.", Load::tunnels),
    ("node_requests", "Requests of this balancer that the node has not answered yet.", Load::requests),
];

impl ScrapeCollector {
    fn nodes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let table = self.state.table.load();
        gauge(encoder, "table_generation", "The generation of the table of nodes.", table.generation())?;
        gauge(encoder, "nodes_ready", "Nodes that take new sessions.", table.ready().len() as u64)?;
        for (name, help, figure) in LOAD_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for node in table.nodes() {
                let labels = [("node", &*node.name), ("tag", node.tag.as_str()), ("state", label(node.state))];
                ConstGauge::new(figure(&node.load) as u64).encode(family.encode_family(&labels)?)?;
            }
        }
        // Without the state: a counter that changes its labels seems to begin anew.
        let help = "Sessions that were placed at the node, also those that went to another because it could not be reached.";
        let mut family = encoder.encode_descriptor("node_placements", help, None, MetricType::Counter)?;
        for node in table.nodes() {
            let labels = [("node", &*node.name), ("tag", node.tag.as_str())];
            ConstCounter::new(node.load.placements()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// How far it is with leaving.
    fn drain(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let left = self.state.time_left();
        let connections = left.map_or(0, |_| u64::try_from(self.state.metrics.connections.get()).unwrap_or_default());
        gauge(encoder, "leaving", "1 if the balancer leaves.", left.is_some().into())?;
        gauge(encoder, "drain_connections", "Connections that are still to close while the balancer leaves.", connections)?;
        let seconds = left.unwrap_or_default().as_secs();
        gauge(encoder, "drain_seconds_left", "Seconds until connections that are left are cut off, while the balancer leaves.", seconds)
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    write(encoder, name, help, &ConstCounter::new(value))
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    write(encoder, name, help, &ConstGauge::new(value))
}

fn write(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn label(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Draining => "draining",
        State::Full => "full",
        State::Unwell => "unwell",
    }
}
