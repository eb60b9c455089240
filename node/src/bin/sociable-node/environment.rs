//! What the environment says, as those who write it mean it.

use clap::builder::Resettable;
use clap::{ArgAction, Command};

/// What a switch may be set to without being on, in the environment.
const OFF: [&str; 6] = ["0", "f", "false", "n", "no", "off"];

/// The command without the variables that are set to nothing: templates of containers set all that they know of. A switch that is off is as if it was
/// not there, too: what it needs is not needed.
pub(crate) fn without_empty(command: Command) -> Command {
    command.mut_args(|arg| {
        let said = arg.get_env().and_then(std::env::var_os).unwrap_or_default();
        let off = matches!(arg.get_action(), ArgAction::SetTrue) && OFF.iter().any(|off| said.eq_ignore_ascii_case(off));
        if said.is_empty() || off { arg.env(Resettable::Reset) } else { arg }
    })
}
