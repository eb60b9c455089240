//! The links of Markdown files to other files of the repository.

use std::path::{Component, Path, PathBuf};

use super::{Complaint, has_extension};
use crate::workspace;

/// Every link to a file leads to one, inside the repository: that is all that a reader elsewhere has.
pub(super) fn lead_somewhere(path: &Path, text: &str) -> Vec<Complaint> {
    if !has_extension(path, "md") {
        return vec![];
    }
    let mut complaints = vec![];
    for (line, link) in links(text) {
        let file = link.split(['#', '?']).next().unwrap_or_default();
        if file.is_empty() || link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let exists = inside(path, file).is_some_and(|file| workspace::root().join(file).exists());
        if !exists {
            complaints.push(Complaint::new(line, format!("`{link}` leads nowhere in this repository")));
        }
    }
    complaints
}

/// Returns the path of a link in the repository, unless it leads outside. A link with a leading slash starts at the
/// top.
pub(super) fn inside(from: &Path, link: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    let joined = from.parent()?.join(link);
    for part in joined.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => return None,
            _ => {}
        }
    }
    Some(path)
}

/// The targets of `[text](target)` and `[name]: target`, each with its line. Code is passed over.
pub(super) fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = vec![];
    let mut in_code = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        if line.starts_with('[')
            && let Some((_, target)) = line.split_once("]: ")
        {
            found.extend(first_word(target).map(|target| (i + 1, target)));
            continue;
        }
        // Every second piece is between backticks.
        for prose in line.split('`').step_by(2) {
            for rest in prose.split("](").skip(1) {
                let target = rest.split(')').next().and_then(first_word);
                found.extend(target.map(|target| (i + 1, target)));
            }
        }
    }
    found
}

/// A target without the title behind it and the brackets around it.
fn first_word(target: &str) -> Option<&str> {
    target.split_whitespace().next().map(|word| word.trim_matches(['<', '>']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_links_but_not_in_code() {
        let text = "a [b](c.md#d) and [e](<f.md> \"title\")\n`[no](link)` [g](h)\n```\n[no](code)\n```\n[name]: i.md\n";
        assert_eq!(links(text), [(1, "c.md#d"), (1, "f.md"), (2, "h"), (6, "i.md")]);
    }

    #[test]
    fn link_with_code_as_its_text_is_found() {
        assert_eq!(links("see [`node`](node/README.md)"), [(1, "node/README.md")]);
    }

    #[test]
    fn follows_links_within_the_repository_only() {
        let from = Path::new("docs/guide/start.md");
        assert_eq!(inside(from, "../ARCHITECTURE.md"), Some("docs/ARCHITECTURE.md".into()));
        assert_eq!(inside(from, "/README.md"), Some("README.md".into()));
        assert_eq!(inside(from, "../../../elsewhere.md"), None);
    }

    #[test]
    fn broken_link_is_a_complaint() {
        let text = "[good](xtask/Cargo.toml) [web](https://example.org/x) [here](#part)\n[bad](no/such/file.md)\n";
        let complaints = lead_somewhere(Path::new("README.md"), text);
        assert_eq!(complaints.iter().map(|it| it.line).collect::<Vec<_>>(), [2]);
    }
}
