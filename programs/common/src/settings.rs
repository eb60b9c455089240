//! Settings of a program: each is a flag, an environment variable and a key of a TOML file.
//!
//! Flags win over the environment, and the environment over the file. The values of the file are put among the arguments, so that one
//! parser checks all three by the same rules and with the same words.
//!
//! A program may have tables too, such as `[namespaces."/chat"]`. Only the file has them. A type of the program describes them.

mod environment;
mod fault;
mod file;
mod tables;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde::de::DeserializeOwned;
use thiserror::Error;
pub use toml::Spanned;

use self::environment::Variable;
pub use self::fault::{FileError, Mistake};
use self::tables::NoTables;
pub use self::tables::{Tables, keys};

/// The argument that names the file.
const CONFIG: &str = "config";

/// Why settings can't be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file has a fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// The parser of the arguments refuses them, or shows the help.
    #[error("{}", on_one_line(.0))]
    Arguments(#[from] clap::Error),
}

impl SettingsError {
    /// Ends the process as `clap` does if the arguments are at fault. Returns the error of the file otherwise.
    pub fn exit_on_arguments(self) -> FileError {
        match self {
            Self::File(error) => error,
            Self::Arguments(error) => error.exit(),
        }
    }
}

/// Returns the settings of a program without tables, as [`parse_with_tables`] does.
///
/// # Errors
///
/// The file can't be read or has a fault, or `clap` refuses the arguments, or the help is asked for.
///
/// # Panics
///
/// `F` defines its arguments wrongly, which `Command::debug_assert` shows.
pub fn parse<F: CommandFactory + FromArgMatches>(args: Vec<OsString>) -> Result<F, SettingsError> {
    Ok(parse_with_tables::<F, NoTables>(args)?.0)
}

/// Returns the settings of a program from its arguments, its environment, and the file that the argument `config` names, if there is one.
/// The second part is the tables of that file.
///
/// `T` is a struct with a field for each table, `#[serde(default, deny_unknown_fields)]`. A key of the file with the name of a flag is no
/// table. Errors quote no value of the file, so a message of `T` itself must not do so either.
///
/// A variable that is set to nothing counts as unset. So does a variable that turns a switch off, but it wins over the file.
///
/// # Errors
///
/// The file can't be read or has a fault, or `clap` refuses the arguments, or the help is asked for.
///
/// # Panics
///
/// `F` defines its arguments wrongly, which `Command::debug_assert` shows.
pub fn parse_with_tables<F, T>(args: Vec<OsString>) -> Result<(F, Tables<T>), SettingsError>
where
    F: CommandFactory + FromArgMatches,
    T: DeserializeOwned + Default,
{
    let declared = F::command();
    let command = environment::without_valueless(declared.clone());
    let (mut args, mut tables) = (args, Tables::default());
    // Errors and the help are left to the second pass.
    if let Ok(given) = command.clone().ignore_errors(true).try_get_matches_from(&args)
        && let Some(path) = given.try_get_one::<PathBuf>(CONFIG).ok().flatten()
    {
        let is_given = |arg: &Arg| is_given(arg, &given, &declared);
        let (arguments, found) = file::read(&command, path, is_given)?;
        args.extend(arguments);
        tables = found;
    }
    Ok((F::from_arg_matches(&command.try_get_matches_from(args)?)?, tables))
}

/// Returns the content of another file of a program, such as one with secrets. `text` is what was read from `path`.
///
/// Errors have the place, and quote no value. A message of `T` itself must not do so either.
///
/// # Errors
///
/// The text is not TOML, or does not fit `T`.
pub fn read<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    file::read_other(text).map_err(|mistake| FileError::Parse { path: path.into(), mistake })
}

/// Returns an error of the arguments without the usage, for the log.
fn on_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let cause = text.split("\n\n").next().unwrap_or_default();
    let cause = cause.strip_prefix("error: ").unwrap_or(cause);
    cause.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns whether a flag or a variable gives an argument.
fn is_given(arg: &Arg, given: &ArgMatches, declared: &Command) -> bool {
    let by_source = matches!(given.value_source(arg.get_id().as_str()), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
    by_source || declared.get_arguments().any(|other| other.get_id() == arg.get_id() && Variable::of(other) == Variable::Off)
}

#[cfg(test)]
mod tests;
