//! The ends of connections.

use std::fmt::{self, Display, Formatter};
use std::io;

/// The way in which a client cuts its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server sees the end of the stream.
    Close,
    /// The server sees a reset.
    Reset,
    /// The server sees nothing, as when a phone changes its network.
    Silent,
}

/// The end of a connection that the client did not cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nobody listened.
    Refused,
    /// A server answered that the client cannot have a session.
    Rejected(String),
    /// Anything else.
    Broken(String),
}

impl Loss {
    /// Returns the loss that an error means.
    pub(super) fn of(action: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Broken(format!("{action}: {error}")),
        }
    }
}

impl From<&str> for Loss {
    fn from(text: &str) -> Self {
        Self::Broken(text.into())
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Rejected(answer) => write!(f, "no session: {answer}"),
            Self::Broken(cause) => f.write_str(cause),
        }
    }
}
