//! The decoding of arguments into types.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::value::UnitDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{Args, ArgsError, Items, Ranges, halves};
use crate::value::Value;

/// The limit of nested levels in a type, as in serde_json. The same applies to MessagePack.
const MAX_DEPTH: usize = 128;

impl Args {
    /// Decodes one argument. A missing one is decoded as null, if the type allows it.
    ///
    /// Half surrogate pairs are impossible in Rust's text: each half becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// [`ArgsError::Missing`] or [`ArgsError::Invalid`].
    pub fn decode<T: DeserializeOwned>(&self, index: usize) -> Result<T, ArgsError> {
        self.read(|args| match args.ranges().nth(index) {
            Some(range) => args.element(range, index, PhantomData),
            None => missing(index, PhantomData),
        })
    }

    /// Decodes all arguments into a tuple or a struct, or into a sequence.
    ///
    /// For tuples and structs, missing arguments are null and surplus ones are ignored.
    ///
    /// # Errors
    ///
    /// The first argument that is missing or of another type; or [`ArgsError::Shape`] if `T` is none of these.
    pub fn decode_all<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        self.read(|args| T::deserialize(All { args, ranges: args.ranges(), index: 0, wanted: 0 }))
    }

    /// Reads the arguments. If that fails and there are half surrogate pairs, reads the arguments again without them.
    fn read<T>(&self, read: impl Fn(&Args) -> Result<T, ArgsError>) -> Result<T, ArgsError> {
        read(self).or_else(|error| match self.without_halves() {
            Some(whole) => read(&whole),
            None => Err(error),
        })
    }

    /// Returns the arguments with U+FFFD for each half of a surrogate pair. `None` if there is no half.
    fn without_halves(&self) -> Option<Args> {
        match &self.items {
            Items::Json(items) => {
                let items = Items::Json(halves::replaced(items)?.into());
                Some(Args { items, count: self.count, attachments: self.attachments.clone() })
            }
            Items::MsgPack(_) => None,
        }
    }

    fn element<'de, S: DeserializeSeed<'de>>(&'de self, range: Range<usize>, index: usize, seed: S) -> Result<S::Value, ArgsError> {
        match &self.items {
            Items::Json(items) if self.attachments.is_none() => {
                let mut deserializer = serde_json::Deserializer::from_str(&items[range]);
                seed.deserialize(&mut deserializer).map_err(|error| invalid(index, error))
            }
            Items::Json(items) => {
                let value = Value::from_json(&items[range], self.attachments()).map_err(|error| invalid(index, error))?;
                seed.deserialize(value).map_err(|error| invalid(index, error))
            }
            Items::MsgPack(items) => {
                let mut deserializer = rmp_serde::Deserializer::from_read_ref(&items[range]).with_human_readable();
                deserializer.set_max_depth(MAX_DEPTH);
                seed.deserialize(&mut deserializer).map_err(|error| invalid(index, error))
            }
        }
    }
}

fn missing<'de, S: DeserializeSeed<'de>>(index: usize, seed: S) -> Result<S::Value, ArgsError> {
    seed.deserialize(UnitDeserializer::<de::value::Error>::new()).map_err(|_| ArgsError::Missing { index })
}

fn invalid(index: usize, error: impl fmt::Display) -> ArgsError {
    ArgsError::Invalid { index, reason: error.to_string() }
}

impl de::Error for ArgsError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Shape(message.to_string())
    }
}

/// All arguments, as a sequence.
struct All<'a> {
    args: &'a Args,
    ranges: Ranges<'a>,
    index: usize,
    /// The smallest number of elements; missing ones are null.
    wanted: usize,
}

impl<'de> SeqAccess<'de> for All<'de> {
    type Error = ArgsError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ArgsError> {
        let index = self.index;
        self.index += 1;
        match self.ranges.next() {
            Some(range) => self.args.element(range, index, seed).map(Some),
            None if index < self.wanted => missing(index, seed).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.ranges.left)
    }
}

impl<'de> Deserializer<'de> for All<'de> {
    type Error = ArgsError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_seq(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, ArgsError> {
        self.wanted = len;
        visitor.visit_seq(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, len: usize, visitor: V) -> Result<V::Value, ArgsError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq map enum identifier ignored_any
    }
}
