//! Values as JSON, with a form for binary ones.
//!
//! JSON has no binary values. A binary value is an object with the one key `$binary`, whose value is Base64 (RFC 4648, section 4):
//! `{"$binary":"AQID"}`. An object of a client that looks like this gets one more `$`: `{"$$binary":…}`. Reading takes that `$` off.
//!
//! Formats that have binary values, such as MessagePack, write them as such. Reading takes both forms.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sociable::Value;
use thiserror::Error;

/// The key of a binary value.
const BINARY: &str = "$binary";

/// A value that is read and written as JSON, with the form `{"$binary":"…"}` for binary values.
///
/// ```
/// use sociable_gateway::Json;
///
/// let Json(value) = serde_json::from_str(r#"{"name":"dot","pixels":{"$binary":"AQID"}}"#)?;
/// assert_eq!(value["pixels"].as_bytes().map(|bytes| &bytes[..]), Some(&[1, 2, 3][..]));
/// assert_eq!(serde_json::to_string(&Json(value))?, r#"{"name":"dot","pixels":{"$binary":"AQID"}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json(pub Value);

/// The reason why a value in JSON is no argument.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonFault {
    /// The text of a binary value is no Base64.
    #[error("`$binary` is no Base64: use the standard alphabet with padding")]
    Base64,
    /// A binary value is not a text.
    #[error("`$binary` is no text: write the bytes as Base64")]
    NoText,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written(&self.0).serialize(serializer)
    }
}

/// Replaces the forms of binary values by the values.
fn read(value: Value) -> Result<Value, JsonFault> {
    match value {
        Value::Array(values) => values.into_iter().map(read).collect::<Result<_, _>>().map(Value::Array),
        Value::Object(mut entries) => match &mut entries[..] {
            [(key, Value::String(text))] if key == BINARY => {
                BASE64_STANDARD.decode(text).map(|bytes| Value::Binary(bytes.into())).map_err(|_| JsonFault::Base64)
            }
            [(key, _)] if key == BINARY => Err(JsonFault::NoText),
            _ => {
                if let [(key, _)] = &mut entries[..]
                    && is_escaped(key)
                {
                    key.remove(0);
                }
                let read = |(key, value)| Ok((key, read(value)?));
                entries.into_iter().map(read).collect::<Result<_, _>>().map(Value::Object)
            }
        },
        value => Ok(value),
    }
}

/// Returns whether a key is `$binary` with more than one `$`.
fn is_escaped(key: &str) -> bool {
    key.strip_prefix('$').is_some_and(|rest| rest.trim_start_matches('$') == "binary" && rest.starts_with('$'))
}

#[cfg(feature = "api")]
impl utoipa::PartialSchema for Json {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue).into()
    }
}

/// Any value.
#[cfg(feature = "api")]
impl utoipa::ToSchema for Json {}

/// A value that is written with the forms of binary values.
struct Written<'a>(&'a Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Binary(bytes) if !serializer.is_human_readable() => serializer.serialize_bytes(bytes),
            Value::Binary(bytes) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(BINARY, &BASE64_STANDARD.encode(bytes))?;
                map.end()
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(Written)),
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    if entries.len() == 1 && (key == BINARY || is_escaped(key)) {
                        map.serialize_entry(&format!("${key}"), &Written(value))?;
                    } else {
                        map.serialize_entry(key, &Written(value))?;
                    }
                }
                map.end()
            }
            value => value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn object(key: &str, value: Value) -> Value {
        Value::Object(vec![(key.into(), value)])
    }

    #[test]
    fn value_is_the_same_after_a_round_trip() {
        let values = [
            Value::Null,
            Value::Binary(Bytes::from_static(&[0, 255])),
            Value::Array(vec![object("a", Value::Binary(Bytes::new()))]),
            object("$binary", "AQID".into()),
            object("$binary", Value::Null),
            object("$$binary", object("$binary", Value::Binary(Bytes::from_static(b"x")))),
            object("$other", Value::Bool(true)),
            object("binary", Value::Bool(true)),
        ];
        for value in values {
            let text = serde_json::to_string(&Json(value.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Json>(&text).unwrap().0, value, "{text}");
        }
    }

    #[test]
    fn binary_form_is_refused_when_it_is_no_base64() {
        for text in [r#"{"$binary":"A"}"#, r#"[{"$binary":1}]"#, r#"{"$binary":"*"}"#] {
            assert!(serde_json::from_str::<Json>(text).is_err(), "{text}");
        }
        let two = serde_json::from_str::<Json>(r#"{"$binary":1,"b":2}"#).unwrap();
        assert_eq!(two.0["b"].as_i64(), Some(2));
    }
}
