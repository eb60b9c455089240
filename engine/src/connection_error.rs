//! Reports of refused requests, for the application and the client.

use std::fmt;

use sociable_protocol::log::{plain, shortened};

use crate::handshake::Handshake;

/// The codes of Engine.IO in the body of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The transport is missing, unknown or not allowed.
    UnknownTransport = 0,
    /// No session has this id, or no longer.
    UnknownSid = 1,
    /// The request has a wrong method.
    BadHandshakeMethod = 2,
    /// The request does not fit the session, or is malformed.
    BadRequest = 3,
    /// The application or a limit refused the request.
    Forbidden = 4,
    /// The client speaks another revision of the protocol.
    UnsupportedProtocolVersion = 5,
}

/// A refused request, as [`on_connection_error`](crate::EngineBuilder::on_connection_error) gets it.
#[derive(Clone, Debug)]
pub struct ConnectionError {
    /// The code that the client got.
    pub code: ErrorCode,
    /// The text that the client got.
    pub message: String,
    /// The detail for a log: a name, or the refused value.
    pub context: String,
    /// The request.
    pub request: Handshake,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, loggable(self.code, &self.context))
    }
}

/// Returns the context for a log. An id in it may belong to a live session of another revision, so it is shortened.
pub(crate) fn loggable(code: ErrorCode, context: &str) -> String {
    if code == ErrorCode::UnknownSid { shortened(context).to_string() } else { plain(context).to_string() }
}
