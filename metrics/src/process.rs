//! Figures of this process, by the names that Prometheus recommends for all programs.
//!
//! Linux tells them in `/proc`. Elsewhere, and for a figure that can't be read, the series is absent.

use std::fmt;
use std::fs;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Ticks of a second in `/proc`: the ABI of Linux on all architectures that Rust has.
const TICKS: f64 = 100.0;

/// The start of this process, which does not change while its clock does.
static START: OnceLock<Option<f64>> = OnceLock::new();

/// Figures of this process at one moment. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    cpu_seconds: Option<f64>,
    start_seconds: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    threads: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

impl Process {
    /// Reads the figures. It blocks: up to some milliseconds on a Linux before 6.2 with many descriptors, where each is counted.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let start =
            || boot_seconds(&fs::read_to_string("/proc/stat").ok()?).zip(start_ticks(&stat)).map(|(boot, ticks)| boot + ticks / TICKS);
        Self {
            cpu_seconds: cpu_ticks(&stat).map(|ticks| ticks / TICKS),
            start_seconds: *START.get_or_init(start),
            resident_bytes: kibibytes(&status, "VmRSS:"),
            virtual_bytes: kibibytes(&status, "VmSize:"),
            threads: field(&status, "Threads:"),
            open_fds: open_fds(),
            max_fds: max_fds(&limits),
        }
    }
}

/// The numbered field of `/proc/self/stat`. The name of the program stands in parentheses and may have any character.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(number - 3)?.parse().ok()
}

fn cpu_ticks(stat: &str) -> Option<f64> {
    Some(stat_field(stat, 14)? + stat_field(stat, 15)?)
}

fn start_ticks(stat: &str) -> Option<f64> {
    stat_field(stat, 22)
}

/// When the system started, in seconds since 1970.
fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    field(status, name).map(|kibibytes| kibibytes * 1024)
}

/// The soft limit; none if it is unlimited.
fn max_fds(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<u64> {
    const LISTED: &str = "/proc/self/fd";
    // Linux 6.2 and later give the number as the size of the folder.
    match fs::metadata(LISTED).ok()?.len() {
        // The folder itself is open while it is read.
        0 => Some((fs::read_dir(LISTED).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(seconds) = self.cpu_seconds {
            let help = "User and system CPU time of the process.";
            ConstCounter::new(seconds).encode(encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?)?;
        }
        if let Some(seconds) = self.start_seconds {
            let help = "Start of the process, as Unix time.";
            ConstGauge::new(seconds).encode(encoder.encode_descriptor(
                "process_start_time",
                help,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?)?;
        }
        let gauges = [
            ("process_resident_memory", "Resident memory of the process.", Some(Unit::Bytes), self.resident_bytes),
            ("process_virtual_memory", "Virtual memory of the process.", Some(Unit::Bytes), self.virtual_bytes),
            ("process_threads", "Operating system threads of the process.", None, self.threads),
            ("process_open_fds", "Open file descriptors of the process.", None, self.open_fds),
            ("process_max_fds", "Limit on open file descriptors of the process.", None, self.max_fds),
        ];
        for (name, help, unit, value) in gauges {
            if let Some(value) = value {
                ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_parsed_when_the_program_has_a_hostile_name() {
        let stat = "7 (a) b ) S 1 7 7 0 -1 4194560 100 0 0 0 120 30 0 0 20 0 3 0 4500 1048576 256 18446744073709551615\n";
        assert_eq!((cpu_ticks(stat), start_ticks(stat)), (Some(150.0), Some(4500.0)));
        assert_eq!(boot_seconds("cpu  1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000.0));
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t      12 kB\nThreads:\t3\n";
        assert_eq!(
            (kibibytes(status, "VmSize:"), kibibytes(status, "VmRSS:"), field(status, "Threads:")),
            (Some(1 << 21), Some(12_288), Some(3))
        );
    }

    #[test]
    fn figures_are_absent_when_the_text_is_broken() {
        for text in ["", "7", "7 (x", "7 (x) S 1", "Max open files", "VmRSS:", "VmRSS: many kB", "btime soon"] {
            assert_eq!(
                (cpu_ticks(text), start_ticks(text), boot_seconds(text), kibibytes(text, "VmRSS:"), max_fds(text)),
                (None, None, None, None, None),
                "{text}"
            );
        }
        assert_eq!(max_fds("Max open files            unlimited            unlimited            files\n"), None);
        assert_eq!(max_fds("Limit  Soft\nMax open files            1024                 4096                 files\n"), Some(1024));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn figures_of_this_process_are_plausible() {
        let before = Process::read();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let start = before.start_seconds.unwrap();
        assert!(start <= now + 1.0 && start > now - 86_400.0, "{start} and {now}");
        assert!(before.resident_bytes.unwrap() <= before.virtual_bytes.unwrap());
        assert!(before.threads.unwrap() >= 1 && before.cpu_seconds.unwrap() >= 0.0);
        assert!(before.open_fds.unwrap() <= before.max_fds.unwrap_or(u64::MAX));
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process open and close files too.
        assert!(Process::read().open_fds.unwrap() >= before.open_fds.unwrap() + 150);
        drop(files);
        assert_eq!(Process::read().start_seconds, Some(start));
    }
}
