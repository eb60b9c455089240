//! The tables of a file of settings, by an example that the program accepts. A comment that begins with `# ` explains the next line.
//! A line that begins with `#` alone is an alternative, which cannot stand beside the others.

use std::fmt::Write;

/// A line of the example with its explanation.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    text: &'a str,
    help: String,
}

/// Reads an example.
fn lines(example: &str) -> Vec<Line<'_>> {
    let (mut lines, mut help) = (vec![], String::new());
    for line in example.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            help = format!("{help} {comment}").trim().to_owned();
        } else if line.is_empty() {
            help.clear();
        } else {
            lines.push(Line { text: line.strip_prefix('#').unwrap_or(line), help: std::mem::take(&mut help) });
        }
    }
    lines
}

/// Returns the section of the page about the tables of a program.
pub(super) fn section(program: &str, example: &str) -> String {
    if example.is_empty() {
        return String::new();
    }
    let mut section = format!(
        "\n### Tables of {program}\n\nOnly the file has these settings. [{program}.toml]({program}.toml) has them as one example.\n"
    );
    let mut has_rows = false;
    for Line { text, help } in lines(example) {
        if text.starts_with('[') {
            has_rows = false;
            writeln!(section, "\n`{text}`: {help}").unwrap_or_default();
        } else if let Some((key, value)) = text.split_once(" = ") {
            let head = if has_rows { "" } else { "\n| key | example | |\n|---|---|---|\n" };
            has_rows = true;
            writeln!(section, "{head}| `{key}` | `{}` | {} |", cell(value), cell(&help)).unwrap_or_default();
        }
    }
    section
}

/// Returns a text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Returns the example as comments.
pub(super) fn commented(example: &str) -> String {
    let comment = |line: &str| match line {
        "" => "\n".to_owned(),
        line if line.starts_with('#') => format!("{line}\n"),
        line => format!("#{line}\n"),
    };
    let text: String = example.lines().map(comment).collect();
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str =
        "# A namespace\n[namespaces.\"/chat\"]\n# Told | asked\n# first\nconnect = \"http://b\"\n# A file\n#keys = \"/k\"\n";

    #[test]
    fn section_has_a_row_for_each_key() {
        let section = section("x", EXAMPLE);
        assert!(section.contains("\n`[namespaces.\"/chat\"]`: A namespace\n"), "{section}");
        assert!(section.contains("| `connect` | `\"http://b\"` | Told \\| asked first |\n| `keys` | `\"/k\"` | A file |\n"), "{section}");
        assert!(section.contains("\n\n| key | example | |\n|---|---|---|\n| `connect` |"), "{section}");
        assert!(!super::section("x", "# None\n[none]\n").contains('|'));
        assert_eq!(super::section("x", ""), "");
    }

    #[test]
    fn commented_example_has_no_setting() {
        let text = commented(EXAMPLE);
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
        assert!(text.contains("\n#connect = \"http://b\"\n") && text.contains("\n#keys = "), "{text}");
        assert_eq!(commented(""), "");
    }
}
