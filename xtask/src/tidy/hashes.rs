//! The rule that maps whose keys others choose hash by a seed.

use std::path::Path;

use super::{Complaint, has_extension};

/// Hashes without a seed. An attacker can compute keys that collide.
const UNSEEDED: [&str; 3] = ["rustc_hash", "FxHash", "BuildHasherDefault"];

/// In crates that serve clients, `maps.rs` alone names a hash without a seed, and only for keys of this process.
pub(super) fn seeded(path: &Path, text: &str) -> Vec<Complaint> {
    let serves =
        ["protocol/src", "engine/src", "nats/src", "adapter/src", "node/src", "balancer/src"].iter().any(|folder| path.starts_with(folder));
    if !serves || !has_extension(path, "rs") || path.file_name().is_some_and(|name| name == "maps.rs") {
        return vec![];
    }
    let mut complaints = vec![];
    for (i, line) in text.lines().enumerate() {
        for word in UNSEEDED.iter().filter(|&&word| line.contains(word)) {
            complaints.push(Complaint::new(i + 1, format!("`{word}` has no seed: use a map of `sociable_protocol::maps`")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseeded_hashes_are_found_in_served_crates() {
        let text = "use std::fmt;\nuse rustc_hash::FxHashMap;\n";
        let complaints = seeded(Path::new("node/src/rooms.rs"), text);
        assert_eq!(complaints.iter().map(|it| it.line).collect::<Vec<_>>(), [2, 2]);
        for excused in ["protocol/src/maps.rs", "bench/examples/lanes.rs", "tests/tests/hostile/rooms.rs", "node/src/rooms.md"] {
            assert_eq!(seeded(Path::new(excused), text), [], "{excused}");
        }
    }
}
