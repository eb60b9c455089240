//! Environment variables of settings.

use std::env;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command};

/// Values that turn a switch off.
const OFF: [&str; 6] = ["0", "f", "false", "n", "no", "off"];

/// The state of the variable of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// The variable does not exist.
    Unset,
    /// The value is empty, which counts as unset: templates of containers set all variables that they know.
    Empty,
    /// The variable turns a switch off.
    Off,
    /// The variable gives a value.
    Set,
}

impl Variable {
    /// Returns the state of the variable of this argument.
    pub(super) fn of(arg: &Arg) -> Self {
        match arg.get_env().and_then(env::var_os) {
            None => Self::Unset,
            Some(value) if value.is_empty() => Self::Empty,
            Some(value) if is_switch(arg) && OFF.iter().any(|off| value.eq_ignore_ascii_case(off)) => Self::Off,
            Some(_) => Self::Set,
        }
    }
}

/// Returns whether an argument is a switch, which takes no value.
pub(super) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Returns the command without the variables that give no value. A switch that is off requires no other argument then.
pub(super) fn without_valueless(command: Command) -> Command {
    command.mut_args(|arg| if matches!(Variable::of(&arg), Variable::Empty | Variable::Off) { arg.env(Resettable::Reset) } else { arg })
}
