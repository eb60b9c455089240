//! Refused requests: the codes and texts of the protocol, and the reports to the application.

use std::rc::Rc;
use std::sync::Arc;

use actix_http::{Method, StatusCode};
use sociable_protocol::Id;

use super::reply::Reply;
use crate::connection_error::{ConnectionError, ErrorCode, loggable};
use crate::counters::Count;
use crate::handshake::Handshake;
use crate::refusal::Refusal;
use crate::state::EngineState;
use crate::worker::Worker;

/// Runs `work` on the worker that owns the session `id`, and returns its output. If that worker has ended, the session is unknown.
pub(crate) async fn ask_owner<F, Fut, T>(engine: &Arc<EngineState>, id: Id, work: F) -> Result<T, Refused>
where
    F: FnOnce(&Rc<Worker>, Id) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let answered = engine.ask_owner(id, move |worker| work(worker, id)).await;
    answered.map_err(|_| Refused::unknown_sid(id.as_str()))
}

/// The reason for refusing a request.
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

    /// Returns the refusal for lack of capacity on this node; another node may have some.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::new(ErrorCode::Forbidden, message, "at capacity") }
    }

    /// Counts the refusal and reports it to the application.
    pub(crate) fn report(self, engine: &Arc<EngineState>, request: Handshake) -> Self {
        engine.count(Count::RequestsRefused);
        tracing::debug!(target: "sociable::engine", code = self.code as u8, answer = self.message, context = loggable(self.code, &self.context), "request refused");
        if let Some(hook) = &engine.config.connection_error {
            hook(&ConnectionError { code: self.code, message: self.message.clone(), context: self.context.clone(), request });
        }
        self
    }

    /// Returns the answer to an HTTP request.
    pub(crate) fn reply(&self) -> Reply {
        let body = serde_json::json!({ "code": self.code as u8, "message": self.message });
        Reply::json(self.status, body.to_string())
    }

    /// Returns the answer to a request for a WebSocket: the bare text.
    pub(crate) fn text(&self) -> (StatusCode, &str) {
        let status = if self.status == StatusCode::FORBIDDEN { StatusCode::BAD_REQUEST } else { self.status };
        (status, &self.message)
    }
}
