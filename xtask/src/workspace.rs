//! Paths of the workspace.

use std::env;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    // The path is compiled in: cargo builds this again where the checkout has moved.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's output folder.
pub(crate) fn target() -> PathBuf {
    // `join` with an absolute path gives that path.
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// An example, as it was built for tests.
pub(crate) fn example(name: &str) -> PathBuf {
    target().join("debug/examples").join(name)
}

/// The program that most Socket.IO suites drive.
pub(crate) fn acceptance_app() -> PathBuf {
    example("acceptance")
}

/// The server that the tests of the JavaScript client talk to.
pub(crate) fn client_suite_app() -> PathBuf {
    example("client_suite")
}

/// The node binary with its page.
pub(crate) fn node_binary() -> PathBuf {
    target().join("debug/sociable-node")
}

/// The command line of a cluster.
pub(crate) fn ctl_binary() -> PathBuf {
    target().join("debug/sociable-ctl")
}

/// The balancer.
pub(crate) fn balancer_binary() -> PathBuf {
    target().join("debug/sociable-balancer")
}

/// Returns the program that prints our parsers' results for packets.
pub(crate) fn parse_program() -> PathBuf {
    target().join("debug/examples/parse")
}

/// The reason for skipping suites of the Socket.IO repository.
pub(crate) const NO_REPOSITORY: &str = "SOCKETIO_REPO does not name a clone of socketio/socket.io";

/// A clone of the Socket.IO repository, if there is one. Commands run elsewhere, so its path does not depend on the current folder.
pub(crate) fn socketio_repository() -> Option<PathBuf> {
    let given = PathBuf::from(env::var_os("SOCKETIO_REPO")?);
    Some(std::path::absolute(&given).unwrap_or(given))
}
