//! The file with settings: each flag without its dashes is a key of it. Flags and the environment win over it.
//!
//! What it says is put among the arguments, so that one parser checks all of them, by the same rules and with the same words.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use thiserror::Error;
use toml::{Table, Value};

/// The flag that names the file, and the variable that does.
const FLAG: &str = "--config";
const VARIABLE: &str = "SOCIABLE_CONFIG";

/// What is asked of one start, not set.
const NO_SETTINGS: [&str; 5] = ["config", "check", "probe", "help", "version"];

/// Why a file can't be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("{}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    /// Without what stands there: it may be a password.
    #[error("{}, line {line}: {error}", .path.display())]
    Parse { path: PathBuf, line: usize, error: String },
    #[error("{}: `{key}` is no setting", .path.display())]
    Unknown { path: PathBuf, key: String },
    #[error("{}: `{key}` has to be {expected}", .path.display())]
    Kind { path: PathBuf, key: String, expected: &'static str },
}

/// The arguments of this process, and behind them what the file says that they name and neither they nor the environment say.
pub(crate) fn with_file(command: &Command, args: Vec<OsString>) -> Result<Vec<OsString>, FileError> {
    let Some(path) = value_of(FLAG, &args).or_else(|| std::env::var_os(VARIABLE)).filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(args);
    };
    let text = fs::read_to_string(&path).map_err(|error| FileError::Read { path: path.clone(), error })?;
    let table: Table = toml::from_str(&text).map_err(|error| parse_error(path.clone(), &text, &error))?;
    let mut all = args;
    for (key, value) in &table {
        let known = command.get_arguments().find(|arg| arg.get_long() == Some(key)).filter(|_| !NO_SETTINGS.contains(&&**key));
        let Some(known) = known else { return Err(FileError::Unknown { path, key: key.clone() }) };
        if is_given(known, key, &all) {
            continue;
        }
        let said = argument(known, key, value).map_err(|expected| FileError::Kind { path: path.clone(), key: key.clone(), expected })?;
        all.extend(said.map(OsString::from));
    }
    Ok(all)
}

fn parse_error(path: PathBuf, text: &str, error: &toml::de::Error) -> FileError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    FileError::Parse { path, line: before.matches('\n').count() + 1, error: error.message().to_owned() }
}

/// True if a flag or a variable says it.
fn is_given(known: &Arg, key: &str, args: &[OsString]) -> bool {
    known.get_env().is_some_and(|variable| std::env::var_os(variable).is_some()) || args.iter().any(|arg| names(arg, &format!("--{key}")))
}

/// True for `--flag` and `--flag=value`.
fn names(arg: &OsStr, flag: &str) -> bool {
    arg.to_str().and_then(|arg| arg.strip_prefix(flag)).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The value of a flag.
fn value_of(flag: &str, args: &[OsString]) -> Option<OsString> {
    let at = args.iter().position(|arg| names(arg, flag))?;
    match args[at].to_str()?.split_once('=') {
        Some((_, value)) => Some(value.into()),
        None => args.get(at + 1).cloned(),
    }
}

/// A key and its value as an argument; none for a switch that is off. The error is what the value has to be.
fn argument(known: &Arg, key: &str, value: &Value) -> Result<Option<String>, &'static str> {
    if matches!(known.get_action(), ArgAction::SetTrue) {
        let on = value.as_bool().ok_or("true or false")?;
        return Ok(on.then(|| format!("--{key}")));
    }
    let text = match value {
        Value::Array(values) if known.get_value_delimiter().is_some() => {
            values.iter().map(plain).collect::<Option<Vec<_>>>().ok_or("a list of texts")?.join(",")
        }
        value => plain(value).ok_or("a text or a number")?,
    };
    Ok(Some(format!("--{key}={text}")))
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::flags::Flags;

    /// What a node is told by a file with this text and by these arguments.
    fn told(text: &str, args: &[&str]) -> Result<Flags, String> {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static FILES: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("sociable-file-{}-{}", std::process::id(), FILES.fetch_add(1, Relaxed)));
        fs::write(&path, text).unwrap();
        let args = [&["sociable-node", "--config", path.to_str().unwrap()], args].concat();
        let args = with_file(&Flags::command(), args.into_iter().map(OsString::from).collect());
        fs::remove_file(path).unwrap();
        Flags::try_parse_from(args.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_flags_say_and_flags_win() {
        let text = r#"
            host = "0.0.0.0"
            port = 4000
            cors-origin = ["https://a.example", "https://b.example"]
            nats = "nats://127.0.0.1:4222"
            recovery = 60
            jetstream = true
        "#;
        let flags = told(text, &["--port=5000"]).unwrap();
        assert_eq!((&*flags.host, flags.port), ("0.0.0.0", 5000));
        let same = ["--host=0.0.0.0", "--port=5000", "--cors-origin=https://a.example,https://b.example", "--nats=nats://127.0.0.1:4222"];
        let same = [&["sociable-node"], &same[..], &["--recovery=60", "--jetstream"]].concat();
        let same = format!("{:?}", Flags::parse_from(same));
        assert_eq!(format!("{flags:?}").replace(&format!("{:?}", flags.config), "None"), same);
        assert!(told("jetstream = false", &[]).is_ok());
    }

    #[test]
    fn a_wrong_file_is_refused() {
        let error = |text: &str| told(text, &[]).unwrap_err();
        assert!(error("prot = 1").contains("`prot` is no setting"));
        assert!(error("check = true").contains("`check` is no setting"));
        assert!(error("jetstream = 1").contains("`jetstream` has to be true or false"));
        assert!(error("port = [1]").contains("`port` has to be a text or a number"));
        assert!(error("port = 70000").contains("--port"));
        assert!(error("port =").contains(", line 1: "));
        let secret = error("port = 1\nnats-password = \"sesame");
        assert!(secret.contains(", line 2: ") && !secret.contains("sesame"), "{secret}");
        // It depends on settings that are not there.
        assert!(error("jetstream = true").contains("--nats"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let args = ["sociable-node", "--config=/nowhere/at.toml"].map(OsString::from).to_vec();
        assert!(with_file(&Flags::command(), args).unwrap_err().to_string().starts_with("/nowhere/at.toml: "));
    }
}
