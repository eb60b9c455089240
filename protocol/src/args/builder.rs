//! The encoding of arguments.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::Formatter;

use super::{Args, EncodeError, Encoding, Items};
use crate::msgpack;
use crate::parser::placeholder;
use crate::value::Value;

/// A builder of [`Args`], which takes them one by one.
///
/// ```
/// use sociable_protocol::{Args, Encoding};
///
/// let mut builder = Args::builder(Encoding::Json);
/// builder.push("file")?.push(&bytes::Bytes::from_static(b"\x01\x02"))?;
/// let args = builder.finish();
/// assert_eq!(args.raw_json(), Some(r#""file",{"_placeholder":true,"num":0}"#));
/// assert_eq!(args.attachments(), [&b"\x01\x02"[..]]);
/// # Ok::<(), sociable_protocol::EncodeError>(())
/// ```
#[derive(Debug)]
pub struct ArgsBuilder {
    encoding: Encoding,
    /// The items so far, in the form of [`Args`].
    buffer: Vec<u8>,
    count: usize,
    attachments: Vec<Bytes>,
}

impl ArgsBuilder {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, buffer: Vec::new(), count: 0, attachments: Vec::new() }
    }

    /// Adds one argument: see [`Args::encode`].
    ///
    /// # Errors
    ///
    /// As [`Args::encode`]; the builder is then unchanged.
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<&mut Self, EncodeError> {
        let (length, attachments) = (self.buffer.len(), self.attachments.len());
        self.separate();
        let written = match self.encoding {
            Encoding::Json => {
                let formatter = Placeholders { attachments: &mut self.attachments };
                let mut serializer = serde_json::Serializer::with_formatter(&mut self.buffer, formatter);
                value.serialize(&mut serializer).map_err(|error| EncodeError(error.to_string()))
            }
            Encoding::MsgPack => {
                // The options match the decoder's, and structs become maps, for JavaScript.
                let mut serializer = rmp_serde::Serializer::new(&mut self.buffer).with_struct_map().with_human_readable();
                value.serialize(&mut serializer).map_err(|error| EncodeError(error.to_string()))
            }
        };
        if let Err(error) = written {
            self.buffer.truncate(length);
            self.attachments.truncate(attachments);
            return Err(error);
        }
        self.count += 1;
        Ok(self)
    }

    /// Adds all arguments of `args`.
    ///
    /// They are copied unchanged, unless they have another encoding, or their attachments need new numbers.
    ///
    /// # Errors
    ///
    /// Arguments that have to be converted are nested deeper than [`Value`] allows. The builder is then unchanged.
    pub fn append(&mut self, args: &Args) -> Result<&mut Self, EncodeError> {
        let numbers_stay = args.attachments().is_empty() || self.attachments.is_empty();
        if args.encoding() == self.encoding && numbers_stay {
            if !args.is_empty() {
                self.separate();
                self.buffer.extend_from_slice(args.bytes());
                self.attachments.extend_from_slice(args.attachments());
                self.count += args.len();
            }
            return Ok(self);
        }
        let values: Vec<Value> = args.decode_all().map_err(|error| EncodeError(error.to_string()))?;
        for value in &values {
            self.push(value)?;
        }
        Ok(self)
    }

    /// Adds null. This cannot fail.
    pub(super) fn push_null(&mut self) {
        self.separate();
        match self.encoding {
            Encoding::Json => self.buffer.extend_from_slice(b"null"),
            Encoding::MsgPack => self.buffer.push(msgpack::NIL),
        }
        self.count += 1;
    }

    /// Returns the arguments added so far.
    pub fn finish(self) -> Args {
        let items = match self.encoding {
            // serde_json writes only UTF-8.
            Encoding::Json => Items::Json(String::from_utf8(self.buffer).unwrap_or_default().into()),
            Encoding::MsgPack => Items::MsgPack(self.buffer.into()),
        };
        let mut args = Args { items, count: self.count, attachments: None };
        args.attach(self.attachments);
        args
    }

    /// Adds a comma before the next item, except before the first.
    fn separate(&mut self) {
        if self.encoding == Encoding::Json && self.count > 0 {
            self.buffer.push(b',');
        }
    }
}

/// A formatter that writes bytes as attachments: serde_json leaves the form of bytes to its formatter.
struct Placeholders<'a> {
    attachments: &'a mut Vec<Bytes>,
}

impl Formatter for Placeholders<'_> {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        write!(writer, r#"{{"{}":true,"{}":{}}}"#, placeholder::FLAG, placeholder::NUMBER, self.attachments.len())?;
        self.attachments.push(Bytes::copy_from_slice(value));
        Ok(())
    }
}
