//! Metrics of a server for Prometheus: its counters, and its state at each scrape.

mod counters;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use sociable_adapter::{MetricsSnapshot, Times, Usage};
use sociable_metrics::encode::{self, gauge, gauges, info};
use sociable_metrics::{Process, exposition};
use sociable_protocol::NodeTag;

use crate::actors::ActorKindReport;
use crate::metric_family::{self, MetricFamily};
use crate::server::Server;
use crate::stats::Stats;
use crate::thread::{ThreadState, ask_threads};

/// The `Content-Type` of [`Server::metrics`].
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The number of namespaces that are shown by name, those with the most sockets. Clients may invent more names than a scraper can store.
const MAX_NAMESPACES: usize = 100;

/// The name of all others together. No namespace can have it.
const OTHERS: &str = "(others)";

impl Server {
    /// Returns all metrics of this node and its process, as OpenMetrics ([`METRICS_TYPE`]).
    ///
    /// Names begin with `sociable_`, those of the process with `process_`. A worker thread that does not answer within a second is left out.
    ///
    /// ```
    /// use actix_web::{App, HttpResponse, web};
    /// use sociable::{METRICS_TYPE, Server};
    ///
    /// let io = Server::builder().build()?;
    /// let (service, metered) = (io.service(), io.clone());
    /// let metrics = web::get().to(move || {
    ///     let io = metered.clone();
    ///     async move { HttpResponse::Ok().content_type(METRICS_TYPE).body(io.metrics().await) }
    /// });
    /// let app = App::new().service(service).route("/metrics", metrics);
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub async fn metrics(&self) -> String {
        let asked = Instant::now();
        let threads = ask_threads(self.inner.engine(), move |thread| ThreadReport::of(thread, asked));
        let process = tokio::task::spawn_blocking(Process::read);
        let (threads, actors, process) = tokio::join!(threads, self.actors(), process);
        let snapshot = Snapshot {
            tag: self.inner.engine().tag(),
            stats: self.stats(),
            namespaces: self.population(),
            threads,
            actors: actors.kinds,
            connected: self.is_connected(),
            persists: self.is_keeping(),
            nodes: self.server_count().await,
            draining: self.inner.engine().is_draining(),
            memory: self.inner.engine().memory().used(),
            unread: self.inner.engine().memory().unread(),
            connections: self.inner.engine().open_connections(),
            history: self.recovery_usage(),
            adapter: self.inner.adapter.metrics(),
            added: metric_family::merged(self.inner.metric_sources.read().clone().iter().flat_map(|source| source())),
        };
        let mut registry = Registry::with_prefix("sociable");
        registry.register_collector(Box::new(snapshot));
        exposition(&registry, process.unwrap_or_default(), env!("CARGO_PKG_VERSION")).unwrap_or_else(|error| {
            tracing::error!(target: "sociable::server", %error, "metrics were not written");
            String::new()
        })
    }

    /// Adds metrics of the application to [`metrics`](Self::metrics). Each call of that asks `source`, which must not block.
    ///
    /// Samples of several sources with the same name and labels are added up. A name must not be one of the server's own.
    pub fn add_metrics(&self, source: impl Fn() -> Vec<MetricFamily> + Send + Sync + 'static) -> &Self {
        self.inner.metric_sources.write().push(Arc::new(source));
        self
    }

    /// The namespaces with their sockets and rooms.
    fn population(&self) -> Vec<(String, usize, usize)> {
        let all = self.namespaces();
        let mut population: Vec<_> = all.iter().map(|of| (of.name().to_string(), of.socket_count(), of.room_count())).collect();
        population.sort_by(|(a, a_sockets, _), (b, b_sockets, _)| b_sockets.cmp(a_sockets).then_with(|| a.cmp(b)));
        if population.len() > MAX_NAMESPACES {
            let others = population.split_off(MAX_NAMESPACES);
            let (sockets, rooms) = others.iter().fold((0, 0), |(sockets, rooms), other| (sockets + other.1, rooms + other.2));
            population.push((OTHERS.into(), sockets, rooms));
        }
        population
    }
}

/// A worker thread at one scrape.
#[derive(Debug)]
struct ThreadReport {
    index: usize,
    /// How long the question waited in the thread's inbox.
    waited: Duration,
    /// Bytes in the outboxes of its clients, and in the largest of them.
    outbox_bytes: usize,
    largest_outbox: usize,
    lag: Times,
    acks: Times,
}

impl ThreadReport {
    fn of(thread: &ThreadState, asked: Instant) -> Self {
        let worker = &thread.worker;
        let mut report = Self {
            index: worker.index(),
            waited: asked.elapsed(),
            outbox_bytes: 0,
            largest_outbox: 0,
            lag: worker.lag(),
            acks: thread.acks.times(),
        };
        for session in worker.sessions() {
            let bytes = session.outbox_cost();
            report.outbox_bytes += bytes;
            report.largest_outbox = report.largest_outbox.max(bytes);
        }
        report
    }
}

/// The node at one scrape.
#[derive(Debug)]
struct Snapshot {
    tag: NodeTag,
    stats: Stats,
    namespaces: Vec<(String, usize, usize)>,
    threads: Vec<ThreadReport>,
    actors: Vec<ActorKindReport>,
    connected: bool,
    persists: bool,
    nodes: usize,
    draining: bool,
    memory: usize,
    unread: usize,
    connections: usize,
    history: Usage,
    adapter: MetricsSnapshot,
    added: Vec<MetricFamily>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        counters::counters(encoder, &self.stats)?;
        self.state(encoder)?;
        self.population(encoder)?;
        self.threads(encoder)?;
        self.actors(encoder)?;
        self.history(encoder)?;
        self.adapter(encoder)?;
        metric_family::encode(&self.added, encoder)
    }
}

impl Snapshot {
    /// Sessions, connections and memory, and the node as a member of its cluster.
    fn state(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Stats { engine, .. } = &self.stats;
        let sessions = [("polling", engine.sessions - engine.websockets), ("websocket", engine.websockets)];
        gauges(encoder, "sessions", "Open sessions, by transport.", "transport", sessions)?;
        gauge(encoder, "session_memory_bytes", "Memory charged to sessions.", self.memory as u64)?;
        gauge(encoder, "unread_bytes", "Bytes in the outboxes of slow clients.", self.unread as u64)?;
        gauge(encoder, "connections", "Open connections, where `Serve` serves.", self.connections as u64)?;
        gauge(encoder, "nodes", "Live nodes of the cluster, this one included.", self.nodes as u64)?;
        let help = "1 while the other nodes can be reached. A single node is always connected.";
        gauge(encoder, "cluster_connected", help, self.connected.into())?;
        let help = "1 while the history accepts events. 0 while a shared store refuses them.";
        gauge(encoder, "history_writable", help, self.persists.into())?;
        gauge(encoder, "draining", "1 while the node drains.", self.draining.into())?;
        let help = "Tag in the ids that the node makes; the value is 1.";
        info(encoder, "node_info", help, &[("tag", self.tag.as_str())])
    }

    /// Sockets and rooms by namespace. Kubernetes gives `namespace` to all series of a pod, so the label has the name of the protocol's field.
    fn population(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sockets = self.namespaces.iter().map(|(name, sockets, _)| (&**name, *sockets as u64));
        gauges(encoder, "sockets", "Sockets, by namespace. Those that are joining count.", "nsp", sockets)?;
        let rooms = self.namespaces.iter().map(|(name, _, rooms)| (&**name, *rooms as u64));
        gauges(encoder, "rooms", "Rooms with members on this node, by namespace. A socket's own room does not count.", "nsp", rooms)
    }

    /// Outboxes and worker threads.
    fn threads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let outbox: usize = self.threads.iter().map(|thread| thread.outbox_bytes).sum();
        gauge(encoder, "outbox_bytes", "Memory of frames that wait for clients.", outbox as u64)?;
        let largest = self.threads.iter().map(|thread| thread.largest_outbox).max().unwrap_or_default();
        gauge(encoder, "largest_outbox_bytes", "Memory of frames that wait for the client with the largest outbox.", largest as u64)?;

        let help = "Time that the question of this scrape waited for the worker.";
        let mut family = encoder.encode_descriptor("worker_inbox_wait", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for thread in &self.threads {
            ConstGauge::new(thread.waited.as_secs_f64()).encode(family.encode_family(&[("worker", thread.index)])?)?;
        }
        let help = "Lateness of timers of the worker, measured four times a second.";
        let mut family = encoder.encode_descriptor("worker_lag", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for thread in &self.threads {
            histogram(family.encode_family(&[("worker", thread.index)])?, &thread.lag)?;
        }
        let help = "Time from an emit to the client's acknowledgement.";
        let mut family = encoder.encode_descriptor("ack_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for thread in &self.threads {
            histogram(family.encode_family(&[("worker", thread.index)])?, &thread.acks)?;
        }
        Ok(())
    }

    /// Actors by kind.
    fn actors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let by_kind = |figure: fn(&ActorKindReport) -> u64| self.actors.iter().map(move |of| (of.kind, figure(of)));
        gauges(encoder, "actors", "Live actors, by kind.", "kind", by_kind(|of| of.alive as u64))?;
        encode::counters(encoder, "actor_deaths", "Actors that died of a panic, by kind.", "kind", by_kind(|of| of.deaths))?;
        encode::counters(encoder, "actor_restarts", "Actors restarted by their supervisor, by kind.", "kind", by_kind(|of| of.restarts))
    }

    /// The history in the memory of this node.
    fn history(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauge(encoder, "history_events", "Events in memory for clients that may return.", self.history.events as u64)?;
        gauge(encoder, "history_sessions", "Sessions in memory of clients that may return.", self.history.sessions as u64)?;
        gauge(encoder, "history_bytes", "Memory of these events and sessions.", self.history.bytes as u64)
    }

    /// The way to the other nodes.
    fn adapter(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for samples in self.adapter.counters.chunk_by(|a, b| a.name == b.name) {
            let name = format!("adapter_{}", samples[0].name);
            let mut family = encoder.encode_descriptor(&name, samples[0].help, None, MetricType::Counter)?;
            for sample in samples {
                let value = ConstCounter::new(sample.value);
                match sample.label {
                    Some(label) => value.encode(family.encode_family(&[label])?)?,
                    None => value.encode(family.encode_family::<[(&str, &str); 0]>(&[])?)?,
                }
            }
        }
        if self.adapter.latencies.is_empty() {
            return Ok(());
        }
        let help = "Time of an operation between nodes: a ping of the bus, a request to other nodes, the persisting of an event.";
        let mut family = encoder.encode_descriptor("adapter_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (operation, times) in &self.adapter.latencies {
            histogram(family.encode_family(&[("operation", *operation)])?, times)?;
        }
        Ok(())
    }
}

fn histogram(mut encoder: MetricEncoder<'_>, times: &Times) -> fmt::Result {
    let buckets: Vec<_> = times.buckets().collect();
    encoder.encode_histogram::<NoLabelSet>(times.sum(), times.count(), &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn added_metrics_are_written_once_for_each_name() {
        let io = Server::builder().build().unwrap();
        for room in ["a", "b"] {
            io.add_metrics(move || {
                let orders = MetricFamily::counter("orders", "Orders.").sample(&[("room", room), ("paid", "yes")], 2);
                vec![orders.sample(&[("room", "a"), ("paid", "yes")], 1), MetricFamily::gauge("open_orders", "Open.").sample(&[], 5)]
            });
        }
        let text = io.metrics().await;
        assert_eq!(text.matches("# TYPE sociable_orders counter").count(), 1, "{text}");
        assert!(text.contains("\nsociable_orders_total{room=\"a\",paid=\"yes\"} 4\n"), "{text}");
        assert!(text.contains("\nsociable_orders_total{room=\"b\",paid=\"yes\"} 2\n"), "{text}");
        assert!(text.contains("\nsociable_open_orders 10\n"), "{text}");
    }
}
