//! The arguments of an event or acknowledgement. They stay in their encoding until they are decoded into a type.
//!
//! Forwarded arguments are never parsed: [`Args`] are a slice of the received message.

mod builder;
mod decode;
mod halves;
mod raw;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use thiserror::Error;

use crate::msgpack;
use crate::parser::scan;
use crate::value::Value;

pub use builder::ArgsBuilder;
pub use raw::Raw;

/// An encoding of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON, with binary in attachments.
    Json,
    /// MessagePack.
    MsgPack,
}

/// Encoded arguments. Clones share them.
///
/// ```
/// use sociable_protocol::{Args, Encoding};
///
/// let mut builder = Args::builder(Encoding::Json);
/// builder.push("Ada")?.push(&vec![1, 2])?;
/// let args = builder.finish();
/// assert_eq!(args.raw_json(), Some(r#""Ada",[1,2]"#));
/// assert_eq!(args.decode::<String>(0)?, "Ada");
/// let (name, numbers, nothing): (String, Vec<u8>, Option<bool>) = args.decode_all()?;
/// # assert_eq!((name.as_str(), numbers, nothing), ("Ada", vec![1, 2], None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    /// The arguments in sequence, validated on arrival.
    items: Items,
    /// The number of arguments.
    count: usize,
    /// The attachments of the placeholders in JSON, never an empty list. A view shares those of the whole.
    attachments: Option<Arc<[Bytes]>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Items {
    /// Separated by commas, without brackets, and without whitespace at the ends.
    Json(ByteString),
    /// In sequence without separators. Extension types have been replaced.
    MsgPack(Bytes),
}

/// The error of arguments that do not fit the requested type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArgsError {
    /// The argument is missing, and the type cannot be read from null.
    #[error("argument {index} missing: use an Option if it may be absent")]
    Missing {
        /// The index, from 0.
        index: usize,
    },
    /// The argument does not fit.
    #[error("argument {index}: {reason}")]
    Invalid {
        /// The index, from 0.
        index: usize,
        /// The expected and the actual type.
        reason: String,
    },
    /// The type of all arguments is no tuple, sequence or struct.
    #[error("arguments: {0}")]
    Shape(String),
}

/// The error of a value that cannot be an argument.
///
/// The type fails to serialize, or has keys that are not text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("argument not encoded: {0}")]
pub struct EncodeError(pub(crate) String);

impl Args {
    /// Returns no arguments.
    pub fn empty(encoding: Encoding) -> Self {
        let items = match encoding {
            Encoding::Json => Items::Json(ByteString::new()),
            Encoding::MsgPack => Items::MsgPack(Bytes::new()),
        };
        Self { items, count: 0, attachments: None }
    }

    /// Returns one argument, null.
    pub fn null(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Json => Self::from_json(ByteString::from_static("null"), 1),
            Encoding::MsgPack => Self::from_msgpack(Bytes::from_static(&[msgpack::NIL]), 1),
        }
    }

    /// Returns one encoded argument.
    ///
    /// Values that serialize as bytes (`bytes::Bytes`, `serde_bytes`, [`Value::Binary`]) become attachments in JSON and `bin` in MessagePack. In
    /// JSON, NaN and infinity become null.
    ///
    /// # Errors
    ///
    /// The type fails to serialize, or has keys that are not text.
    pub fn encode<T: Serialize + ?Sized>(encoding: Encoding, value: &T) -> Result<Self, EncodeError> {
        let mut builder = Self::builder(encoding);
        builder.push(value)?;
        Ok(builder.finish())
    }

    /// Returns a builder, which takes arguments one by one.
    pub fn builder(encoding: Encoding) -> ArgsBuilder {
        ArgsBuilder::new(encoding)
    }

    /// Returns arguments from validated, trimmed `items`.
    pub(crate) fn from_json(items: ByteString, count: usize) -> Self {
        Self { items: Items::Json(items), count, attachments: None }
    }

    /// Returns arguments from validated `items` without extension types.
    pub(crate) fn from_msgpack(items: Bytes, count: usize) -> Self {
        Self { items: Items::MsgPack(items), count, attachments: None }
    }

    /// Adds the attachments of the placeholders.
    pub(crate) fn attach(&mut self, attachments: Vec<Bytes>) {
        self.attachments = (!attachments.is_empty()).then(|| attachments.into());
    }

    /// Returns the number of arguments.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the encoded size in bytes, with attachments.
    pub fn encoded_len(&self) -> usize {
        self.bytes().len() + self.attachments().iter().map(Bytes::len).sum::<usize>()
    }

    /// Returns the encoding.
    pub fn encoding(&self) -> Encoding {
        match self.items {
            Items::Json(_) => Encoding::Json,
            Items::MsgPack(_) => Encoding::MsgPack,
        }
    }

    /// Returns the arguments separated by commas, without brackets, if they are JSON. Placeholders stand for attachments.
    pub fn raw_json(&self) -> Option<&str> {
        match &self.items {
            Items::Json(items) => Some(items),
            Items::MsgPack(_) => None,
        }
    }

    /// Returns the arguments in sequence, if they are MessagePack.
    pub fn raw_msgpack(&self) -> Option<&[u8]> {
        match &self.items {
            Items::Json(_) => None,
            Items::MsgPack(items) => Some(items),
        }
    }

    /// Returns the attachments of the placeholders in JSON. MessagePack has none.
    pub fn attachments(&self) -> &[Bytes] {
        self.attachments.as_deref().unwrap_or_default()
    }

    /// Returns one argument as a view, which shares the buffer and all attachments.
    pub fn get(&self, index: usize) -> Option<Args> {
        self.ranges().nth(index).map(|range| self.view(range, 1))
    }

    /// Returns an iterator over the arguments, each as a view.
    pub fn iter(&self) -> impl Iterator<Item = Args> + '_ {
        self.ranges().map(|range| self.view(range, 1))
    }

    /// Returns the first `n` arguments, or all if there are fewer, as a view.
    pub fn prefix(&self, n: usize) -> Args {
        match n.checked_sub(1).map(|last| self.ranges().nth(last)) {
            None => Self::empty(self.encoding()),
            Some(None) => self.clone(),
            Some(Some(last)) => self.view(0..last.end, n),
        }
    }

    /// Returns a copy in a buffer of its own, which does not keep the received message in memory.
    #[must_use]
    pub fn detached(&self) -> Args {
        let items = match &self.items {
            Items::Json(items) => Items::Json(ByteString::from(&**items)),
            Items::MsgPack(items) => Items::MsgPack(Bytes::copy_from_slice(items)),
        };
        Self { items, count: self.count, attachments: self.attachments.clone() }
    }

    /// Returns the arguments after the first `n`, as a view.
    pub fn skip(&self, n: usize) -> Args {
        match self.ranges().nth(n) {
            None => Self::empty(self.encoding()),
            Some(first) => self.view(first.start..self.bytes().len(), self.count - n),
        }
    }

    /// Returns the arguments in another encoding. Values that cannot be converted become null: see [`Parser::encode`](crate::Parser::encode).
    pub(crate) fn in_encoding(&self, encoding: Encoding) -> Cow<'_, Args> {
        if self.encoding() == encoding {
            return Cow::Borrowed(self);
        }
        let mut builder = Self::builder(encoding);
        for arg in self.iter() {
            let value = arg.decode(0).unwrap_or(Value::Null);
            if builder.push(&value).is_err() {
                builder.push_null();
            }
        }
        Cow::Owned(builder.finish())
    }

    fn view(&self, range: Range<usize>, count: usize) -> Args {
        let items = match &self.items {
            Items::Json(items) => Items::Json(items.slice_ref(&items[range])),
            Items::MsgPack(items) => Items::MsgPack(items.slice(range)),
        };
        Args { items, count, attachments: self.attachments.clone() }
    }

    fn bytes(&self) -> &[u8] {
        match &self.items {
            Items::Json(items) => items.as_bytes(),
            Items::MsgPack(items) => items,
        }
    }

    /// Returns the range of each argument.
    fn ranges(&self) -> Ranges<'_> {
        Ranges { args: self, at: 0, left: self.count }
    }
}

/// An iterator over the ranges of the arguments. The last one ends at the end of the buffer and needs no search.
#[derive(Clone, Debug)]
struct Ranges<'a> {
    args: &'a Args,
    at: usize,
    left: usize,
}

impl Iterator for Ranges<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        self.left = self.left.checked_sub(1)?;
        let bytes = self.args.bytes();
        match &self.args.items {
            Items::Json(_) if self.left == 0 => {
                let whitespace = bytes[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                Some(self.at + whitespace..bytes.len())
            }
            Items::MsgPack(_) if self.left == 0 => Some(self.at..bytes.len()),
            Items::Json(_) => {
                let (range, at) = scan::next(bytes, self.at)?;
                self.at = at;
                Some(range)
            }
            Items::MsgPack(_) => {
                let begin = self.at;
                self.at = msgpack::skip(bytes, begin, usize::MAX).ok()?.end;
                Some(begin..self.at)
            }
        }
    }

    fn nth(&mut self, n: usize) -> Option<Range<usize>> {
        if n >= self.left {
            self.left = 0;
            return None;
        }
        (0..n).try_for_each(|_| self.next().map(drop))?;
        self.next()
    }
}

#[cfg(test)]
mod tests;
