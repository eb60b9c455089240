//! Errors, and the exit codes by which scripts tell them apart.

use std::error::Error;
use std::process::ExitCode;

use sociable_adapter::{EmitterError, NatsError};
use thiserror::Error;

/// The reason why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command failed, or was refused.
    #[error("{0}")]
    Failed(String),
    /// The arguments do not fit.
    #[error("{0}")]
    Usage(String),
    /// The same command may succeed later.
    #[error("{0}")]
    Later(String),
    /// The answer was printed, but something is missing from it.
    #[error("{0}")]
    Incomplete(String),
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Later(_) => 3,
            Self::Incomplete(_) => 4,
        })
    }
}

impl From<NatsError> for Failure {
    fn from(error: NatsError) -> Self {
        match error {
            NatsError::Connect { .. } => Self::Later(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<EmitterError> for Failure {
    fn from(error: EmitterError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Returns the last cause of an error, which says the most.
pub(crate) fn cause(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
