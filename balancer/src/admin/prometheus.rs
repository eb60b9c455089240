//! Metrics of a balancer for Prometheus: its counters, and its state at each scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use sociable_metrics::encode::{counter, gauge, gauges};
use sociable_metrics::{Process, exposition};

use crate::discovery::DiscoveryCounters;
use crate::state::BalancerState;
use crate::table::{Load, Node, State};
use crate::tls::Tls;

/// The metrics of a balancer.
#[derive(Debug)]
pub(crate) struct Exporter(Registry);

impl Exporter {
    pub(crate) fn new(state: Arc<BalancerState>, discovery: Arc<DiscoveryCounters>, tls: Option<Arc<Tls>>) -> Self {
        let mut registry = Registry::with_prefix("sociable_balancer");
        state.metrics.register(&mut registry);
        registry.register_collector(Box::new(ScrapeCollector { state, discovery, tls }));
        Self(registry)
    }

    /// Returns the metrics as OpenMetrics.
    pub(crate) async fn text(&self) -> Result<String, fmt::Error> {
        let process = tokio::task::spawn_blocking(Process::read).await.unwrap_or_default();
        exposition(&self.0, process, env!("CARGO_PKG_VERSION"))
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
        counter(&mut encoder, "certificate_reloads", "Reloads of certificates.", loaded)?;
        counter(&mut encoder, "certificate_reload_failures", "Reloads of certificates that were invalid.", failed)?;
        for (name, help, value) in self.discovery.samples() {
            counter(&mut encoder, &format!("discovery_{name}"), help, value)?;
        }
        Ok(())
    }
}

const STATES: [State; 4] = [State::Ready, State::Draining, State::Full, State::Unwell];

type LoadGauge = fn(&Load) -> usize;

const LOAD_GAUGES: [(&str, &str, LoadGauge); 3] = [
    ("node_sessions", "Sessions of the node: as it reported, and placed since.", Load::sessions),
    ("node_tunnels", "WebSockets between this balancer and the node.", Load::tunnels),
    ("node_requests", "Requests of this balancer that the node has not answered yet.", Load::requests),
];

/// The processes of one node, the newest first. A node that restarted has two until the old process expires.
type Processes = Vec<Arc<Node>>;

impl ScrapeCollector {
    /// The nodes by name and address, which a restart does not change.
    fn nodes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let table = self.state.table.load();
        let count = |state: State| table.nodes().iter().filter(|node| node.state == state).count() as u64;
        gauges(encoder, "nodes", "Nodes in the table, by state.", "state", STATES.map(|state| (label(state), count(state))))?;

        let mut nodes: BTreeMap<(&str, SocketAddr), Processes> = BTreeMap::new();
        for node in table.nodes() {
            nodes.entry((&node.name, node.address)).or_default().push(Arc::clone(node));
        }
        for processes in nodes.values_mut() {
            processes.sort_by_key(|node| std::cmp::Reverse(node.since));
        }
        // Each has at least one.
        let nodes: Vec<_> =
            nodes.iter().map(|((name, address), processes)| (*name, address.to_string(), &processes[0], processes)).collect();

        let help = "1 for the state of the node, 0 for the others.";
        let mut family = encoder.encode_descriptor("node_state", help, None, MetricType::Gauge)?;
        for (name, address, newest, _) in &nodes {
            for state in STATES {
                let labels = [("node", *name), ("address", address), ("state", label(state))];
                ConstGauge::new(u64::from(newest.state == state)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Tag in the ids that the node makes, which changes with each start; the value is 1.";
        let mut family = encoder.encode_descriptor("node_info", help, None, MetricType::Gauge)?;
        for (name, address, newest, _) in &nodes {
            let labels = [("node", *name), ("address", address), ("tag", newest.tag.as_str())];
            ConstGauge::new(1_u64).encode(family.encode_family(&labels)?)?;
        }
        for (name, help, figure) in LOAD_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (node, address, _, processes) in &nodes {
                let sum: usize = processes.iter().map(|process| figure(&process.load)).sum();
                ConstGauge::new(sum as u64).encode(family.encode_family(&[("node", *node), ("address", address)])?)?;
            }
        }
        // Of the newest process alone: a sum would fall when the old one expires.
        let help = "Sessions placed at the node, also if it then could not be reached.";
        let mut family = encoder.encode_descriptor("node_placements", help, None, MetricType::Counter)?;
        for (name, address, newest, _) in &nodes {
            let labels = [("node", *name), ("address", address)];
            ConstCounter::new(newest.load.placements()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// The drain of the balancer. Without one there is no deadline.
    fn drain(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let deadline = self.state.drain_deadline();
        gauge(encoder, "draining", "1 while the balancer drains.", deadline.is_some().into())?;
        let Some(deadline) = deadline.and_then(|deadline| deadline.duration_since(UNIX_EPOCH).ok()) else { return Ok(()) };
        let help = "Unix time at which the drain cuts off the connections that are left.";
        let metric = encoder.encode_descriptor("drain_deadline_timestamp", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        ConstGauge::new(deadline.as_secs_f64()).encode(metric)
    }
}

fn label(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Draining => "draining",
        State::Full => "full",
        State::Unwell => "unwell",
    }
}
