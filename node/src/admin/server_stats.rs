//! The sums that a node reports, from the counters that it has anyway.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use sociable_engine::CloseReason;

use crate::server::Server;
use crate::stats::Stats;

/// The namespaces that are listed: those with the most sockets.
const MAX_NAMESPACES: usize = 100;

/// The sums of this node, as `server_stats` has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerStats<'a> {
    server_id: &'a str,
    hostname: &'a str,
    pid: u32,
    /// Seconds.
    uptime: f64,
    clients_count: usize,
    polling_clients_count: u64,
    aggregated_events: Vec<AggregatedEvent>,
    namespaces: Vec<NamespaceSize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedEvent {
    timestamp: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_type: Option<&'static str>,
    count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamespaceSize {
    name: String,
    sockets_count: usize,
}

/// The identity of this node, and the counters of its last report.
pub(super) struct Reporter {
    server_id: String,
    hostname: String,
    started: Instant,
    last: Mutex<Option<Stats>>,
}

impl Reporter {
    pub(super) fn new(server_id: Option<&str>) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let server_id = server_id.map_or_else(|| hostname.clone(), str::to_owned);
        Self { server_id, hostname, started: Instant::now(), last: Mutex::default() }
    }

    /// Forgets the last report. The next one has no sums of the time before.
    pub(super) fn reset(&self) {
        *self.last.lock() = None;
    }

    /// Returns the sums since the last report.
    pub(super) fn report(&self, io: &Server) -> ServerStats<'_> {
        let stats = io.stats();
        let last = self.last.lock().replace(stats).unwrap_or(stats);
        ServerStats {
            server_id: &self.server_id,
            hostname: &self.hostname,
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            clients_count: io.session_count(),
            polling_clients_count: stats.sessions.saturating_sub(stats.websockets),
            aggregated_events: aggregate(&last, &stats),
            namespaces: namespaces(io),
        }
    }
}

fn aggregate(last: &Stats, stats: &Stats) -> Vec<AggregatedEvent> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let event = |kind, sub_type, of: fn(&Stats) -> u64| {
        let count = of(stats).saturating_sub(of(last));
        (count > 0).then_some(AggregatedEvent { timestamp: now * 1000, kind, sub_type, count })
    };
    let closed = |reason: CloseReason, of| event("rawDisconnection", Some(reason.as_str()), of);
    [
        event("rawConnection", None, |stats| stats.sessions_opened),
        closed(CloseReason::TransportClose, |stats| stats.transport_closes),
        closed(CloseReason::TransportError, |stats| stats.protocol_errors),
        closed(CloseReason::PingTimeout, |stats| stats.ping_timeouts),
        closed(CloseReason::ParseError, |stats| stats.parse_errors),
        closed(CloseReason::ForcedClose, |stats| stats.forced_closes),
        closed(CloseReason::ForcedServerClose, |stats| stats.forced_server_closes),
        closed(CloseReason::SlowClient, |stats| stats.slow_clients),
        closed(CloseReason::ServerShuttingDown, |stats| stats.shutdown_closes),
        closed(CloseReason::SessionFailed, |stats| stats.engine.sessions_failed),
        event("packetsIn", None, |stats| stats.messages_in),
        event("packetsOut", None, |stats| stats.messages_out),
        event("bytesIn", None, |stats| stats.bytes_in),
        event("bytesOut", None, |stats| stats.bytes_out),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn namespaces(io: &Server) -> Vec<NamespaceSize> {
    let all = io.namespaces();
    let mut sizes: Vec<_> = all.iter().map(|of| (of.socket_count(), of.name())).collect();
    sizes.sort_by(|(a, a_name), (b, b_name)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
    sizes.truncate(MAX_NAMESPACES);
    sizes.into_iter().map(|(sockets_count, name)| NamespaceSize { name: name.to_string(), sockets_count }).collect()
}
