//! The balancer's own answers to requests, with their causes.

use std::fmt::Write as _;

/// A reason for which the balancer answers a request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// The request is no HTTP.
    Malformed,
    /// Two servers could read the request in two ways: its end, or its receiver.
    Ambiguous,
    /// A query parameter that decides the receiver is repeated.
    Repeated,
    /// The target is too long.
    LongTarget,
    /// The head is too long, or has too many fields.
    LongHead,
    /// The head or the body did not come in time.
    Slow,
    /// The body is longer than the node takes.
    LongBody,
    /// The method or expectation is not supported.
    Unsupported,
    /// The version of HTTP or of the WebSocket protocol is not supported.
    Version,
    /// The request can't open a WebSocket.
    WebSocket,
    /// No node can have made the session id.
    BadSession,
    /// No node has the tag of the session id.
    UnknownSession,
    /// This address opened too many sessions.
    TooManySessions,
    /// This address showed too many wrong session ids.
    TooManyGuesses,
    /// This address has too many connections.
    TooManyConnections,
    /// No node takes the request.
    NoNode,
    /// The owner of the session is unreachable.
    Unreachable,
    /// The node broke off, or its answer is no HTTP.
    BadAnswer,
    /// The node did not answer in time.
    NoAnswer,
    /// The balancer has too many connections.
    Overloaded,
}

impl Refusal {
    /// All of them, for metrics.
    pub(crate) const ALL: [Self; 20] = [
        Self::Malformed,
        Self::Ambiguous,
        Self::Repeated,
        Self::LongTarget,
        Self::LongHead,
        Self::Slow,
        Self::LongBody,
        Self::Unsupported,
        Self::Version,
        Self::WebSocket,
        Self::BadSession,
        Self::UnknownSession,
        Self::TooManySessions,
        Self::TooManyGuesses,
        Self::TooManyConnections,
        Self::NoNode,
        Self::Unreachable,
        Self::BadAnswer,
        Self::NoAnswer,
        Self::Overloaded,
    ];

    /// Returns the name in metrics and logs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Ambiguous => "ambiguous",
            Self::Repeated => "repeated",
            Self::LongTarget => "long_target",
            Self::LongHead => "long_head",
            Self::Slow => "slow",
            Self::LongBody => "long_body",
            Self::Unsupported => "unsupported",
            Self::Version => "version",
            Self::WebSocket => "websocket",
            Self::BadSession => "bad_session",
            Self::UnknownSession => "unknown_session",
            Self::TooManySessions => "too_many_sessions",
            Self::TooManyGuesses => "too_many_guesses",
            Self::TooManyConnections => "too_many_connections",
            Self::NoNode => "no_node",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
            Self::NoAnswer => "no_answer",
            Self::Overloaded => "overloaded",
        }
    }

    /// Status and reason.
    pub(crate) fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed | Self::Ambiguous | Self::Repeated | Self::WebSocket | Self::BadSession | Self::UnknownSession => {
                (400, "Bad Request")
            }
            Self::LongTarget => (414, "URI Too Long"),
            Self::LongHead => (431, "Request Header Fields Too Large"),
            Self::Slow => (408, "Request Timeout"),
            Self::LongBody => (413, "Content Too Large"),
            Self::Unsupported => (501, "Not Implemented"),
            Self::Version => (426, "Upgrade Required"),
            Self::TooManySessions | Self::TooManyGuesses | Self::TooManyConnections => (429, "Too Many Requests"),
            Self::NoNode | Self::Unreachable | Self::Overloaded => (503, "Service Unavailable"),
            Self::BadAnswer => (502, "Bad Gateway"),
            Self::NoAnswer => (504, "Gateway Timeout"),
        }
    }

    /// Returns the text for the client.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Malformed => "This is no HTTP/1.1 request, or its target is not percent-encoded.",
            Self::Ambiguous => "It is not clear where this request ends or whom it is for.",
            Self::Repeated => "Bad request",
            Self::LongTarget => "The target of the request is too long.",
            Self::LongHead => "The head of the request is too long: 16 KiB and 96 fields, of which 4 are the balancer's, are the most.",
            Self::Slow => "The request did not come in time.",
            Self::LongBody => "The body of the request is too long.",
            Self::Unsupported => "This method or expectation is not served here.",
            Self::Version => "Version 13 of the WebSocket protocol is spoken here.",
            Self::WebSocket => "No WebSocket can be opened by this request.",
            Self::BadSession | Self::UnknownSession => "Session ID unknown",
            Self::TooManySessions => "This address opened too many sessions. Try again later.",
            Self::TooManyGuesses => "This address showed too many wrong session ids. Try again later.",
            Self::TooManyConnections => "This address has too many connections. Try again later.",
            Self::NoNode => "No node takes this request now. Try again soon.",
            Self::Unreachable => "The node of this session can't be reached now. Try again soon.",
            Self::BadAnswer => "The node broke off.",
            Self::NoAnswer => "The node did not answer.",
            Self::Overloaded => "The balancer has too much to do. Try again soon.",
        }
    }

    /// The error of Engine.IO, in the words of a node.
    fn engine_error(self) -> Option<&'static str> {
        match self {
            Self::BadSession | Self::UnknownSession => Some(r#"{"code":1,"message":"Session ID unknown"}"#),
            Self::Repeated => Some(r#"{"code":3,"message":"Bad request"}"#),
            _ => None,
        }
    }

    /// The type and the text of the body. A client that asked for a WebSocket gets the bare text, as from a node. A
    /// polling client gets the error of Engine.IO.
    pub(crate) fn body(self, websocket: bool) -> (&'static str, &'static str) {
        match self.engine_error() {
            Some(error) if !websocket => ("application/json", error),
            _ => ("text/plain; charset=utf-8", self.text()),
        }
    }

    /// Returns true if the client may try again later.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self.status().0, 429 | 503)
    }

    /// Writes the whole answer as HTTP/1.1. The connection then closes if `close` is true. `retry_after` is in seconds.
    pub(crate) fn write(self, websocket: bool, close: bool, retry_after: u32, out: &mut Vec<u8>) {
        let ((status, reason), (kind, body)) = (self.status(), self.body(websocket));
        let mut head = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        if self.is_temporary() {
            let _ = write!(head, "retry-after: {retry_after}\r\n");
        }
        if self == Self::Version {
            head.push_str("sec-websocket-version: 13\r\nupgrade: websocket\r\n");
        }
        if close {
            head.push_str("connection: close\r\n");
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
    }
}
