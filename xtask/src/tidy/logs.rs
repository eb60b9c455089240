//! The rule that logs show no whole session ids: a reader of one could act as its client.

use std::path::Path;

use super::{Complaint, has_extension};

/// Fields of log lines that hold the id of a session or socket.
const FIELDS: [&str; 3] = ["sid = %", " id = %", "pid = %"];

/// Checks that crates that serve clients shorten each such field.
pub(super) fn shortened(path: &Path, text: &str) -> Vec<Complaint> {
    let serves = ["engine/src", "nats/src", "adapter/src", "node/src", "balancer/src"].iter().any(|folder| path.starts_with(folder));
    if !serves || !has_extension(path, "rs") {
        return vec![];
    }
    let whole = |line: &str| FIELDS.iter().any(|field| line.split(field).skip(1).any(|rest| !value(rest).ends_with(".shortened()")));
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains("tracing::") && whole(line));
    lines.map(|(i, _)| Complaint::new(i + 1, "a log shows a whole id: take `.shortened()`")).collect()
}

/// The value of a field, up to the next one.
fn value(rest: &str) -> &str {
    rest.split([',', ';']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_ids_are_found_in_logs() {
        let text = "tracing::debug!(sid = %self.id, \"gone\");\ntracing::debug!(sid = %self.id.shortened(), \"gone\");\nlet sid = %x;\n";
        assert_eq!(shortened(Path::new("node/src/session.rs"), text).iter().map(|it| it.line).collect::<Vec<_>>(), [1]);
        let both = "tracing::debug!(target: \"a\", id = %a.shortened(), sid = %b, \"gone\");";
        assert_eq!(shortened(Path::new("node/src/x.rs"), both).len(), 1);
        assert_eq!(shortened(Path::new("xtask/src/x.rs"), text), []);
    }
}
