//! Rules about plain text.

use std::path::Path;

use super::{Complaint, has_extension};

/// A file holds one idea; beyond this many lines it holds two.
const LONGEST_FILE: usize = 800;

pub(super) fn length(path: &Path, text: &str) -> Vec<Complaint> {
    let lines = text.lines().count();
    if !has_extension(path, "rs") || lines <= LONGEST_FILE || is_test(path) || is_generated(text) {
        return vec![];
    }
    vec![Complaint::new(lines, format!("{lines} lines, more than {LONGEST_FILE}: split it by idea"))]
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.iter().any(|part| part == "tests") || name == "tests" || name.ends_with("_tests")
}

fn is_generated(text: &str) -> bool {
    text.lines().take(3).any(|line| line.contains("@generated"))
}

pub(super) fn trailing_space(_: &Path, text: &str) -> Vec<Complaint> {
    let mut complaints = vec![];
    for (i, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            complaints.push(Complaint::new(i + 1, "white space at the end of the line"));
        }
    }
    complaints
}

/// Clippy warns of these too, but only where the code is compiled.
pub(super) fn unfinished(path: &Path, text: &str) -> Vec<Complaint> {
    // Put together here, or this file would break its own rule.
    const WORDS: [&str; 2] = [concat!("todo", "!"), concat!("dbg", "!")];
    if !has_extension(path, "rs") {
        return vec![];
    }
    let mut complaints = vec![];
    for (i, line) in text.lines().enumerate() {
        for word in WORDS.iter().filter(|&&word| line.contains(word)) {
            complaints.push(Complaint::new(i + 1, format!("`{word}` is left here")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_split() {
        let long = "x\n".repeat(LONGEST_FILE + 1);
        assert_eq!(length(Path::new("node/src/socket.rs"), &long).len(), 1);
        assert_eq!(length(Path::new("node/src/socket.rs"), &"x\n".repeat(LONGEST_FILE)), []);
        for excused in ["node/tests/rooms.rs", "node/src/room_tests.rs", "docs/FEATURES.md"] {
            assert_eq!(length(Path::new(excused), &long), [], "{excused}");
        }
        assert_eq!(length(Path::new("node/src/table.rs"), &format!("// @generated\n{long}")), []);
    }

    #[test]
    fn lines_end_with_their_text() {
        let complaints = trailing_space(Path::new("a.md"), "good\nbad \n\t\nwindows\r\n");
        assert_eq!(complaints.iter().map(|it| it.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn unfinished_work_is_found() {
        let text = concat!("fn f() {\n    todo", "!()\n}\n");
        assert_eq!(unfinished(Path::new("a.rs"), text)[0].line, 2);
        assert_eq!(unfinished(Path::new("a.md"), text), []);
    }
}
