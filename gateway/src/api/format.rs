//! The formats of bodies: JSON and MessagePack.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::problem::{Problem, ProblemKind};

/// A format of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON: `application/json`.
    #[default]
    Json,
    /// MessagePack: `application/msgpack`.
    MessagePack,
}

impl Format {
    const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// Returns the value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
        }
    }

    /// Returns the format of a body with this `Content-Type`: JSON if there is none.
    pub(crate) fn of_body(content_type: Option<&str>) -> Result<Self, Problem> {
        let Some(content_type) = content_type else { return Ok(Self::Json) };
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|format| kind.eq_ignore_ascii_case(format.content_type())).ok_or_else(|| {
            let detail = "the API reads other types of bodies: send `Content-Type: application/json` or `application/msgpack`";
            Problem::new(ProblemKind::UnsupportedMediaType, detail).of_parameter("Content-Type")
        })
    }

    /// Returns the format of an answer for a request with this `Accept`: the one with the most weight, in doubt `self`.
    pub(crate) fn of_answer(self, accept: Option<&str>) -> Result<Self, Problem> {
        let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(self) };
        let mut best = None;
        for format in [self].into_iter().chain(Self::ALL) {
            let weight = weight(accept, format.content_type());
            if weight > 0.0 && best.is_none_or(|(_, most)| weight > most) {
                best = Some((format, weight));
            }
        }
        best.map(|(format, _)| format).ok_or_else(|| {
            let detail = "the API has other types of answers: send `Accept: application/json` or `application/msgpack`";
            Problem::new(ProblemKind::NotAcceptable, detail).of_parameter("Accept")
        })
    }

    /// Reads a body.
    pub(crate) fn read<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, Problem> {
        match self {
            Self::Json => serde_json::from_slice(body).map(|Object(value)| value).map_err(|error| json_problem::<T>(body, &error)),
            Self::MessagePack => {
                let mut rest = body;
                let Object(value) = rmp_serde::from_read(&mut rest).map_err(|error| msgpack_problem::<T>(body, &error))?;
                if rest.is_empty() { Ok(value) } else { Err(Problem::new(ProblemKind::Malformed, "the body is longer than its one value")) }
            }
        }
    }

    /// Writes an answer.
    pub(crate) fn write<T: Serialize>(self, answer: &T) -> Result<Bytes, Problem> {
        let written = match self {
            Self::Json => serde_json::to_vec(answer).map_err(|error| error.to_string()),
            Self::MessagePack => rmp_serde::to_vec_named(answer).map_err(|error| error.to_string()),
        };
        written.map(Bytes::from).map_err(|error| Problem::new(ProblemKind::Unavailable, format!("answer not written: {error}")))
    }
}

/// A value that is read from an object alone. Types of serde accept lists of their members too, which the API does not document.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Returns the weight that a value of `Accept` gives a type. The most specific range counts.
fn weight(accept: &str, kind: &str) -> f32 {
    let family = kind.split('/').next().unwrap_or_default();
    let mut found = (0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let rank = if name.eq_ignore_ascii_case(kind) {
            3
        } else if name.strip_suffix("/*").is_some_and(|name| name.eq_ignore_ascii_case(family)) {
            2
        } else if name == "*/*" {
            1
        } else {
            continue;
        };
        let given = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = given.map_or(1.0, |weight| weight.parse().unwrap_or(1.0));
        if rank > found.0 {
            found = (rank, weight);
        }
    }
    found.1
}

fn json_problem<T: DeserializeOwned>(body: &[u8], error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let cause = text.rsplit_once(" at line ").map_or(&*text, |(cause, _)| cause);
    if error.is_data() {
        let again: Result<Object<T>, _> = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body));
        let problem = Problem::new(ProblemKind::Invalid, format!("the body cannot be used: {cause}")).on_line(line, column);
        return match again {
            Err(error) => problem.at(pointer(error.path())),
            Ok(_) => problem,
        };
    }
    Problem::new(ProblemKind::Malformed, format!("the body is not JSON: {cause}")).on_line(line.max(1), column.max(1))
}

fn msgpack_problem<T: DeserializeOwned>(body: &[u8], error: &rmp_serde::decode::Error) -> Problem {
    use rmp_serde::decode::Error;
    match error {
        Error::Syntax(_) | Error::TypeMismatch(_) | Error::OutOfRange | Error::LengthMismatch(_) => {
            let problem = Problem::new(ProblemKind::Invalid, format!("the body cannot be used: {error}"));
            let again: Result<Object<T>, _> = serde_path_to_error::deserialize(&mut rmp_serde::Deserializer::from_read_ref(body));
            match again {
                Err(error) => problem.at(pointer(error.path())),
                Ok(_) => problem,
            }
        }
        error => Problem::new(ProblemKind::Malformed, format!("the body is not MessagePack: {error}")),
    }
}

/// Returns a path as a JSON Pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::super::model::{Batch, Emit};
    use super::*;

    #[test]
    fn answer_has_the_format_with_the_most_weight() {
        use Format::{Json, MessagePack};
        let choose = |format: Format, accept: &str| format.of_answer(Some(accept)).ok();
        assert_eq!(Json.of_answer(None).ok(), Some(Json));
        assert_eq!(MessagePack.of_answer(None).ok(), Some(MessagePack));
        assert_eq!(choose(MessagePack, "*/*"), Some(MessagePack));
        assert_eq!(choose(Json, "text/html, application/msgpack;q=0.5"), Some(MessagePack));
        assert_eq!(choose(Json, "application/*;q=0.1, application/msgpack; q=0.9"), Some(MessagePack));
        assert_eq!(choose(Json, "application/json;q=0, */*"), Some(MessagePack));
        assert_eq!(choose(Json, "text/html"), None);
        assert_eq!(choose(Json, "*/*;q=0"), None);
    }

    #[test]
    fn fault_of_a_body_has_its_place() {
        let read = |text: &str| serde_json::to_value(Format::Json.read::<Emit>(text.as_bytes()).unwrap_err()).unwrap();
        let fault = read("{\"event\":\"a\",\n \"rooms\":[\"b\",7]}");
        assert_eq!(
            (&fault["status"], &fault["pointer"], &fault["line"], &fault["column"]),
            (&422.into(), &"/rooms/1".into(), &2.into(), &15.into())
        );
        let fault = read("{\"event\":\n  oops}");
        assert_eq!((&fault["status"], &fault["line"], &fault["column"]), (&400.into(), &2.into(), &3.into()));
        assert_eq!(read("")["status"], 400);
        assert_eq!(read(r#"["/",[],[],"a"]"#)["status"], 422);
        assert_eq!(read(r#"{"event":"a"} x"#)["status"], 400);
        assert_eq!(read(r#"{"event":"a","room":[]}"#)["pointer"], "/room");
    }

    #[test]
    fn message_pack_is_read_whole() {
        let body = rmp_serde::to_vec_named(&serde_json::json!({"event": "a", "args": [1]})).unwrap();
        assert_eq!(Format::MessagePack.read::<Emit>(&body).unwrap().event, "a");
        let kind = |body: &[u8]| Format::MessagePack.read::<Emit>(body).unwrap_err().kind();
        assert_eq!(kind(&[&*body, &[0xc0]].concat()), ProblemKind::Malformed);
        assert_eq!(kind(&body[..body.len() - 1]), ProblemKind::Malformed);
        assert_eq!(kind(&[0xc0]), ProblemKind::Invalid);
    }

    #[test]
    fn fault_in_a_batch_names_the_operation() {
        let text = r#"{"operations":[{"operation":"emit","event":"a"},{"operation":"emit","event":"a","room":[]}]}"#;
        let problem = serde_json::to_value(Format::Json.read::<Batch>(text.as_bytes()).unwrap_err()).unwrap();
        assert_eq!(problem["pointer"], "/operations/1");
    }
}
