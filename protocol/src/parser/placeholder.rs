//! Placeholders: in a JSON text, `{"_placeholder":true,"num":0}` stands for the attachment of that number.

use super::error::DecodeError;
use super::scan::Listener;
use super::unescape::unescape;

/// The keys of a placeholder.
pub(crate) const FLAG: &str = "_placeholder";
/// See [`FLAG`].
pub(crate) const NUMBER: &str = "num";

/// Returns the index that a number names among `count` attachments, if it is whole and in range.
pub(crate) fn index(number: f64, count: usize) -> Option<usize> {
    let index = number as usize;
    (number.fract() == 0.0 && number >= 0.0 && index < count).then_some(index)
}

/// A check during the scan of a text: each placeholder names an attachment, and their number is bounded.
///
/// The rules are those of the JavaScript parser. Only a flag that is `true` itself makes a placeholder. The last of several equal keys counts, and
/// other content of a placeholder is ignored.
#[derive(Debug)]
pub(super) struct Check {
    /// The number of attachments.
    count: usize,
    /// The limit of placeholders.
    max_placeholders: usize,
    /// The arrays and objects around the current position, bounded by the scanner's depth limit.
    open: Vec<Level>,
    /// The placeholders that count.
    found: Found,
}

/// The placeholders in some part of the text.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    placeholders: usize,
    /// True if one of them was refused.
    refused: bool,
}

/// The state of an array or object.
#[derive(Debug, Default)]
struct Level {
    key: Key,
    flagged: bool,
    number_is_good: bool,
    inside: Found,
}

/// The key that was read last.
#[derive(Debug, Default)]
enum Key {
    #[default]
    Other,
    Flag,
    Number,
}

impl Check {
    pub(super) fn new(count: usize, max_placeholders: usize) -> Self {
        Self { count, max_placeholders, open: Vec::new(), found: Found::default() }
    }

    /// Returns the result, once the text has been scanned.
    pub(super) fn verdict(&self) -> Result<(), DecodeError> {
        match self.found {
            Found { refused: true, .. } => Err(DecodeError::IllegalPlaceholder),
            Found { placeholders, .. } if placeholders > self.max_placeholders => Err(DecodeError::TooManyAttachments),
            _ => Ok(()),
        }
    }

    /// Notes the value of the last key, if the key belongs to a placeholder.
    fn value(&mut self, raw: &[u8]) {
        let Some(level) = self.open.last_mut() else { return };
        match level.key {
            Key::Other => {}
            Key::Flag => level.flagged = raw == b"true",
            Key::Number => {
                let number = std::str::from_utf8(raw).ok().and_then(|raw| raw.parse().ok());
                level.number_is_good = number.and_then(|number| index(number, self.count)).is_some();
            }
        }
    }
}

impl Listener for Check {
    fn open(&mut self) {
        self.value(b"");
        self.open.push(Level::default());
    }

    fn key(&mut self, raw: &[u8]) {
        let Some(level) = self.open.last_mut() else { return };
        let plain = |raw: &[u8]| match raw {
            raw if raw == FLAG.as_bytes() => Key::Flag,
            raw if raw == NUMBER.as_bytes() => Key::Number,
            _ => Key::Other,
        };
        level.key = if raw.contains(&b'\\') { plain(unescape(raw).as_bytes()) } else { plain(raw) };
    }

    fn scalar(&mut self, raw: &[u8]) {
        self.value(raw);
    }

    fn close(&mut self) {
        let Some(level) = self.open.pop() else { return };
        let found = if level.flagged { Found { placeholders: 1, refused: !level.number_is_good } } else { level.inside };
        let outer = self.open.last_mut().map_or(&mut self.found, |outer| &mut outer.inside);
        outer.placeholders += found.placeholders;
        outer.refused |= found.refused;
    }
}
