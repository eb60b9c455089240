//! Replies of the engine: the answers to requests, before they become responses.

use actix_http::StatusCode;
use sociable_protocol::Id;

use super::jsonp;

/// The content type of text payloads.
const TEXT: &str = "text/plain; charset=UTF-8";

/// The body of a response.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    /// True if the body is not text.
    pub(crate) binary: bool,
}

/// The answer to a request, made on the thread that owns the session.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
    pub(super) compress: bool,
    /// The session that the request opened.
    pub(super) opened: Option<Id>,
    /// True if the connection cannot be used any more.
    pub(super) close: bool,
}

impl Reply {
    fn new(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type: Some(content_type), body, compress: false, opened: None, close: false }
    }

    /// Returns packets for a poll.
    pub(crate) fn payload(payload: Payload, compress: bool) -> Self {
        let kind = if payload.binary { "application/octet-stream" } else { TEXT };
        Self { compress, ..Self::new(StatusCode::OK, kind, payload.bytes) }
    }

    pub(crate) fn opened(id: Id, payload: Payload) -> Self {
        Self { opened: Some(id), ..Self::payload(payload, true) }
    }

    /// Returns the same payload as a script for JSONP. A reply without a text payload stays as it is.
    pub(super) fn into_script(mut self, callback: &str) -> Self {
        if self.content_type == Some(TEXT)
            && let Ok(payload) = std::str::from_utf8(&self.body)
        {
            self.body = jsonp::script(callback, payload).into_bytes();
        }
        self
    }

    /// Returns the confirmation of received packets.
    pub(crate) fn ok() -> Self {
        Self::new(StatusCode::OK, "text/html", "ok".into())
    }

    pub(crate) fn json(status: StatusCode, body: String) -> Self {
        Self::new(status, "application/json", body.into_bytes())
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { content_type: None, ..Self::new(status, "", vec![]) }
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }
}
