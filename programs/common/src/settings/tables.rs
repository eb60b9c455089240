//! Tables of the file with settings, which have no flags.

use std::fmt::{self, Display};
use std::ops::{Deref, Range};
use std::path::PathBuf;

use serde::de::value::Error as ValueError;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use toml::Spanned;
use toml::de::DeTable;

use super::fault::{FileError, Mistake};

/// The tables of a program without tables.
#[derive(Default, Deserialize)]
pub(super) struct NoTables {}

/// The tables of a file, with the text that shows the place of a fault. The default stands for no file.
#[derive(Default)]
pub struct Tables<T> {
    tables: T,
    path: PathBuf,
    text: String,
}

impl<T> Tables<T> {
    pub(super) fn new(tables: T, path: PathBuf, text: String) -> Self {
        Self { tables, path, text }
    }

    /// Returns an error with the place of a value, which [`Spanned`](toml::Spanned) has. The cause must not quote a secret.
    ///
    /// The program finds such faults after the parsing, for example in tables that contradict each other.
    pub fn fault(&self, at: &Range<usize>, cause: impl Display) -> FileError {
        FileError::Parse { path: self.path.clone(), mistake: Mistake::new(&self.text, at.start, cause.to_string()) }
    }

    /// Returns an error with the place of a key, such as that of `["webhooks", "retries"]`, or of the last table around it that the file has.
    /// The cause must not quote a secret.
    pub fn fault_of(&self, keys: &[&str], cause: impl Display) -> FileError {
        self.fault(&place(&self.text, keys), cause)
    }
}

impl<T> Deref for Tables<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.tables
    }
}

/// The text is left out, since it may have secrets.
impl<T: fmt::Debug> fmt::Debug for Tables<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("tables", &self.tables).field("path", &self.path).finish_non_exhaustive()
    }
}

/// Returns the names of the keys that a struct reads; none for other types. Tests compare them with the documentation.
///
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "kebab-case")]
/// #[allow(dead_code)]
/// struct Webhooks { timeout_ms: u64, retries: u32 }
///
/// assert_eq!(sociable_program::settings::keys::<Webhooks>(), ["timeout-ms", "retries"]);
/// ```
pub fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // The value is never made.
    drop(T::deserialize(Keys(&mut keys)));
    keys
}

/// Returns the tables of a text. `is_flag` tells which keys stand above the tables.
pub(super) fn read<T: DeserializeOwned>(text: &str, table: Spanned<DeTable<'_>>, is_flag: impl Fn(&str) -> bool) -> Result<T, Mistake> {
    T::deserialize(toml::Deserializer::from(table)).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        // Without its input the error shows the message, and the path of the key.
        let shown = error.to_string();
        let path = shown.strip_prefix(error.message()).and_then(|rest| rest.trim().strip_prefix("in "));
        let mut cause = without_values(error.message());
        if unknown_field(error.message()).is_some_and(|name| is_flag(name.trim_matches('`'))) {
            cause = format!("{} stands in a table: write it above the first one", cause.split(' ').next().unwrap_or_default());
        }
        Mistake::new(text, start, path.map_or_else(|| cause.clone(), |path| format!("`{}`: {cause}", quoted(text, path.trim_matches('`')))))
    })
}

/// Returns the place of the last of nested keys that a text has.
fn place(text: &str, keys: &[&str]) -> Range<usize> {
    let mut place = 0..0;
    let root = DeTable::parse(text).ok();
    let mut table = root.as_ref().map(Spanned::get_ref);
    for name in keys {
        let Some((key, value)) = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name)) else { break };
        place = key.span();
        table = value.get_ref().as_table();
    }
    place
}

/// Returns a path of keys as TOML writes it. `path` has the keys of the text with dots between them.
fn quoted(text: &str, path: &str) -> String {
    let root = DeTable::parse(text).ok();
    let mut table = root.as_ref().map(Spanned::get_ref);
    let (mut rest, mut keys) = (path, vec![]);
    while let Some((key, value)) = table.and_then(|table| table.iter().find(|(key, _)| begins_with_key(rest, key.get_ref()))) {
        let name = key.get_ref();
        let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        keys.push(if is_bare { name.to_string() } else { format!("{name:?}") });
        rest = rest.get(name.len()..).map_or("", |rest| rest.strip_prefix('.').unwrap_or(rest));
        table = value.get_ref().as_table();
    }
    if !rest.is_empty() {
        keys.push(rest.to_owned());
    }
    keys.join(".")
}

/// Returns whether a path of keys has this key first.
fn begins_with_key(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| !path.is_empty() && (rest.is_empty() || rest.starts_with('.')))
}

/// Returns the field of a message of `serde` that does not exist.
fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field ")?.split(", ").next()
}

/// Returns a message of `serde` without the value that it quotes, which may be a secret.
fn without_values(message: &str) -> String {
    let (before, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    if let Some(name) = message.strip_prefix("unknown field ").and_then(|rest| rest.strip_suffix(", there are no fields")) {
        return format!("{name} is no setting; the table has none");
    }
    if let Some(name) = before.strip_prefix("unknown field ") {
        return format!("{name} is no setting; expected {expected}");
    }
    match ["invalid type: ", "invalid value: ", "unknown variant "].iter().any(|start| before.starts_with(start)) {
        true => format!("expected {}", plain(expected)),
        false => message.into(),
    }
}

/// Returns what `serde` expects, in the words of TOML.
fn plain(expected: &str) -> &str {
    match expected {
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number in its range",
        "f32" | "f64" => "a number",
        "" => "another value",
        expected if expected.starts_with("struct ") => "a table",
        expected => expected,
    }
}

/// A deserializer that notes the names of fields.
struct Keys<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::custom("no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], _: V) -> Result<V::Value, ValueError> {
        *self.0 = fields;
        Err(ValueError::custom("no value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
