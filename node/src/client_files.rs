//! The files of the official client, so that a page can load them from its own server.

use std::path::Path;

use sociable_engine::layer::{ServedFiles, ServedFilesError};

/// The files for browsers in the client's package.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// The text before the version in each script's first lines.
const BANNER: &str = "Socket.IO v";

/// Reads the files of the folder `dist` of the client's package.
pub(crate) fn read(folder: &Path) -> Result<ServedFiles, ServedFilesError> {
    ServedFiles::read(folder, &NAMES, version, "no file of socket.io-client found: give the folder `dist` of its package")
}

/// Returns the version that a script names in its first lines.
fn version(script: &[u8]) -> Option<&str> {
    let start = str::from_utf8(script).ok()?.lines().take(3).find_map(|line| line.split_once(BANNER))?.1;
    start.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_banner() {
        assert_eq!(version(b"/*!\n * Socket.IO v4.8.4\n * (c) 2014-2026\n */\n"), Some("4.8.4"));
        assert_eq!(version(b"{\"version\":3}"), None);
        assert_eq!(version(b"\xff"), None);
    }
}
