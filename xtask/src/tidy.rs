//! `cargo xtask tidy`: the rules of the house that no compiler checks.

mod bench;
mod book;
mod cycles;
mod hashes;
mod imports;
mod layers;
mod links;
mod logs;
mod manifest;
mod names;
mod text;

use std::path::Path;
use std::{fs, io};

use crate::report::Report;
use crate::tally::Tally;
use crate::workspace;

/// A file that breaks a rule: its line, counted from 1, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    line: usize,
    what: String,
}

impl Complaint {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// A rule: from a file's path in the repository and its text to complaints.
type Rule = fn(&Path, &str) -> Vec<Complaint>;

const RULES: [(&str, Rule); 18] = [
    ("no long files", text::length),
    ("no trailing white space", text::trailing_space),
    ("no unfinished work", text::unfinished),
    ("lints of the workspace", manifest::lints),
    ("sorted dependencies", manifest::sorted),
    ("one version of Rust", manifest::one_rust),
    ("features are documented", manifest::features_listed),
    ("images have every crate", manifest::in_images),
    ("crates depend on the layers below", layers::dependencies),
    ("the engine does not name Socket.IO", layers::engine_names_no_socket_io),
    ("the protocol does no I/O", layers::protocol_does_no_io),
    ("no import cycle but the listed", cycles::listed),
    ("maps of others' keys are seeded", hashes::seeded),
    ("ids of sessions are shortened in logs", logs::shortened),
    ("links lead somewhere", links::lead_somewhere),
    ("all pages are in the book", book::complete),
    ("names in the guides exist", names::exist),
    ("tables and chart follow from the runs", bench::follows),
];

/// Checks every text file of the repository. Each rule counts as one test.
pub(crate) fn run(report: &mut Report) {
    report.step("tidy", || {
        let mut broken = [false; RULES.len()];
        visit(workspace::root(), &mut |path, text| {
            let path = path.strip_prefix(workspace::root()).unwrap_or(path);
            for ((_, rule), broken) in RULES.iter().zip(&mut broken) {
                for Complaint { line, what } in rule(path, text) {
                    *broken = true;
                    println!("{}:{line}: {what}", path.display());
                }
            }
        })?;
        for ((name, _), broken) in RULES.iter().zip(broken) {
            println!("{} {name}", if broken { "FAILED" } else { "ok    " });
        }
        let failed = broken.iter().filter(|&&broken| broken).count();
        Ok(Tally { passed: (RULES.len() - failed) as u64, failed: failed as u64 })
    });
}

/// Calls `look` for each text file below `folder`. Built, fetched and hidden files are skipped, except the hidden
/// names that are listed.
fn visit(folder: &Path, look: &mut dyn FnMut(&Path, &str)) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let hidden = name.starts_with('.') && ![".cargo", ".ci", ".dockerignore", ".github"].contains(&&*name);
        // Inputs of the fuzzer are what they are.
        let raw = path == workspace::root().join("fuzz/corpus") || path == workspace::root().join("fuzz/artifacts");
        if hidden || raw || name == "target" || name == "node_modules" || path == workspace::target() {
            continue;
        }
        if entry.file_type()?.is_dir() {
            visit(&path, look)?;
        } else if let Ok(text) = String::from_utf8(fs::read(&path)?) {
            look(&path, &text);
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}
