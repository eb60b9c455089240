//! The one who replaces a server while clients are connected to it.

use std::fmt::{self, Display, Formatter};

use crate::process::Target;

/// The way in which a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM: the server may say goodbye.
    Terminated,
    /// SIGKILL: the kernel closes its connections.
    Killed,
}

impl Display for Ending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "TERM",
            Self::Killed => "KILL",
        })
    }
}

/// The one who starts and ends the servers of a run.
pub trait Operator {
    /// Ends a server and starts its successor at the same address. Returns at once.
    ///
    /// # Errors
    ///
    /// If nobody can replace a server.
    fn replace(&mut self, ending: Ending) -> std::io::Result<()>;

    /// Returns the process of the successor, once it listens.
    ///
    /// # Errors
    ///
    /// If there will be no successor.
    fn replaced(&mut self) -> std::io::Result<Option<Target>>;
}

/// An operator who replaces nothing.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Operator for Nobody {
    fn replace(&mut self, _: Ending) -> std::io::Result<()> {
        Err(std::io::Error::other("nobody replaces the server: run the plan with an operator"))
    }

    fn replaced(&mut self) -> std::io::Result<Option<Target>> {
        Ok(None)
    }
}
