//! The lines of `bench/runs/`: a session, and the runs of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;
use super::scenario::Scenario;

/// The facts of all runs of a file: its first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The time at its end, in UTC.
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) machine: Machine,
    /// True if the server and the load generator had a core each.
    pub(super) is_pinned: bool,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) warmup: f64,
    pub(super) peers: Vec<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// A peer, and the version that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) version: String,
}

/// One run: a line after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) round: u32,
    pub(super) scenario: String,
    pub(super) peer: String,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// CPU time in microseconds for each unit, by the names of processes. All nodes of a cluster count as `node`.
    pub(super) cpu_us: BTreeMap<String, f64>,
    /// Resident bytes for each idle connection, by the names of processes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) bytes: BTreeMap<String, f64>,
    pub(super) per_second: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) p50_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) p99_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) p999_us: Option<f64>,
    /// The round trips a second that the server reached before a paced load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peak_per_second: Option<f64>,
    /// Memory and cores at their highest, by the names of processes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) peaks: BTreeMap<String, Peak>,
    /// The clients that came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) returns: Option<Returns>,
    /// The slow clients that the server disconnected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) slow_closed: Option<u64>,
    pub(super) server_demand: f64,
    pub(super) client_demand: f64,
    pub(super) other_cores: f64,
    pub(super) lost: u64,
    pub(super) wrong: u64,
    pub(super) duplicates: u64,
    pub(super) disorder: u64,
    pub(super) disconnects: u64,
}

/// The most that processes of a name used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Peak {
    /// Resident bytes at the beginning of the measured time.
    pub(super) start_bytes: u64,
    pub(super) bytes: u64,
    /// Cores that were busy for a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cores: Option<f64>,
}

/// The connections that were lost, and the clients that came back. The load generator explains each figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Returns {
    pub(super) losses: u64,
    pub(super) attempts: u64,
    pub(super) unreachable: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) unanswered: u64,
    pub(super) recovered: u64,
    pub(super) fresh: u64,
    pub(super) absent: u64,
    pub(super) missed: u64,
    pub(super) exactly_once: f64,
    pub(super) away: Option<Spread>,
    pub(super) backoff: Option<Spread>,
    pub(super) back: Option<Spread>,
}

/// Milliseconds until a share of the clients is through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) all_ms: Option<f64>,
}

impl Figures {
    /// Reads the report of the load generator.
    pub(super) fn read(json: &[u8]) -> serde_json::Result<Self> {
        let report: Value = serde_json::from_slice(json)?;
        let number = |name: &str| report[name].as_f64().unwrap_or_default();
        let count = |name: &str| report[name].as_u64().unwrap_or_default();
        let latency = |name: &str| report["latency"][name].as_f64();
        let mut figures = Self {
            per_second: number("per_second"),
            p50_us: latency("p50_us"),
            p99_us: latency("p99_us"),
            p999_us: latency("p999_us"),
            peak_per_second: report["peak_per_second"].as_f64(),
            returns: Option::deserialize(&report["returns"])?,
            slow_closed: report["slow_closed"].as_u64(),
            server_demand: number("server_demand"),
            client_demand: number("client_demand"),
            other_cores: number("other_cores"),
            lost: count("lost"),
            wrong: count("wrong") + count("protocol_errors"),
            duplicates: count("duplicates"),
            disorder: count("disorder"),
            disconnects: count("disconnects"),
            ..Self::default()
        };
        for process in report["processes"].as_array().into_iter().flatten() {
            let name = process["name"].as_str().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
            if let Some(cpu) = process["cpu_us"].as_f64() {
                add(&mut figures.cpu_us, name, cpu);
            }
            if let Some(bytes) = process["bytes_per_connection"].as_f64() {
                add(&mut figures.bytes, name, bytes);
            }
            let peak = figures.peaks.entry(name.to_owned()).or_default();
            peak.start_bytes += process["bytes"].as_u64().unwrap_or_default();
            peak.bytes += process["peak_bytes"].as_u64().unwrap_or_default();
            peak.cores = process["peak_cores"].as_f64().map(|cores| peak.cores.unwrap_or_default() + cores);
        }
        Ok(figures)
    }

    /// Returns the messages that did not arrive once and unchanged, and the clients that were disconnected.
    pub(super) fn faults(&self) -> u64 {
        self.lost + self.wrong + self.duplicates + self.disconnects
    }
}

fn add(sums: &mut BTreeMap<String, f64>, name: &str, value: f64) {
    let sum = sums.entry(name.to_owned()).or_default();
    // Sums of figures with three decimals have three.
    *sum = ((*sum + value) * 1_000.0).round() / 1_000.0;
}

impl Record {
    /// Returns the faults and the disorder of a peer in a scenario.
    pub(super) fn faults_of(&self, scenario: &Scenario, peer: &str) -> u64 {
        let runs = self.runs.iter().filter(|run| run.scenario == scenario.name && run.peer == peer);
        runs.map(|run| run.figures.faults() + run.figures.disorder).sum()
    }
}

impl Run {
    /// Returns the figures as a line for the terminal.
    pub(super) fn summary(&self) -> String {
        let cpu = self.figures.cpu_us.iter().map(|(name, cpu)| format!("{name} {cpu} µs"));
        let bytes = self.figures.bytes.iter().map(|(name, bytes)| format!("{name} {bytes} bytes"));
        let faults = Some(self.figures.faults()).filter(|&faults| faults > 0).map(|faults| format!("{faults} faults"));
        let returns = self.figures.returns.iter().map(|returns| {
            let Returns { losses, recovered, fresh, missed, exactly_once, .. } = returns;
            format!("{losses} losses, {recovered} recovered, {fresh} new, {missed} messages missed, {exactly_once} % once")
        });
        cpu.chain(bytes).chain(returns).chain(faults).collect::<Vec<_>>().join(", ")
    }
}

/// A session and its runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) session: Session,
    pub(super) runs: Vec<Run>,
}

impl Record {
    pub(super) fn to_lines(&self) -> String {
        let line = |value: serde_json::Result<String>| value.unwrap_or_else(|error| format!("\"{error}\"")) + "\n";
        let runs = self.runs.iter().map(|run| line(serde_json::to_string(run)));
        [line(serde_json::to_string(&self.session))].into_iter().chain(runs).collect()
    }

    /// Reads a file of `bench/runs/`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let broken = |at: usize, error: serde_json::Error| format!("line {}: {error}", at + 1);
        let (at, first) = lines.next().ok_or("the file is empty")?;
        let session = serde_json::from_str(first).map_err(|error| broken(at, error))?;
        let runs = lines.map(|(at, line)| serde_json::from_str(line).map_err(|error| broken(at, error)));
        Ok(Self { session, runs: runs.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"units":10,"per_second":5.0,"latency":{"p50_us":1.5,"p99_us":2.5,"max_us":3.0},"server_demand":0.5,
        "client_demand":0.4,"other_cores":0.1,"lost":1,"wrong":2,"protocol_errors":3,"duplicates":4,"disorder":5,"disconnects":6,
        "processes":[{"name":"broker","cpu_us":0.3,"bytes_per_connection":null},{"name":"node1","cpu_us":1.1},{"name":"node2","cpu_us":2.2}]}"#;

    #[test]
    fn report_is_read_with_all_nodes_as_one() {
        let figures = Figures::read(REPORT.as_bytes()).unwrap();
        let cpu: Vec<_> = figures.cpu_us.iter().map(|(name, cpu)| (name.as_str(), *cpu)).collect();
        assert_eq!(cpu, [("broker", 0.3), ("node", 3.3)]);
        assert_eq!((figures.wrong, figures.faults(), figures.p99_us), (5, 16, Some(2.5)));
        assert!(figures.bytes.is_empty());
    }

    #[test]
    fn record_is_read_as_it_was_written() {
        let figures = Figures::read(REPORT.as_bytes()).unwrap();
        let run = Run { round: 1, scenario: "cluster-rate".into(), peer: "sociable-nats".into(), figures };
        let machine = Machine { processor: "one".into(), cores: 2, system: "Linux".into() };
        let peers = vec![Version { name: "a".into(), title: "A".into(), version: "1".into() }];
        let session = Session {
            date: "today".into(),
            commit: "abc".into(),
            machine,
            is_pinned: true,
            rounds: 1,
            seconds: 2.0,
            warmup: 1.0,
            peers,
            note: None,
        };
        let record = Record { session, runs: vec![run] };
        assert_eq!(Record::read(&record.to_lines()), Ok(record.clone()));
        assert!(Record::read(&record.to_lines().replace("\"round\":1", "\"round\":x")).unwrap_err().starts_with("line 2: "));
        assert!(Record::read("").is_err());
    }
}
