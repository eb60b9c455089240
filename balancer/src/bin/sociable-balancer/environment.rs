//! The environment. Whoever starts processes by a template often sets a variable to nothing where there is nothing to say: that is no value.

use std::env;

use clap::Command;
use clap::builder::Resettable;

/// The command without the variables that are set and empty.
pub(crate) fn without_empty(command: Command) -> Command {
    command.mut_args(|arg| {
        let is_empty = arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(Resettable::Reset) } else { arg }
    })
}
