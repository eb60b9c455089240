//! What Prometheus is shown of a server: all that is counted, and how things stand when it asks.

use std::fmt;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use sociable_adapter::{MetricsSnapshot, Times, Usage};
use sociable_engine::Transport;

use crate::actors::ActorKindReport;
use crate::server::Server;
use crate::stats::Stats;
use crate::thread::{ThreadState, ask_threads};

/// The kind of text that [`Server::metrics`] gives: what `Content-Type` has to say.
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// So many namespaces are shown by name, those with the most sockets. Clients may make up more names than anybody can store.
const MAX_NAMESPACES: usize = 100;

/// The name of all others together. It is none that a namespace can have.
const OTHERS: &str = "(others)";

/// Counters that are told together, by the value of a label.
struct Family {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    /// The value of the label, and the counter in [`Stats`].
    parts: &'static [(&'static str, &'static str)],
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "events",
        help: "Events of clients, by what became of them: a count for each handler, or one if there is none or a middleware refused",
        label: "outcome",
        parts: &[
            ("handled", "events_handled"),
            ("unheard", "events_unheard"),
            ("refused", "events_refused"),
            ("bad_arguments", "bad_arguments"),
            ("failed", "handler_errors"),
            ("panicked", "handler_panics"),
        ],
    },
    Family {
        name: "sessions_closed",
        help: "Sessions that ended, by why",
        label: "cause",
        parts: &[
            ("transport_close", "transport_closes"),
            ("protocol_error", "protocol_errors"),
            ("ping_timeout", "ping_timeouts"),
            ("parse_error", "parse_errors"),
            ("forced_close", "forced_closes"),
            ("forced_server_close", "forced_server_closes"),
            ("slow_client", "slow_clients"),
            ("shutdown", "shutdown_closes"),
            ("session_failed", "sessions_failed"),
        ],
    },
    Family {
        name: "drops",
        help: "Packets that were dropped or refused, by why",
        label: "cause",
        parts: &[("volatile", "volatile_dropped"), ("inbox_full", "inbox_full")],
    },
    Family {
        name: "recoveries",
        help: "Clients that came back after their connection was lost, by what they found",
        label: "outcome",
        parts: &[("recovered", "recovered"), ("unknown", "recoveries_unknown"), ("incomplete", "recoveries_incomplete")],
    },
];

impl Server {
    /// All that is counted and measured on this node, as text for Prometheus (OpenMetrics, [`METRICS_TYPE`]). Every name begins with `sociable_`.
    ///
    /// All worker threads are asked, one that does not answer within a second is left out.
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
        let threads = ask_threads(self.inner.engine(), move |thread| Thread::of(thread, asked));
        let (threads, actors) = tokio::join!(threads, self.actors());
        let now = Now {
            stats: self.stats(),
            namespaces: self.population(),
            threads,
            actors: actors.kinds,
            connected: self.is_connected(),
            keeping: self.is_keeping(),
            servers: self.server_count().await,
            draining: self.inner.engine().is_draining(),
            memory: self.inner.engine().memory().used(),
            unread: self.inner.engine().memory().unread(),
            connections: self.inner.engine().open_connections(),
            kept: self.recovery_usage(),
            adapter: self.inner.adapter.metrics(),
        };
        let mut registry = Registry::with_prefix("sociable");
        registry.register_collector(Box::new(now));
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &registry) {
            tracing::error!(target: "sociable::server", %error, "the metrics can't be written");
        }
        text
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

/// How a worker thread is.
#[derive(Debug)]
struct Thread {
    index: usize,
    /// How long it took until it answered.
    answered: Duration,
    /// Sessions by their transport.
    polling: usize,
    websocket: usize,
    /// What waits for its clients, and for the one of them that has the most.
    outbox_bytes: usize,
    longest_outbox: usize,
    lag: Times,
    acks: Times,
}

impl Thread {
    fn of(thread: &ThreadState, asked: Instant) -> Self {
        let worker = &thread.worker;
        let mut report = Self {
            index: worker.index(),
            answered: asked.elapsed(),
            polling: 0,
            websocket: 0,
            outbox_bytes: 0,
            longest_outbox: 0,
            lag: worker.lag(),
            acks: thread.acks.times(),
        };
        for session in worker.sessions() {
            match session.transport() {
                Transport::Polling => report.polling += 1,
                Transport::WebSocket => report.websocket += 1,
            }
            let bytes = session.outbox_cost();
            report.outbox_bytes += bytes;
            report.longest_outbox = report.longest_outbox.max(bytes);
        }
        report
    }
}

/// What is told at one scrape.
#[derive(Debug)]
struct Now {
    stats: Stats,
    namespaces: Vec<(String, usize, usize)>,
    threads: Vec<Thread>,
    actors: Vec<ActorKindReport>,
    connected: bool,
    keeping: bool,
    servers: usize,
    draining: bool,
    memory: usize,
    unread: usize,
    connections: usize,
    kept: Usage,
    adapter: MetricsSnapshot,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.counters(encoder)?;
        self.state(encoder)?;
        self.population(encoder)?;
        self.threads(encoder)?;
        self.actors(encoder)?;
        self.kept(encoder)?;
        self.adapter(encoder)
    }
}

impl Now {
    /// All that only grows: what belongs together as one family, the rest by itself.
    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let value = |name: &str| self.stats.counters().find(|(known, _)| *known == name).map_or(0, |(_, value)| value);
        for Family { name, help, label, parts } in FAMILIES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (part, counter) in parts {
                ConstCounter::new(value(counter)).encode(family.encode_family(&[(label, *part)])?)?;
            }
        }
        for (name, value) in self.stats.counters() {
            if FAMILIES.iter().all(|family| family.parts.iter().all(|(_, counter)| *counter != name)) {
                let help = Stats::meaning(name).unwrap_or_default().trim_end_matches('.');
                write(encoder, name, help, &ConstCounter::new(value))?;
            }
        }
        Ok(())
    }

    /// How the node is.
    fn state(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauge(encoder, "sessions", "Sessions that are open", self.stats.sessions)?;
        gauge(encoder, "session_memory_bytes", "What sessions take of their memory", self.memory as u64)?;
        gauge(encoder, "unread_bytes", "What waits for clients that do not read now", self.unread as u64)?;
        gauge(encoder, "open_connections", "Connections that are open, where `Serve` serves", self.connections as u64)?;
        gauge(encoder, "nodes", "Nodes of the cluster that live, this one included", self.servers as u64)?;
        gauge(encoder, "connected", "0 while the other nodes can't be reached; always 1 on a node that is alone", self.connected.into())?;
        gauge(
            encoder,
            "keeping",
            "0 while the store that the nodes share refuses what it is given; always 1 without one",
            self.keeping.into(),
        )?;
        gauge(encoder, "draining", "1 from when the node is going", self.draining.into())
    }

    /// Who is where.
    fn population(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Figure = fn(&(String, usize, usize)) -> usize;
        let figures: [(&str, &str, Figure); 2] = [
            ("sockets", "Sockets of the namespace, those on their way in among them", |(_, sockets, _)| *sockets),
            ("rooms", "Rooms of the namespace that have members, but for those that bear the ids of sockets", |(_, _, rooms)| *rooms),
        ];
        for (name, help, figure) in figures {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for namespace in &self.namespaces {
                ConstGauge::new(figure(namespace) as u64).encode(family.encode_family(&[("namespace", &*namespace.0)])?)?;
            }
        }
        Ok(())
    }

    /// How the worker threads are.
    fn threads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sum = |figure: fn(&Thread) -> usize| self.threads.iter().map(figure).sum::<usize>() as u64;
        let help = "Sessions by what carries them";
        let mut family = encoder.encode_descriptor("transport_sessions", help, None, MetricType::Gauge)?;
        for (name, count) in [("polling", sum(|thread| thread.polling)), ("websocket", sum(|thread| thread.websocket))] {
            ConstGauge::new(count).encode(family.encode_family(&[("transport", name)])?)?;
        }
        let outbox = sum(|thread| thread.outbox_bytes);
        gauge(encoder, "outbox_bytes", "What waits to be sent to clients, with what it takes besides its bytes", outbox)?;
        let longest = self.threads.iter().map(|thread| thread.longest_outbox).max().unwrap_or_default();
        gauge(encoder, "outbox_longest_bytes", "What waits for the client for whom most waits", longest as u64)?;

        let help = "How long a call of another thread waited for this one, at this scrape";
        let mut family = encoder.encode_descriptor("worker_answered", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for thread in &self.threads {
            ConstGauge::new(thread.answered.as_secs_f64()).encode(family.encode_family(&[("worker", thread.index)])?)?;
        }
        let help = "How late a worker thread was with what was due, looked at four times a second";
        let mut family = encoder.encode_descriptor("worker_lag", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for thread in &self.threads {
            histogram(family.encode_family(&[("worker", thread.index)])?, &thread.lag)?;
        }
        let help = "How long clients took to acknowledge an event";
        let mut family = encoder.encode_descriptor("ack_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for thread in &self.threads {
            histogram(family.encode_family(&[("worker", thread.index)])?, &thread.acks)?;
        }
        Ok(())
    }

    /// The actors by their kind.
    fn actors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor("actors", "Actors that are alive, by kind", None, MetricType::Gauge)?;
        for of in &self.actors {
            ConstGauge::new(of.alive as u64).encode(family.encode_family(&[("kind", of.kind)])?)?;
        }
        type Figure = fn(&ActorKindReport) -> u64;
        let counters: [(&str, &str, Figure); 2] = [
            ("actor_deaths", "Actors that died of a panic, by kind", |of| of.deaths),
            ("actor_restarts", "Actors that their supervisor restarted, by kind", |of| of.restarts),
        ];
        for (name, help, figure) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for of in &self.actors {
                ConstCounter::new(figure(of)).encode(family.encode_family(&[("kind", of.kind)])?)?;
            }
        }
        Ok(())
    }

    /// What is kept for clients that may come back.
    fn kept(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauge(encoder, "kept_events", "Events that are kept in memory for clients that may come back", self.kept.events as u64)?;
        gauge(encoder, "kept_sessions", "Sessions that are kept in memory until their clients come back", self.kept.sessions as u64)?;
        gauge(encoder, "kept_bytes", "What both take", self.kept.bytes as u64)
    }

    /// The way to the other nodes.
    fn adapter(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, value) in &self.adapter.counters {
            let help = format!("On the way to other nodes: {}", name.replace('_', " "));
            write(encoder, &format!("adapter_{name}"), &help, &ConstCounter::new(*value))?;
        }
        if self.adapter.latencies.is_empty() {
            return Ok(());
        }
        let help =
            "How long it took to the server of the cluster and back, until other nodes had answered a question, until an event was kept";
        let mut family = encoder.encode_descriptor("adapter_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (name, times) in &self.adapter.latencies {
            histogram(family.encode_family(&[("of", *name)])?, times)?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    write(encoder, name, help, &ConstGauge::new(value))
}

fn write(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, &format!("{help}."), None, metric.metric_type())?)
}

fn histogram(mut encoder: MetricEncoder<'_>, times: &Times) -> fmt::Result {
    let buckets: Vec<_> = times.buckets().collect();
    encoder.encode_histogram::<NoLabelSet>(times.sum(), times.count(), &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_family_is_a_counter() {
        for (_, counter) in FAMILIES.iter().flat_map(|family| family.parts) {
            assert!(Stats::meaning(counter).is_some(), "{counter}");
        }
    }

    #[test]
    fn a_family_is_not_also_a_counter_of_its_own() {
        for family in &FAMILIES {
            assert!(Stats::meaning(family.name).is_none(), "{}", family.name);
        }
    }
}
