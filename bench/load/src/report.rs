//! The figures of a run.

use serde::Serialize;

/// The thing that a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A client that was connected to the namespace `/`.
    Connection,
    /// A message and its answer.
    RoundTrip,
    /// A broadcast that reached one member of its room.
    Delivery,
}

/// The figures of a run. CPU time and memory are those of the watched processes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The clients.
    pub clients: usize,
    /// The thing that was counted.
    pub unit: Unit,
    /// The units that were completed in the measured time.
    pub units: u64,
    /// The measured time in seconds.
    pub seconds: f64,
    /// The units for each second.
    pub per_second: f64,
    /// CPU time of all watched processes in microseconds for each unit; nothing if no unit was completed.
    pub cpu_us: Option<f64>,
    /// The same of the generator.
    pub client_cpu_us: Option<f64>,
    /// CPU time that the watched processes used or waited for, for each second. At 1 a single core is saturated.
    pub server_demand: f64,
    /// The same of the generator.
    pub client_demand: f64,
    /// The cores that were busy with other programs.
    pub other_cores: f64,
    /// The cores that the hypervisor took.
    pub stolen_cores: f64,
    /// Each watched process by itself.
    pub processes: Vec<ProcessReport>,
    /// Resident bytes for each idle connection; nothing in other scenarios.
    pub bytes_per_connection: Option<f64>,
    /// Latencies; of the publisher's own node in a cluster.
    pub latency: Option<Latency>,
    /// Latencies on all other nodes of a cluster.
    pub latency_across: Option<Latency>,
    /// The round trips a second that the server reached before a paced load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_per_second: Option<f64>,
    /// The clients that came back; nothing in other scenarios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returns: Option<Returns>,
    /// All messages that had to arrive in the whole run.
    pub expected: u64,
    /// All messages that arrived.
    pub received: u64,
    /// The messages that did not arrive in time.
    pub lost: u64,
    /// The messages with a wrong content.
    pub wrong: u64,
    /// The broadcasts that a client got twice.
    pub duplicates: u64,
    /// The broadcasts of one publisher that overtook another.
    pub disorder: u64,
    /// The closed loops that were started again, because nothing arrived.
    pub stalls: u64,
    /// The slow clients that the server disconnected. They are no fault.
    pub slow_closed: u64,
    /// The clients that were disconnected.
    pub disconnects: u64,
    /// The packets that break the protocol.
    pub protocol_errors: u64,
    /// The last cause of a disconnect or protocol error.
    pub last_error: Option<String>,
}

impl Report {
    /// Returns whether every message arrived, once and unchanged, and every client stayed.
    ///
    /// Order is not part of the answer: [`Report::disorder`] counts it.
    pub fn is_complete(&self) -> bool {
        self.lost + self.wrong + self.duplicates + self.disconnects + self.protocol_errors == 0
    }
}

/// The figures of one watched process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessReport {
    /// The name that the caller gave it.
    pub name: String,
    /// CPU time in microseconds for each unit.
    pub cpu_us: Option<f64>,
    /// The part of it in the kernel.
    pub system_us: Option<f64>,
    /// Resident bytes for each idle connection; nothing in other scenarios.
    pub bytes_per_connection: Option<f64>,
    /// Resident bytes at the beginning of the measured time.
    pub bytes: u64,
    /// The most resident bytes of its life.
    pub peak_bytes: u64,
    /// The most cores that it kept busy for a second; nothing in most scenarios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_cores: Option<f64>,
}

/// Latencies in microseconds, from the client's send to its receipt. A message of a rate counts from the time at which it had to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The percentile of 99.9.
    pub p999_us: f64,
    /// The highest.
    pub max_us: f64,
}

/// The connections that were lost, and the clients that came back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Returns {
    /// The connections that clients or the server ended.
    pub losses: u64,
    /// The attempts to connect again.
    pub attempts: u64,
    /// The attempts while the client had no network.
    pub unreachable: u64,
    /// The attempts while nobody listened.
    pub refused: u64,
    /// The attempts that a server or a load balancer answered by no session, or not in time.
    pub failed: u64,
    /// The first questions of sessions that were not answered in time, and asked again.
    pub unanswered: u64,
    /// The clients that came back as the sockets that they were.
    pub recovered: u64,
    /// The clients that came back as new ones.
    pub fresh: u64,
    /// The clients that are not back at the end.
    pub absent: u64,
    /// The messages of the times in which clients were new ones.
    pub missed: u64,
    /// The percentage of messages that each client got exactly once.
    pub exactly_once: f64,
    /// The times from a loss until the client is served again.
    pub away: Option<Spread>,
    /// The times from a loss to the first attempt that met a listener: the client's own back-off, and the server's absence.
    pub backoff: Option<Spread>,
    /// The times from the signal to a server until its clients are served again.
    pub back: Option<Spread>,
}

/// Times in milliseconds, of all clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The time of half of them.
    pub p50_ms: Option<f64>,
    /// The time of 99 % of them; nothing if fewer are through.
    pub p99_ms: Option<f64>,
    /// The time of all of them; nothing if fewer are through.
    pub all_ms: Option<f64>,
}
