//! The forms of foreign texts in logs.
//!
//! A name that a client or another node chose may contain line breaks or terminal commands: [`plain`] escapes them. The id of a session is a secret:
//! [`shortened`] leaves most of it out.

use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer};

/// The limit of characters of a text in a log.
const MOST: usize = 256;
/// The number of characters of an id in a log at each end. At the front this is the tag. 72 of the 96 random bits stay secret.
const SHOWN: usize = 4;

/// Returns a foreign text for a log.
///
/// Control characters and those that change the direction of text are escaped. A longer text is cut after 256 characters.
///
/// ```
/// use sociable_protocol::log::plain;
///
/// assert_eq!(plain("red\nERROR forged\u{1b}[2J").to_string(), r"red\nERROR forged\u{1b}[2J");
/// ```
pub fn plain(text: &str) -> impl fmt::Display {
    let end = text.char_indices().nth(MOST).map(|(at, _)| at);
    let shown = &text[..end.unwrap_or(text.len())];
    fmt::from_fn(move |f| write!(f, "{}{}", escaped(shown), if end.is_some() { ".." } else { "" }))
}

/// Returns the whole text, escaped as by [`plain`], for a program that writes log lines.
pub fn escaped(text: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        text.chars().try_for_each(|character| {
            if breaks_lines(character) { write!(f, "{}", character.escape_default()) } else { f.write_char(character) }
        })
    })
}

/// Returns the text of an id for a log: the first and the last four characters. A shorter text is returned as by [`plain`].
///
/// ```
/// use sociable_protocol::log::shortened;
///
/// assert_eq!(shortened("AbCdeeeeeeeeeeeeexyz").to_string(), "AbCd..exyz");
/// ```
pub fn shortened(id: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let place = |characters: usize| id.char_indices().nth(characters).map(|(at, _)| at);
        match (place(2 * SHOWN), place(SHOWN), id.char_indices().nth_back(SHOWN - 1)) {
            (Some(_), Some(head), Some((tail, _))) => write!(f, "{}..{}", plain(&id[..head]), plain(&id[tail..])),
            _ => write!(f, "{}", plain(id)),
        }
    })
}

/// Deserializes a foreign text in the form of [`plain`].
pub(crate) fn plain_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_plain = text.len() <= MOST && !text.chars().any(breaks_lines);
    Ok(if is_plain { text } else { plain(&text).to_string() })
}

/// Returns whether a terminal or a log reader may interpret a character.
fn breaks_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_one_line() {
        assert_eq!(plain("größe ☂ 'a\"\\").to_string(), "größe ☂ 'a\"\\");
        assert_eq!(plain("\r\n\t\0\u{1b}\u{7f}\u{85}\u{2028}\u{202e}").to_string(), r"\r\n\t\u{0}\u{1b}\u{7f}\u{85}\u{2028}\u{202e}");
        assert_eq!(plain(&"é".repeat(257)).to_string(), "é".repeat(256) + "..");
        assert_eq!(plain(&"é".repeat(256)).to_string(), "é".repeat(256));
    }

    #[test]
    fn ids_are_never_shown_whole() {
        assert_eq!(shortened("").to_string(), "");
        assert_eq!(shortened("12345678").to_string(), "12345678");
        assert_eq!(shortened("123456789").to_string(), "1234..6789");
        assert_eq!(shortened("\né☂34-------☂2\n4").to_string(), r"\né☂3..☂2\n4");
    }
}
