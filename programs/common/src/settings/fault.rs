//! Faults of the file with settings.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a file can't be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file can't be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The text has a fault.
    #[error("{}, {mistake}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The fault.
        mistake: Mistake,
    },
}

/// A fault of a file and its place. Lines and columns are counted from 1.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {cause}")]
pub struct Mistake {
    line: usize,
    column: usize,
    cause: String,
}

impl Mistake {
    /// Returns a fault at a byte of a text.
    pub(super) fn new(text: &str, at: usize, cause: String) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: 1 + before.matches('\n').count(), column: 1 + line.chars().count(), cause }
    }
}
