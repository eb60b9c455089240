//! Text of clients, checked while it is decoded.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most characters of a name.
const MAX_NAME: usize = 32;
/// Most characters of a message.
const MAX_MESSAGE: usize = 2_000;

/// The name of a user or a room: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=MAX_NAME).contains(&text.len()) && text.chars().all(fits) {
            Ok(Self(text))
        } else {
            Err(format!("a name has 1 to {MAX_NAME} letters, digits, - or _"))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text of a message, neither empty nor too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Message(String);

impl TryFrom<String> for Message {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.chars().take(MAX_MESSAGE + 1).count() {
            1..=MAX_MESSAGE => Ok(Self(text)),
            _ => Err(format!("a message has 1 to {MAX_MESSAGE} characters")),
        }
    }
}
