//! Webhooks as CloudEvents 1.0, in the binary and the batch mode of the HTTP binding.

use std::borrow::Cow;
use std::time::SystemTime;

use bytestring::ByteString;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use sociable::Id;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The version of the specification.
const SPEC_VERSION: &str = "1.0";

/// The media type of one event in binary mode.
pub(super) const JSON: &str = "application/json";
/// The media type of a batch.
pub(super) const BATCH: &str = "application/cloudevents-batch+json";

/// The characters that the HTTP binding encodes in header values, besides all that is not ASCII.
const IN_HEADERS: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b'%');
/// The characters that are encoded in a segment of the path of a URI.
const IN_PATHS: AsciiSet = IN_HEADERS
    .add(b'/')
    .add(b'?')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b']')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The type of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Connected,
    Event,
    Disconnected,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "io.sociable.connect",
            Self::Connected => "io.sociable.connected",
            Self::Event => "io.sociable.event",
            Self::Disconnected => "io.sociable.disconnected",
        }
    }
}

/// The attributes of a CloudEvent.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    /// The same for each attempt.
    pub(super) id: String,
    pub(super) kind: Kind,
    /// The socket.
    pub(super) subject: Id,
    pub(super) namespace: ByteString,
    pub(super) time: SystemTime,
}

/// Returns the source of the CloudEvents of a node: a URI reference.
pub(super) fn source_of(cluster: &str, node: &str) -> String {
    let part = |text| utf8_percent_encode(text, &IN_PATHS);
    format!("/sociable/{}/{}", part(cluster), part(node))
}

impl Attributes {
    /// Returns the headers of the binary mode.
    pub(super) fn headers(&self, source: &str) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(10);
        for (name, value) in [
            ("ce-specversion", SPEC_VERSION),
            ("ce-id", &self.id),
            ("ce-source", source),
            ("ce-type", self.kind.name()),
            ("ce-subject", self.subject.as_str()),
            ("ce-time", &self.timestamp()),
            ("ce-namespace", &self.namespace),
        ] {
            let value: Cow<'_, str> = utf8_percent_encode(value, &IN_HEADERS).into();
            // Only visible ASCII is left.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers
    }

    /// Returns the event with its data, as a part of a batch. `data` is JSON.
    pub(super) fn structured(&self, source: &str, data: &[u8]) -> Vec<u8> {
        #[derive(Serialize)]
        struct Structured<'a> {
            specversion: &'a str,
            id: &'a str,
            source: &'a str,
            r#type: &'a str,
            subject: &'a str,
            time: &'a str,
            namespace: &'a str,
            datacontenttype: &'a str,
        }
        let head = Structured {
            specversion: SPEC_VERSION,
            id: &self.id,
            source,
            r#type: self.kind.name(),
            subject: self.subject.as_str(),
            time: &self.timestamp(),
            namespace: &self.namespace,
            datacontenttype: JSON,
        };
        // Text cannot fail.
        let mut event = serde_json::to_vec(&head).unwrap_or_default();
        event.pop();
        event.extend_from_slice(br#","data":"#);
        event.extend_from_slice(data);
        event.push(b'}');
        event
    }

    fn timestamp(&self) -> String {
        // Every time since 1970 can be formatted.
        OffsetDateTime::from(self.time).format(&Rfc3339).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            id: "e-1".into(),
            kind: Kind::Event,
            subject: Id::try_from("AAAAAAAAAAAAAAAAAAAA").unwrap(),
            namespace: "/chät \"100%\"".into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        }
    }

    #[test]
    fn headers_are_those_of_the_http_binding() {
        let headers = attributes().headers("/sociable/a/b");
        let text: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(
            text,
            [
                "ce-specversion: 1.0",
                "ce-id: e-1",
                "ce-source: /sociable/a/b",
                "ce-type: io.sociable.event",
                "ce-subject: AAAAAAAAAAAAAAAAAAAA",
                "ce-time: 2023-11-14T22:13:20.123Z",
                "ce-namespace: /ch%C3%A4t%20%22100%25%22",
            ]
        );
    }

    #[test]
    fn structured_event_has_all_attributes_and_the_data() {
        let event: serde_json::Value = serde_json::from_slice(&attributes().structured("/s", br#"{"a":[1]}"#)).unwrap();
        assert_eq!(
            event,
            serde_json::json!({
                "specversion": "1.0", "id": "e-1", "source": "/s", "type": "io.sociable.event", "subject": "AAAAAAAAAAAAAAAAAAAA",
                "time": "2023-11-14T22:13:20.123Z", "namespace": "/chät \"100%\"", "datacontenttype": "application/json", "data": {"a": [1]},
            })
        );
    }

    #[test]
    fn source_is_a_uri_reference() {
        assert_eq!(source_of("my cluster", "node/1"), "/sociable/my%20cluster/node%2F1");
    }
}
