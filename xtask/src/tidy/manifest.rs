//! Rules about `Cargo.toml`. Read line by line: our manifests are plain, and a parser would be a dependency for two rules.

use std::path::Path;

use super::Complaint;

fn is_manifest(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "Cargo.toml")
}

/// The lines of one table, with their numbers counted from 1.
pub(super) fn table<'a>(text: &'a str, header: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end()));
    lines.skip_while(move |(_, line)| *line != header).skip(1).take_while(|(_, line)| !line.starts_with('['))
}

/// Every crate takes the lints of the workspace.
pub(super) fn lints(path: &Path, text: &str) -> Vec<Complaint> {
    let is_crate = text.lines().any(|line| line.trim_end() == "[package]");
    if !is_manifest(path) || !is_crate || table(text, "[lints]").any(|(_, line)| line == "workspace = true") {
        return vec![];
    }
    vec![Complaint::new(text.lines().count(), "`[lints]` must say `workspace = true`")]
}

/// Lists that many people extend are sorted, so that a crate has one place. An empty line starts a new group.
pub(super) fn sorted(path: &Path, text: &str) -> Vec<Complaint> {
    if !is_manifest(path) {
        return vec![];
    }
    let mut complaints = vec![];
    let mut last = "";
    for (number, line) in table(text, "[workspace.dependencies]") {
        if line.is_empty() {
            last = "";
        }
        // A dependency starts at the margin. Comments and continuation lines are skipped.
        if !line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let name = line.split([' ', '=', '.']).next().unwrap_or_default();
        if name < last {
            complaints.push(Complaint::new(number, format!("`{name}` comes before `{last}`")));
        }
        last = name;
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_inherits_the_lints_of_the_workspace() {
        let path = Path::new("node/Cargo.toml");
        assert_eq!(lints(path, "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"), []);
        assert_eq!(lints(path, "[package]\nname = \"a\"\n").len(), 1);
        assert_eq!(lints(path, "[package]\nname = \"a\"\n\n[dependencies]\nworkspace = true\n").len(), 1);
        assert_eq!(lints(path, "[workspace]\n"), [], "the workspace itself is no crate");
    }

    #[test]
    fn dependencies_are_sorted_within_their_group() {
        let path = Path::new("Cargo.toml");
        let good = [
            "[workspace.dependencies]",
            "zebra = \"1\"",
            "",
            "# why",
            "ant = \"1\"",
            "ant-farm = { features = [",
            "    \"aa\",",
            "] }",
            "bee = \"1\"",
            "",
            "[profile.dev]",
            "a = 1",
        ];
        assert_eq!(sorted(path, &good.join("\n")), []);
        assert_eq!(sorted(path, "[workspace.dependencies]\nbee = \"1\"\nant = \"1\"\n"), [Complaint::new(3, "`ant` comes before `bee`")]);
    }
}
