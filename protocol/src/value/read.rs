//! The decoding of values by serde, and the replacement of placeholders.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Value;
use crate::parser::placeholder;

impl Value {
    /// Parses JSON, and replaces `{"_placeholder":true,"num":N}` by attachments. Without attachments, such an object stays an object.
    ///
    /// # Errors
    ///
    /// The text is not JSON, is nested deeper than 127 levels, or names a missing attachment.
    pub fn from_json(raw: &str, attachments: &[Bytes]) -> Result<Value, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let value = Reader { attachments }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reader { attachments: &[] }.deserialize(deserializer)
    }
}

/// A seed that reads a value whose placeholders stand for these attachments.
#[derive(Clone, Copy)]
struct Reader<'a> {
    attachments: &'a [Bytes],
}

impl Reader<'_> {
    /// Returns the attachment for an object that is a placeholder, else the object.
    fn fill<E: de::Error>(self, object: Value) -> Result<Value, E> {
        if self.attachments.is_empty() || object.get(placeholder::FLAG) != Some(&Value::Bool(true)) {
            return Ok(object);
        }
        let number = object.get(placeholder::NUMBER).and_then(Value::as_f64);
        let index = number.and_then(|number| placeholder::index(number, self.attachments.len()));
        index.map(|index| Value::Binary(self.attachments[index].clone())).ok_or_else(|| E::custom("illegal attachments"))
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value, or binary")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(bool.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Binary(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Binary(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element_seed(self)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            pairs.push((key, map.next_value_seed(self)?));
        }
        self.fill(Value::Object(pairs))
    }
}

/// The key of a map. MessagePack has keys that are not text; JavaScript converts them to text.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key: text, a number, a truth value or null")
            }

            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Key, E> {
                Ok(Key(text))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Key, E> {
                Ok(Key(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Key, E> {
                Ok(Key(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Key, E> {
                Ok(Key(number.to_string()))
            }

            fn visit_bool<E>(self, bool: bool) -> Result<Key, E> {
                Ok(Key(bool.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Key, E> {
                Ok(Key("null".to_owned()))
            }
        }

        deserializer.deserialize_any(Text)
    }
}
