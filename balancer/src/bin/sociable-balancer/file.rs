//! The file with settings. What is wrong with it is told by its place and by what should be there, never by what is there: that may be a secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::DeTable;

use crate::settings::Settings;

/// Why a file can't be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("{}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}, {mistake}", .path.display())]
    Parse { path: PathBuf, mistake: Mistake },
}

/// What is wrong, and where. Lines and columns are counted from 1.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {what}")]
pub(crate) struct Mistake {
    line: usize,
    column: usize,
    what: String,
}

/// The settings that a file holds.
pub(crate) fn read(path: &Path) -> Result<Settings, FileError> {
    let text = fs::read_to_string(path).map_err(|error| FileError::Read { path: path.into(), error })?;
    parse(&text).map_err(|mistake| FileError::Parse { path: path.into(), mistake })
}

/// The settings that a text holds.
pub(crate) fn parse(text: &str) -> Result<Settings, Mistake> {
    let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    // What the parser says is about TOML, and quotes nothing of the text.
    let table = DeTable::parse(text).map_err(|error| Mistake::new(text, place(&error), error.message().to_owned()))?;
    toml::from_str(text).map_err(|error| {
        let place = place(&error);
        let told = |(key, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
            if key.span().contains(&place) {
                return Some(format!("`{}` is no setting", key.get_ref()));
            }
            value.span().contains(&place).then(|| format!("`{}`: {}", key.get_ref(), expected(error.message())))
        };
        let what = table.get_ref().iter().find_map(told);
        Mistake::new(text, place, what.unwrap_or_else(|| expected(error.message()).to_owned()))
    })
}

/// What should be there. Before that, the message quotes what is.
fn expected(message: &str) -> &str {
    message.rfind("expected ").map_or(message, |at| &message[at..])
}

impl Mistake {
    fn new(text: &str, place: usize, what: String) -> Self {
        let before = text.get(..place).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: 1 + before.matches('\n').count(), column: 1 + line.chars().count(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn file_error_names_the_place_and_a_remedy() {
        assert_eq!(wrong("bound = 2\nlistne = []"), "line 2, column 1: `listne` is no setting");
        assert_eq!(wrong("[lisnte]\nbound = 2"), "line 1, column 2: `lisnte` is no setting");
        assert_eq!(wrong("bound = 'x'"), "line 1, column 9: `bound`: expected f64");
        assert_eq!(wrong("listen = ['127.0.0.1:1', 'é', 7]"), "line 1, column 26: `listen`: invalid socket address syntax");
        assert_eq!(wrong("listen = '127.0.0.1:1'"), "line 1, column 10: `listen`: expected a sequence");
        assert_eq!(wrong("log-format = 'loud'"), "line 1, column 14: `log-format`: expected `text` or `json`");
        assert!(wrong("affinity = 'cokie:x'").contains("`affinity`: \"cokie:x\" is no affinity: write"));
        assert_eq!(wrong("bound = 2\nbound = 3"), "line 2, column 1: duplicate key");
        assert_eq!(wrong("workers = 0"), "line 1, column 11: `workers`: expected a nonzero u16");
        assert_eq!(wrong("drain-time = -1"), "line 1, column 14: `drain-time`: expected u64");
    }

    #[test]
    fn file_error_shows_no_secret() {
        for key in ["nats", "nats-user", "nats-password", "nats-token", "nats-nkey", "nats-credentials"] {
            for (value, told) in [
                ("12345", "expected "),
                ("12345.5", "expected "),
                ("[12345]", "expected "),
                ("{ a = 12345 }", "expected "),
                ("1234-05-01", "expected "),
                ("\"s12345", "column "),
                ("'s12345", "column "),
                ("\"\"\"s12345", "column "),
                ("s12345", "column "),
                ("\"s\\12345\"", "column "),
                ("\"s\" s12345", "column "),
                ("0x12345z", "column "),
                ("\n12345", "column "),
                ("'s'\nnats-nkey.12345 = 12345", "column "),
            ] {
                let wrong = wrong(&format!("bound = 2\n{key} = {value}\n"));
                assert!(wrong.contains(told) && !wrong.contains("1234"), "{value}: {wrong}");
            }
        }
        // A password in the wrong place.
        assert_eq!(wrong("nodes = 'nats://me:12345@host'"), "line 1, column 9: `nodes`: expected a sequence");
    }
}
