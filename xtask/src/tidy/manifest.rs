//! Rules about `Cargo.toml`. Read line by line: our manifests are plain, and a parser would be a dependency for two rules.

use std::fs;
use std::path::Path;

use super::Complaint;
use crate::workspace;

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

/// The images are built of every member of the workspace.
pub(super) fn in_images(path: &Path, text: &str) -> Vec<Complaint> {
    if path != Path::new(".dockerignore") {
        return vec![];
    }
    let manifest = fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap_or_default();
    let missing = members(&manifest).filter(|member| !lets_through(text, member));
    missing.map(|member| Complaint::new(1, format!("`{member}` is left out, and no image can be built without it"))).collect()
}

/// The folders of the members of a workspace.
fn members(manifest: &str) -> impl Iterator<Item = &str> {
    let (_, list) = manifest.split_once("members = [").unwrap_or_default();
    list.split(']').next().unwrap_or_default().split('"').skip(1).step_by(2)
}

/// True if a line names the folder, or one above it.
fn lets_through(ignored: &str, folder: &str) -> bool {
    ignored.lines().filter_map(|line| line.strip_prefix('!')).any(|line| Path::new(folder).starts_with(line))
}

/// The documentation of a crate lists its features, each in a row of a table.
pub(super) fn features_listed(path: &Path, text: &str) -> Vec<Complaint> {
    if !is_manifest(path) {
        return vec![];
    }
    let source = |name| fs::read_to_string(workspace::root().join(path).with_file_name("src").join(name));
    let documentation = source("lib.rs").or_else(|_| source("main.rs")).unwrap_or_default();
    unlisted(text, &documentation)
}

fn unlisted(manifest: &str, documentation: &str) -> Vec<Complaint> {
    let entries = table(manifest, "[features]").filter(|(_, line)| line.starts_with(|c: char| c.is_ascii_alphanumeric()));
    let features = entries.filter_map(|(number, line)| Some((number, line.split_once(" =")?.0))).filter(|(_, name)| *name != "default");
    let missing = features.filter(|(_, name)| !documentation.contains(&format!("//! | `{name}` |")));
    missing
        .map(|(number, name)| Complaint::new(number, format!("the crate's documentation has no row `{name}` in a table of features")))
        .collect()
}

/// The toolchain of the repository and the images is the oldest that the crates allow. So every run of the tests tries
/// that version.
pub(super) fn one_rust(path: &Path, text: &str) -> Vec<Complaint> {
    let (begin, end) = match path.to_str() {
        Some("rust-toolchain.toml") => ("channel = \"", ".0\""),
        Some("Dockerfile" | "examples/starter-rust/Dockerfile") => ("FROM rust:", "-"),
        _ => return vec![],
    };
    let manifest = fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap_or_default();
    names(text, begin, end, oldest(&manifest).unwrap_or_default())
}

/// The `rust-version` of the workspace.
fn oldest(manifest: &str) -> Option<&str> {
    let value = table(manifest, "[workspace.package]").find_map(|(_, line)| line.strip_prefix("rust-version = "))?;
    Some(value.trim_matches('"'))
}

/// A complaint for the line that begins so and does not go on with the version, or for the file if no line begins so.
fn names(text: &str, begin: &str, end: &str, version: &str) -> Vec<Complaint> {
    let line = text.lines().enumerate().find_map(|(i, line)| Some((i + 1, line.strip_prefix(begin)?)));
    match line {
        Some((_, rest)) if rest.strip_prefix(version).is_some_and(|rest| rest.starts_with(end)) => vec![],
        found => {
            vec![Complaint::new(found.map_or(1, |(line, _)| line), format!("Rust has to be {version}, the `rust-version` of Cargo.toml"))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_take_every_member() {
        let manifest = "[workspace]\nmembers = [\"node\", \"programs/node\",\n    \"fuzz/checks\"]\nexclude = [\"fuzz\"]\n";
        assert_eq!(members(manifest).collect::<Vec<_>>(), ["node", "programs/node", "fuzz/checks"]);
        let ignored = "*\n!node\n!programs\n";
        assert!(lets_through(ignored, "node") && lets_through(ignored, "programs/node"));
        assert!(!lets_through(ignored, "fuzz/checks") && !lets_through(ignored, "nodes"));
    }

    #[test]
    fn feature_without_a_row_is_found() {
        let manifest = "[features]\n# why\ndefault = [\"nats\"]\nnats = []\ntls = [\n    \"dep:rustls\",\n]\n";
        assert_eq!(unlisted(manifest, "//! | `nats` | yes | NATS |\n//! | `tls` | no | TLS |\n"), []);
        let complaints = unlisted(manifest, "//! | `nats` | yes | NATS |\n");
        assert_eq!(complaints.iter().map(|it| it.line).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn toolchain_is_the_oldest_rust() {
        let text = "[toolchain]\nchannel = \"1.95.0\"\n";
        assert_eq!(names(text, "channel = \"", ".0\"", "1.95"), []);
        assert_eq!(names(text, "channel = \"", ".0\"", "1.9").len(), 1);
        assert_eq!(names(text, "channel = \"", ".0\"", "1.96")[0].line, 2);
        assert_eq!(names("[toolchain]\n", "channel = \"", ".0\"", "1.95").len(), 1);
        assert_eq!(oldest("[workspace.package]\nrust-version = \"1.95\"\n"), Some("1.95"));
    }

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
