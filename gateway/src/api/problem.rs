//! Problems: the answers to requests that fail, as RFC 9457 has them.
//!
//! A problem is a JSON object of the type `application/problem+json`. Its `type` is the address of a heading of this page.
//!
//! | member | meaning |
//! |---|---|
//! | `type` | The kind of the problem. Programs compare it. |
//! | `title` | The kind in words. It is the same for each problem of a kind. |
//! | `status` | The status code of the answer. |
//! | `detail` | The fault of this request, with a remedy. |
//! | `pointer` | The place of the fault in the body, as a JSON Pointer (RFC 6901). |
//! | `parameter` | The name of the parameter or header at fault. |
//! | `line`, `column` | The place of the fault in the text, counted from 1. |
//!
//! # malformed
//!
//! 400: the body is not JSON or MessagePack, or the request ended too early.
//!
//! # unauthorized
//!
//! 401: the request has no key, or none that is known. Send `Authorization: Bearer <secret>`.
//!
//! # forbidden
//!
//! 403: the scope of the key does not include the operation, the namespace or the rooms.
//!
//! # not-found
//!
//! 404: the API has no such path, or no namespace has this name.
//!
//! # method-not-allowed
//!
//! 405: the path has another method. The header `Allow` names it.
//!
//! # not-acceptable
//!
//! 406: the header `Accept` excludes JSON and MessagePack.
//!
//! # timeout
//!
//! 408: the body did not arrive in time.
//!
//! # in-progress
//!
//! 409: a request with this `Idempotency-Key` is running. The header `Retry-After` has the seconds to wait for its answer.
//!
//! # outcome-unknown
//!
//! 409: a request with this `Idempotency-Key` may have run, and its answer is lost. Its node was stopped, or the answer was too long to be stored.
//! Find out whether it ran, and use a new key to run it again.
//!
//! # too-large
//!
//! 413: the body is longer than the limit.
//!
//! # unsupported-media-type
//!
//! 415: the body is of another type than JSON and MessagePack, or it is compressed.
//!
//! # invalid
//!
//! 422: the request is readable, but a value is missing, unknown, of the wrong type, or beyond a limit.
//!
//! # key-reused
//!
//! 422: another request had this `Idempotency-Key`. A repetition has the same operation, the same body, byte by byte, and the same formats.
//!
//! # durability-unavailable
//!
//! 422: the cluster has no JetStream, so no event can be persisted.
//!
//! # too-many-requests
//!
//! 429: the key has used up its rate, or has too many requests at the same time. The header `Retry-After` has the seconds to wait.
//!
//! # unavailable
//!
//! 503: a worker thread is overloaded, the other nodes cannot be reached, or JetStream refuses to persist. Some receivers may have got the event.
//! Or the store of the idempotency keys cannot be reached: then nothing was done.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

/// The address of this page.
const PAGE: &str = "https://docs.rs/sociable-gateway/latest/sociable_gateway/api/problem/index.html";

/// The `Content-Type` of problems.
pub const PROBLEM_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($kind:ident $status:literal $name:literal $title:literal)*) => {
        /// A kind of problems. Each has a heading on the page of its [module](self).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ProblemKind {
            $(#[doc = concat!($status, ": ", $title, ".")] $kind,)*
        }

        impl ProblemKind {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns the name, which is the last part of the `type`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// Returns the kind in words.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$kind => $title,)*
                }
            }

            /// Returns the status code.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$kind => $status,)*
                }
            }
        }
    };
}

kinds! {
    Malformed 400 "malformed" "Malformed body"
    Unauthorized 401 "unauthorized" "No valid key"
    Forbidden 403 "forbidden" "Outside the scope of the key"
    NotFound 404 "not-found" "Not found"
    MethodNotAllowed 405 "method-not-allowed" "Method not allowed"
    NotAcceptable 406 "not-acceptable" "Not acceptable"
    Timeout 408 "timeout" "Body too late"
    InProgress 409 "in-progress" "Request in progress"
    OutcomeUnknown 409 "outcome-unknown" "Outcome unknown"
    TooLarge 413 "too-large" "Body too large"
    UnsupportedMediaType 415 "unsupported-media-type" "Unsupported type of the body"
    Invalid 422 "invalid" "Invalid request"
    KeyReused 422 "key-reused" "Idempotency key of another request"
    DurabilityUnavailable 422 "durability-unavailable" "Durability unavailable"
    TooManyRequests 429 "too-many-requests" "Too many requests"
    Unavailable 503 "unavailable" "Temporarily unavailable"
}

impl ProblemKind {
    /// Returns the `type`.
    pub fn uri(self) -> String {
        format!("{PAGE}#{}", self.name())
    }
}

/// The reason why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    place: Place,
    retry_after: Option<Duration>,
}

/// The place of a fault.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    pointer: Option<String>,
    parameter: Option<Cow<'static, str>>,
    /// Line and column.
    position: Option<(usize, usize)>,
}

/// A problem as it is written.
#[derive(Serialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// The kind of the problem. Programs compare it.
    #[schema(format = "uri")]
    r#type: String,
    /// The kind in words.
    title: &'a str,
    /// The status code of the answer.
    status: u16,
    /// The fault of this request, with a remedy.
    detail: &'a str,
    /// The place of the fault in the body, as a JSON Pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pointer: Option<&'a str>,
    /// The name of the parameter or header at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<&'a str>,
    /// The line of the fault in the text, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    line: Option<usize>,
    /// The column of the fault in the text, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    column: Option<usize>,
}

impl Problem {
    /// Returns a problem with the fault in words: lower case, with a remedy.
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), place: Place::default(), retry_after: None }
    }

    /// Sets the place in the body, as a JSON Pointer.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.place.pointer = Some(pointer.into());
        self
    }

    /// Sets the name of the parameter or header at fault.
    #[must_use]
    pub fn of_parameter(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.place.parameter = Some(name.into());
        self
    }

    /// Sets line and column, counted from 1.
    #[must_use]
    pub fn on_line(mut self, line: usize, column: usize) -> Self {
        self.place.position = Some((line, column));
        self
    }

    /// Sets the time after which the request may succeed.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Returns the fault in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the seconds of `Retry-After`, if the request may succeed later.
    pub fn retry_secs(&self) -> Option<u64> {
        let time = self.retry_after?;
        Some((time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1))
    }

    pub(crate) fn body(&self) -> ProblemBody<'_> {
        let Place { pointer, parameter, position } = &self.place;
        ProblemBody {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status(),
            detail: &self.detail,
            pointer: pointer.as_deref(),
            parameter: parameter.as_deref(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
        }
    }

    /// Moves the place under a prefix, for the parts of a batch.
    pub(crate) fn within(mut self, prefix: &str) -> Self {
        if let Some(pointer) = &mut self.place.pointer {
            pointer.insert_str(0, prefix);
        }
        self
    }

    /// Turns the place in a body into a parameter, for requests that have a query instead.
    pub(crate) fn in_query(mut self) -> Self {
        if let Some(pointer) = self.place.pointer.take() {
            let name = pointer.split('/').nth(1).unwrap_or_default();
            self.place.parameter = Some(if name == "rooms" { "room".into() } else { name.to_owned().into() });
        }
        self
    }
}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_heading_with_its_status() {
        let page = include_str!("problem.rs");
        for kind in ProblemKind::ALL {
            let heading = format!("//! # {}\n//!\n//! {}: ", kind.name(), kind.status());
            assert!(page.contains(&heading), "{kind:?}");
        }
    }

    #[test]
    fn absent_members_are_not_written() {
        let problem = Problem::new(ProblemKind::Invalid, "wrong").at("/args/0");
        let written = serde_json::to_value(&problem).unwrap();
        let expected = serde_json::json!({
            "type": format!("{PAGE}#invalid"), "title": "Invalid request", "status": 422, "detail": "wrong", "pointer": "/args/0",
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn seconds_to_wait_are_rounded_up() {
        let wait = |millis| Problem::new(ProblemKind::Unavailable, "").retry_after(Duration::from_millis(millis)).retry_secs();
        assert_eq!([wait(0), wait(900), wait(1000), wait(1001)], [Some(1), Some(1), Some(1), Some(2)]);
    }
}
