//! Rules about layers: the words of a crate, and the crates that it depends on.

use std::path::Path;

use super::Complaint;
use super::manifest::table;

/// The crates of the workspace, each with those that its `[dependencies]` may name.
const DEPENDENCIES: [(&str, &[&str]); 12] = [
    ("protocol", &[]),
    ("metrics", &[]),
    ("nats", &[]),
    ("engine", &["sociable-protocol"]),
    ("adapter", &["sociable-protocol", "sociable-nats"]),
    ("node", &["sociable-protocol", "sociable-engine", "sociable-metrics", "sociable-adapter"]),
    ("gateway", &["sociable", "sociable-nats"]),
    ("balancer", &["sociable-protocol", "sociable-metrics", "sociable-nats"]),
    ("programs/common", &["sociable-protocol", "sociable-nats"]),
    ("programs/node", &["sociable", "sociable-gateway", "sociable-program"]),
    ("programs/balancer", &["sociable-balancer-core", "sociable-program"]),
    ("programs/ctl", &["sociable-protocol", "sociable-nats", "sociable-adapter", "sociable-program"]),
];

/// Words of the Socket.IO layer, in lower case.
const SOCKET_IO: [&str; 2] = ["socket.io", "namespace"];

/// Sockets, files, threads and runtimes.
const IO: [&str; 5] = ["std::net", "std::fs", "std::thread", "tokio", "actix"];

/// A crate depends on the layers below it. Tests may use any crate.
pub(super) fn dependencies(path: &Path, text: &str) -> Vec<Complaint> {
    let Some((_, allowed)) = DEPENDENCIES.iter().find(|(folder, _)| path == Path::new(folder).join("Cargo.toml")) else {
        return vec![];
    };
    let names = table(text, "[dependencies]").map(|(line, entry)| (line, entry.split([' ', '=', '.']).next().unwrap_or_default()));
    let refused = names.filter(|(_, name)| name.starts_with("sociable") && !allowed.contains(name));
    refused.map(|(line, name)| Complaint::new(line, format!("this crate lies below `{name}`: move the code up, or take a trait"))).collect()
}

/// The Engine.IO layer does not name Socket.IO, not even in comments.
pub(super) fn engine_names_no_socket_io(path: &Path, text: &str) -> Vec<Complaint> {
    if !path.starts_with("engine/src") {
        return vec![];
    }
    find(text, |line| SOCKET_IO.into_iter().filter(|word| line.to_lowercase().contains(word)).collect(), "belongs to the layer above")
}

/// Checks that the crate of the formats does no I/O, and uses no runtime.
pub(super) fn protocol_does_no_io(path: &Path, text: &str) -> Vec<Complaint> {
    if !path.starts_with("protocol/src") {
        return vec![];
    }
    find(text, |line| IO.into_iter().filter(|module| uses(line, module)).collect(), "does I/O: `protocol` has formats only")
}

/// Returns true if a line names the module, alone or in a group such as `std::{fs, io}`.
fn uses(line: &str, module: &str) -> bool {
    let in_group = |member: &str| {
        let (_, group) = line.split_once("std::{")?;
        group.split([',', '}', ':']).any(|it| it.trim() == member).then_some(())
    };
    line.contains(module) || module.strip_prefix("std::").and_then(in_group).is_some()
}

/// A complaint for each word that is found in a line.
fn find(text: &str, words: impl Fn(&str) -> Vec<&'static str>, why: &str) -> Vec<Complaint> {
    let lines = text.lines().enumerate();
    lines.flat_map(|(i, line)| words(line).into_iter().map(move |word| Complaint::new(i + 1, format!("`{word}` {why}")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(complaints: &[Complaint]) -> Vec<usize> {
        complaints.iter().map(|it| it.line).collect()
    }

    #[test]
    fn crate_depends_on_the_layers_below_it() {
        let text = "[dependencies]\nbytes = \"1\"\nsociable.workspace = true\nsociable-protocol.workspace = true\n\n[dev-dependencies]\nsociable-nats.workspace = true\n";
        assert_eq!(lines(&dependencies(Path::new("engine/Cargo.toml"), text)), [3]);
        assert_eq!(lines(&dependencies(Path::new("protocol/Cargo.toml"), text)), [3, 4]);
        assert_eq!(dependencies(Path::new("tests/Cargo.toml"), text), []);
        let optional = "[dependencies]\nsociable-nats = { workspace = true, optional = true }\n";
        assert_eq!(dependencies(Path::new("adapter/Cargo.toml"), optional), []);
        assert_eq!(lines(&dependencies(Path::new("node/Cargo.toml"), optional)), [2]);
    }

    #[test]
    fn engine_does_not_name_socket_io() {
        let text = "//! A Socket.IO server.\ntarget: \"sociable::session\"\nlet Namespaces = 1;\n// https://socket.io/docs\n";
        assert_eq!(lines(&engine_names_no_socket_io(Path::new("engine/src/state.rs"), text)), [1, 3, 4]);
        assert_eq!(engine_names_no_socket_io(Path::new("node/src/state.rs"), text), []);
        assert_eq!(engine_names_no_socket_io(Path::new("engine/src/state.rs"), "//! An Engine.IO server of `sociable`.\n"), []);
    }

    #[test]
    fn protocol_uses_no_io_and_no_runtime() {
        let text = "use std::fmt;\nuse std::net::TcpStream;\nuse std::{fs, io};\nuse std::{io::Read, thread::spawn};\ntokio::spawn(x);\n";
        assert_eq!(lines(&protocol_does_no_io(Path::new("protocol/src/health.rs"), text)), [2, 3, 4, 5]);
        assert_eq!(protocol_does_no_io(Path::new("nats/src/connect.rs"), text), []);
        assert_eq!(protocol_does_no_io(Path::new("protocol/src/id.rs"), "use std::{fmt, str};\n"), []);
    }
}
