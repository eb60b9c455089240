//! The log, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts to log what the filter lets through. The filter was checked with the flags.
pub(crate) fn start(filter: &str) {
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
