//! The book that is made of `docs/`.

use std::fs;
use std::path::Path;

use super::links::{inside, links};
use super::{Complaint, has_extension};
use crate::workspace;

/// The contents of the book, in reading order.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Checks that every page of `docs/` is in the book: mdBook silently omits pages that its summary does not list.
pub(super) fn complete(path: &Path, _: &str) -> Vec<Complaint> {
    if !path.starts_with("docs") || !has_extension(path, "md") || path == Path::new(SUMMARY) {
        return vec![];
    }
    // Without a summary no page is in it.
    let summary = fs::read_to_string(workspace::root().join(SUMMARY)).unwrap_or_default();
    if names(&summary, path) {
        return vec![];
    }
    vec![Complaint::new(1, format!("no line of {SUMMARY} leads to this page"))]
}

/// Returns true if a link of the summary leads to the page.
fn names(summary: &str, page: &Path) -> bool {
    links(summary).iter().any(|(_, link)| inside(Path::new(SUMMARY), link).as_deref() == Some(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_in_the_book_when_the_summary_links_it() {
        let summary = "# Summary\n\n[Guides](guide/README.md)\n\n- [Rooms](guide/rooms.md)\n  - [More](./guide/more.md)\n";
        for listed in ["docs/guide/README.md", "docs/guide/rooms.md", "docs/guide/more.md"] {
            assert!(names(summary, Path::new(listed)), "{listed}");
        }
        for forgotten in ["docs/rooms.md", "docs/guide/acks.md", "guide/rooms.md"] {
            assert!(!names(summary, Path::new(forgotten)), "{forgotten}");
        }
    }

    #[test]
    fn other_files_need_no_place_in_the_book() {
        for other in ["README.md", "k8s/README.md", "docs/sociable-node.toml", SUMMARY] {
            assert_eq!(complete(Path::new(other), ""), [], "{other}");
        }
        assert_eq!(complete(Path::new("docs/guide/no-such-page.md"), "").len(), 1);
    }
}
