//! Metrics that node and balancer share. Internal to Sociable: its API may change with any version.
//!
//! Layout, in reading order:
//!
//! * [`encode`]: helpers for collectors of `prometheus_client`.
//! * [`Process`]: CPU time, memory, threads and descriptors of this process, by the standard names `process_*`.
//! * [`exposition`]: the whole text of an endpoint, with `sociable_build_info`.
//! * [`MetricsFormat`]: OpenMetrics, or the text format of Prometheus, as the scraper asks.

pub mod encode;
mod exposition;
mod format;
mod process;

pub use self::exposition::exposition;
pub use self::format::MetricsFormat;
pub use self::process::Process;
