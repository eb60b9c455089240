//! Refused requests: the codes and texts of the protocol, and what the application is told.

use std::fmt;
use std::sync::Arc;

use actix_http::{Method, StatusCode};
use sociable_protocol::log::{plain, shortened};

use super::Reply;
use crate::config::Refusal;
use crate::engine::Shared;
use crate::handshake::Handshake;
use crate::metrics::Count;

/// The codes that Engine.IO gives in the body of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The transport is missing, unknown or not allowed.
    UnknownTransport = 0,
    /// No session has this id, or none any more.
    UnknownSid = 1,
    /// The request has a method that it can't have.
    BadHandshakeMethod = 2,
    /// The request does not fit the session, or is malformed.
    BadRequest = 3,
    /// The application, or a limit, does not let it in.
    Forbidden = 4,
    /// The client speaks another revision of the protocol.
    UnsupportedProtocolVersion = 5,
}

/// A refused request, as [`on_connection_error`](crate::ServerBuilder::on_connection_error) is told of it.
#[derive(Clone, Debug)]
pub struct ConnectionError {
    /// The code that the client got.
    pub code: ErrorCode,
    /// The text that the client got.
    pub message: String,
    /// What exactly was wrong, for a log: a name, or the value that was refused.
    pub context: String,
    /// The request.
    pub request: Handshake,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, loggable(self.code, &self.context))
    }
}

/// The context for a log. The id that a client named may be that of a session which speaks another revision.
fn loggable(code: ErrorCode, context: &str) -> String {
    if code == ErrorCode::UnknownSid { shortened(context).to_string() } else { plain(context).to_string() }
}

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    code: ErrorCode,
    status: StatusCode,
    message: String,
    context: String,
}

impl Refused {
    fn new(code: ErrorCode, message: &str, context: impl Into<String>) -> Self {
        Self { code, status: StatusCode::BAD_REQUEST, message: message.into(), context: context.into() }
    }

    pub(crate) fn unknown_transport(name: Option<&str>) -> Self {
        Self::new(ErrorCode::UnknownTransport, "Transport unknown", name.unwrap_or("none given"))
    }

    pub(crate) fn unknown_sid(sid: &str) -> Self {
        Self::new(ErrorCode::UnknownSid, "Session ID unknown", sid)
    }

    pub(crate) fn bad_method(method: &Method) -> Self {
        Self::new(ErrorCode::BadHandshakeMethod, "Bad handshake method", method.as_str())
    }

    pub(crate) fn bad_request(context: &str) -> Self {
        Self::new(ErrorCode::BadRequest, "Bad request", context)
    }

    pub(crate) fn by_middleware(refusal: &Refusal) -> Self {
        Self::new(ErrorCode::BadRequest, "Bad request", format!("MIDDLEWARE_FAILURE: {}", refusal.message()))
    }

    pub(crate) fn websocket_header(message: &str) -> Self {
        Self::new(ErrorCode::BadRequest, message, "WEBSOCKET_HANDSHAKE_ERROR")
    }

    pub(crate) fn forbidden(refusal: &Refusal) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::new(ErrorCode::Forbidden, refusal.message(), "allow_request") }
    }

    pub(crate) fn foreign_origin() -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::new(ErrorCode::Forbidden, "Forbidden", "allow_origins") }
    }

    pub(crate) fn unsupported_revision(revision: Option<&str>) -> Self {
        Self::new(ErrorCode::UnsupportedProtocolVersion, "Unsupported protocol version", revision.unwrap_or("none given"))
    }

    /// The node can't take the session now; another may.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::new(ErrorCode::Forbidden, message, "at capacity") }
    }

    /// Counts the refusal and tells the application.
    pub(crate) fn report(self, engine: &Arc<Shared>, request: Handshake) -> Self {
        engine.count(Count::RequestsRefused);
        tracing::debug!(target: "sociable::engine", code = self.code as u8, answer = self.message, context = loggable(self.code, &self.context), "request refused");
        if let Some(hook) = &engine.config.connection_error {
            hook(&ConnectionError { code: self.code, message: self.message.clone(), context: self.context.clone(), request });
        }
        self
    }

    /// The answer to a request by HTTP.
    pub(crate) fn reply(&self) -> Reply {
        let body = serde_json::json!({ "code": self.code as u8, "message": self.message });
        Reply::json(self.status, body.to_string())
    }

    /// The answer to a request for a WebSocket: the bare text.
    pub(crate) fn text(&self) -> (StatusCode, &str) {
        let status = if self.status == StatusCode::FORBIDDEN { StatusCode::BAD_REQUEST } else { self.status };
        (status, &self.message)
    }
}
