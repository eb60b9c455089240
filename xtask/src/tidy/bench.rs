//! The tables and the chart of the benchmarks.

use std::path::Path;

use super::Complaint;

/// The tables of the results and the chart are those of the recorded runs.
pub(super) fn follows(path: &Path, _: &str) -> Vec<Complaint> {
    crate::bench::check(path).map(|what| Complaint::new(1, what)).into_iter().collect()
}
