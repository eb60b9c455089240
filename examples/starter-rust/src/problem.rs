//! Errors of the HTTP routes, as `application/problem+json` (RFC 9457).

use actix_web::error::{JsonPayloadError, PathError};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use sociable::EmitError;
use thiserror::Error;

/// The reason why a request failed.
#[derive(Debug, Error)]
pub enum Problem {
    #[error("log in first")]
    NotLoggedIn,
    #[error("the body does not fit: {0}")]
    Body(#[from] JsonPayloadError),
    #[error("no room has this name: {0}")]
    Room(#[from] PathError),
    #[error("the message was not sent to all nodes: {0}")]
    NotSent(#[from] EmitError),
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotLoggedIn => StatusCode::UNAUTHORIZED,
            Self::Body(error) => error.status_code(),
            Self::Room(_) => StatusCode::NOT_FOUND,
            Self::NotSent(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": self.to_string() });
        HttpResponse::build(status).content_type("application/problem+json").body(body.to_string())
    }
}
