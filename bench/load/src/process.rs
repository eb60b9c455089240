//! CPU time and memory of the watched processes, from `/proc`. Elsewhere than on Linux all figures are zero.

use std::collections::VecDeque;
use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::param::{clock_ticks_per_second, page_size};

use crate::report::{ProcessReport, Report};

/// A process to watch: `PID`, or `NAME=PID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name in the report.
    pub name: String,
    /// The number of the process.
    pub id: u32,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, id) = text.split_once('=').unwrap_or(("server", text));
        let id = id.parse().map_err(|error| format!("cannot read the process id {id:?}: {error}"))?;
        Ok(Self { name: name.into(), id })
    }
}

/// The counters of one process. Times are in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    user: f64,
    system: f64,
    /// The time that its threads were ready to run, while others had the core.
    waited: f64,
    resident_bytes: u64,
    /// The most of its life.
    peak_bytes: u64,
}

impl Sample {
    /// Reads the counters; they are zero for a process that has ended.
    fn of(process: &str) -> Self {
        Self::read(process).unwrap_or_default()
    }

    fn read(process: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may have spaces, so fields are counted from its closing bracket.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |at: usize| Some(fields.get(at)?.parse::<u64>().ok()? as f64 / clock_ticks_per_second() as f64);
        let statm = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        let resident_bytes = pages * page_size() as u64;
        let peak_bytes = peak(process).unwrap_or(resident_bytes);
        Some(Self { user: seconds(11)?, system: seconds(12)?, waited: waited(process), resident_bytes, peak_bytes })
    }

    fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// Returns the most bytes that were resident.
fn peak(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Returns the seconds that all threads of a process have waited for a core.
fn waited(process: &str) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').nth(1)?.parse().ok()
    };
    threads.filter_map(of_thread).sum::<u64>() as f64 / 1e9
}

/// Returns the seconds that all cores were busy, and those that the hypervisor took.
fn machine() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect();
    // user, nice, system, idle, waiting for I/O, interrupts, soft interrupts, stolen
    let [user, nice, system, _, _, interrupts, soft, stolen, ..] = ticks[..] else { return (0.0, 0.0) };
    let second = clock_ticks_per_second() as f64;
    ((user + nice + system + interrupts + soft) / second, stolen / second)
}

/// The counters of all watched processes, the generator and the machine at one instant.
#[derive(Debug)]
pub(crate) struct Snapshot {
    taken: Instant,
    machine: (f64, f64),
    own: Sample,
    servers: Vec<Sample>,
}

impl Snapshot {
    pub(crate) fn take(targets: &[Target]) -> Self {
        let servers = targets.iter().map(|target| Sample::of(&target.id.to_string())).collect();
        Self { taken: Instant::now(), machine: machine(), own: Sample::of("self"), servers }
    }

    /// Forgets the process of this name: its successor starts from nothing.
    pub(crate) fn restart(&mut self, targets: &[Target], name: &str) {
        for (target, server) in targets.iter().zip(&mut self.servers) {
            if target.name == name {
                *server = Sample::default();
            }
        }
    }

    /// Writes the CPU times between the two snapshots to the report, for each of its units.
    pub(crate) fn report_cpu(&self, later: &Self, targets: &[Target], report: &mut Report) {
        let seconds = (later.taken - self.taken).as_secs_f64();
        let units = report.units;
        let per_unit = |cpu: f64| (units > 0).then(|| round(cpu * 1e6 / units as f64, 3));
        let of = |figure: fn(&Sample) -> f64| -> f64 {
            self.servers.iter().zip(&later.servers).map(|(before, after)| figure(after) - figure(before)).sum()
        };
        let (cpu, own) = (of(Sample::cpu), later.own.cpu() - self.own.cpu());
        report.seconds = round(seconds, 3);
        report.per_second = round(units as f64 / seconds, 1);
        report.cpu_us = per_unit(cpu);
        report.client_cpu_us = per_unit(own);
        report.server_demand = round((cpu + of(|sample| sample.waited)) / seconds, 3);
        report.client_demand = round((own + later.own.waited - self.own.waited) / seconds, 3);
        report.other_cores = round((later.machine.0 - self.machine.0 - cpu - own) / seconds, 3);
        report.stolen_cores = round((later.machine.1 - self.machine.1) / seconds, 3);
        let samples = self.servers.iter().zip(&later.servers);
        let process = |(target, (before, after)): (&Target, (&Sample, &Sample))| ProcessReport {
            name: target.name.clone(),
            cpu_us: per_unit(after.cpu() - before.cpu()),
            system_us: per_unit(after.system - before.system),
            bytes_per_connection: None,
            bytes: before.resident_bytes,
            peak_bytes: after.peak_bytes,
            peak_cores: None,
        };
        report.processes = targets.iter().zip(samples).map(process).collect();
    }

    /// Writes the growth of resident memory to the report, for each connection.
    pub(crate) fn report_memory(&self, later: &Self, report: &mut Report) {
        let connections = report.clients as f64;
        let grown = |before: &Sample, after: &Sample| (after.resident_bytes as f64 - before.resident_bytes as f64) / connections;
        let grown: Vec<f64> = self.servers.iter().zip(&later.servers).map(|(before, after)| grown(before, after)).collect();
        for (process, bytes) in report.processes.iter_mut().zip(&grown) {
            process.bytes_per_connection = Some(bytes.round());
        }
        report.bytes_per_connection = Some(grown.iter().sum::<f64>().round());
    }
}

/// The most cores that each process kept busy for a second.
#[derive(Debug, Default)]
pub(crate) struct Peaks {
    /// The CPU times of the last second.
    samples: VecDeque<(Instant, Vec<f64>)>,
    cores: Vec<f64>,
}

impl Peaks {
    /// Looks at the processes. Call it several times a second.
    pub(crate) fn sample(&mut self, targets: &[Target]) {
        let now = Instant::now();
        let cpu: Vec<f64> = targets.iter().map(|target| Sample::of(&target.id.to_string()).cpu()).collect();
        self.cores.resize(targets.len(), 0.0);
        if let Some((then, earlier)) = self.samples.front()
            && now - *then >= Duration::from_secs(1)
        {
            let seconds = (now - *then).as_secs_f64();
            for ((peak, cpu), earlier) in self.cores.iter_mut().zip(&cpu).zip(earlier) {
                *peak = peak.max((cpu - earlier) / seconds);
            }
            self.samples.pop_front();
        }
        self.samples.push_back((now, cpu));
    }

    /// Forgets the samples, after a process was replaced.
    pub(crate) fn restart(&mut self) {
        self.samples.clear();
    }

    /// Writes the peaks to the report.
    pub(crate) fn report(&self, report: &mut Report) {
        for (process, &cores) in report.processes.iter_mut().zip(&self.cores) {
            process.peak_cores = Some(round(cores, 2));
        }
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_read_with_and_without_a_name() {
        assert_eq!("12".parse(), Ok(Target { name: "server".into(), id: 12 }));
        assert_eq!("node2=13".parse(), Ok(Target { name: "node2".into(), id: 13 }));
        assert!("node=".parse::<Target>().is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_memory_and_time_are_read() {
        let own = Sample::read(&std::process::id().to_string()).unwrap();
        assert!(own.resident_bytes > 100_000 && own.peak_bytes >= own.resident_bytes, "{own:?}");
        assert!(machine().0 > 0.0);
        assert_eq!(Sample::of("0").resident_bytes, 0, "no process has this number");
    }
}
