//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    // Known when this was compiled: cargo builds it anew where the checkout has moved.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's output folder.
pub(crate) fn target() -> PathBuf {
    // `join` with an absolute path gives that path.
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The program that all Socket.IO suites drive.
pub(crate) fn acceptance_app() -> PathBuf {
    target().join("debug/examples/acceptance")
}

/// The node binary with its page.
pub(crate) fn node_binary() -> PathBuf {
    target().join("debug/sociable-node")
}

/// The program that tells what our parsers make of packets.
pub(crate) fn parse_program() -> PathBuf {
    target().join("debug/examples/parse")
}
