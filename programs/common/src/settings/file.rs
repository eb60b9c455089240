//! The file with settings: each flag without its dashes is a key of it. All other keys are tables.
//!
//! An error names the place and the remedy. No value of a secret setting is shown.

use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::path::Path;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::is_switch;
use super::fault::{FileError, Mistake};
use super::tables::{self, Tables};

/// Arguments of one start, which are no settings.
const NO_SETTINGS: [&str; 5] = ["config", "check", "probe", "help", "version"];

/// Returns the arguments that stand for the keys of a file, except for those that are given elsewhere, and its tables.
pub(super) fn read<T>(command: &Command, path: &Path, is_given: impl Fn(&Arg) -> bool) -> Result<(Vec<OsString>, Tables<T>), FileError>
where
    T: DeserializeOwned,
{
    let text = fs::read_to_string(path).map_err(|error| FileError::Read { path: path.into(), error })?;
    let (arguments, tables) = parse(command, &text, is_given).map_err(|mistake| FileError::Parse { path: path.into(), mistake })?;
    Ok((arguments, Tables::new(tables, path.into(), text)))
}

/// Returns the content of a text that has no flags.
pub(super) fn read_other<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    tables::read(text, parsed(text)?, |_| false)
}

/// Returns a text as TOML.
fn parsed(text: &str) -> Result<Spanned<DeTable<'_>>, Mistake> {
    DeTable::parse(text).map_err(|error| {
        // The message is about TOML, and quotes nothing of the text.
        let start = error.span().map_or(0, |span| span.start);
        Mistake::new(text, start, error.message().to_owned())
    })
}

/// Returns the arguments that stand for the keys of a text, and its tables.
fn parse<T: DeserializeOwned>(command: &Command, text: &str, is_given: impl Fn(&Arg) -> bool) -> Result<(Vec<OsString>, T), Mistake> {
    let table = parsed(text)?;
    // Faults of the environment are no faults of the file.
    let alone = command.clone().mut_args(|arg| arg.env(Resettable::Reset));
    let find = |name: &str| alone.get_arguments().find(|arg| arg.get_long() == Some(name) && !NO_SETTINGS.contains(&name));
    let (mut arguments, tables) = (vec![], tables::keys::<T>());
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        let Some(arg) = find(name) else {
            if tables.contains(&name) {
                continue;
            }
            return Err(Mistake::new(text, key.span().start, format!("`{name}` is no setting")));
        };
        if is_given(arg) {
            continue;
        }
        let fault = |(at, cause): (Range<usize>, String)| Mistake::new(text, at.start, format!("`{name}`: {cause}"));
        if let Some(argument) = argument(arg, name, value).map_err(|(at, expected)| fault((at, format!("expected {expected}"))))? {
            check(&alone, arg, &argument).map_err(|cause| fault((value.span(), cause)))?;
            arguments.push(argument.into());
        }
    }
    let span = table.span();
    let rest = table.into_inner().into_iter().filter(|(key, _)| find(key.get_ref()).is_none()).collect();
    Ok((arguments, tables::read(text, Spanned::new(span, rest), |name| find(name).is_some())?))
}

/// Returns a key and its value as an argument; none for a switch that is off. The error is the place and the kind of the expected value.
fn argument(arg: &Arg, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Option<String>, (Range<usize>, &'static str)> {
    let is_optional = arg.get_num_args().is_some_and(|count| count.min_values() == 0);
    let text = match value.get_ref() {
        DeValue::Boolean(on) if is_switch(arg) => return Ok(on.then(|| format!("--{name}"))),
        DeValue::Boolean(on) if is_optional => on.to_string(),
        _ if is_switch(arg) || is_optional => return Err((value.span(), "true or false")),
        DeValue::Array(values) if values.is_empty() => return Err((value.span(), "an entry in the list")),
        DeValue::Array(values) if arg.get_value_delimiter().is_some() => {
            let texts =
                values.iter().map(|value| plain(value).filter(|text| !text.contains(',')).ok_or((value.span(), "a text without a comma")));
            texts.collect::<Result<Vec<_>, _>>()?.join(",")
        }
        _ if arg.get_value_delimiter().is_some() => plain(value).ok_or((value.span(), "a list of texts"))?,
        _ => plain(value).ok_or((value.span(), "a text or a number"))?,
    };
    Ok(Some(format!("--{name}={text}")))
}

fn plain(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

/// Parses one argument by itself. The error is what its parser has against the value.
fn check(command: &Command, arg: &Arg, argument: &str) -> Result<(), String> {
    let name = command.get_name().to_owned();
    let Err(error) = command.clone().try_get_matches_from([&*name, argument]) else { return Ok(()) };
    match error.kind() {
        // Whether settings go together is seen when all are known.
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict => Ok(()),
        ErrorKind::InvalidValue => {
            let possible: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
            Err(if possible.is_empty() { "a value is missing".into() } else { format!("expected {}", possible.join(" or ")) })
        }
        _ => Err(std::error::Error::source(&error).map_or_else(|| "the value can't be used".into(), ToString::to_string)),
    }
}
