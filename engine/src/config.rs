//! The options of an engine, their defaults and their checks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_http::header::HeaderMap;
use futures_util::future::LocalBoxFuture;
use thiserror::Error;

use crate::connection_error::ConnectionError;
use crate::cookie::Cookie;
use crate::cors::Cors;
use crate::deflate::PerMessageDeflate;
use crate::handshake::Handshake;
use crate::http::middleware::Middleware;
use crate::http::origin::Origins;
use crate::refusal::Refusal;
use crate::transport::Transport;

pub(crate) type AllowRequest = Arc<dyn Fn(Handshake) -> LocalBoxFuture<'static, Result<(), Refusal>> + Send + Sync>;
pub(crate) type ProtocolHook = Arc<dyn for<'a> Fn(&[&'a str], &Handshake) -> Option<&'a str> + Send + Sync>;
pub(crate) type HeaderHook = Arc<dyn Fn(&mut HeaderMap, &Handshake) + Send + Sync>;
pub(crate) type ErrorHook = Arc<dyn Fn(&ConnectionError) + Send + Sync>;

/// All options of an engine. Builders set them by the methods of [`options`](crate::options).
#[doc(hidden)]
#[derive(Clone)]
pub struct Config {
    pub path: String,
    pub add_trailing_slash: bool,
    pub transports: Vec<Transport>,
    pub allow_upgrades: bool,
    pub upgrade_timeout: Duration,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    pub max_http_buffer_size: usize,
    pub http_request_body_timeout: Duration,
    pub max_outbox: usize,
    pub max_unread: usize,
    pub max_sessions: usize,
    pub max_session_memory: usize,
    pub max_pending_sessions: usize,
    pub max_handshake_bytes: usize,
    pub max_client_bytes: Option<usize>,
    pub max_running_handlers: u32,
    pub http_compression: Option<usize>,
    pub per_message_deflate: Option<PerMessageDeflate>,
    pub cookie: Option<Cookie>,
    pub cors: Option<Cors>,
    pub jsonp: bool,
    pub origins: Option<Origins>,
    pub initial_packet: Option<String>,
    pub allow_request: Option<AllowRequest>,
    pub allow_eio3: bool,
    pub middleware: Vec<Middleware>,
    pub initial_headers: Option<HeaderHook>,
    pub websocket_protocol: Option<ProtocolHook>,
    pub headers: Option<HeaderHook>,
    pub connection_error: Option<ErrorHook>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("path", &self.path).field("transports", &self.transports).finish_non_exhaustive()
    }
}

/// Invalid values of options: all of them.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// Returns the error of one option.
    pub fn single(wrong: String) -> Self {
        Self(vec![wrong])
    }

    /// Returns both values, or all errors of either.
    pub fn both<A, B>(a: Result<A, Self>, b: Result<B, Self>) -> Result<(A, B), Self> {
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(a), Err(b)) => Err(Self([a.0, b.0].concat())),
        }
    }
}

impl Config {
    /// Returns the defaults, with this path.
    pub fn with_path(path: &str) -> Self {
        Self {
            path: path.into(),
            add_trailing_slash: true,
            transports: vec![Transport::Polling, Transport::WebSocket],
            allow_upgrades: true,
            upgrade_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_http_buffer_size: 1_000_000,
            http_request_body_timeout: Duration::from_secs(30),
            // A client on a bad mobile link catches up with this in seconds.
            max_outbox: 1 << 20,
            // Without it, ten thousand stuck clients could hold 10 GB.
            max_unread: 1 << 30,
            // A session without a connection costs an attacker one request. A node with 4 GB survives this number.
            max_sessions: 1_000_000,
            // A million idle sessions with headers of 2 KiB each.
            max_session_memory: 4 << 30,
            // Clients join within a second. Even after an outage, fewer clients than this connect to one node at once.
            max_pending_sessions: 20_000,
            // Browsers send 1 KiB plus cookies.
            max_handshake_bytes: 4096,
            max_client_bytes: None,
            // More running handlers than this in one session mean a runaway client or a stuck database.
            max_running_handlers: 1024,
            http_compression: Some(1024),
            // As in the JavaScript server: CPU time for every message, and memory with takeover.
            per_message_deflate: None,
            cookie: None,
            cors: None,
            jsonp: false,
            origins: None,
            initial_packet: None,
            allow_request: None,
            allow_eio3: false,
            middleware: vec![],
            initial_headers: None,
            websocket_protocol: None,
            headers: None,
            connection_error: None,
        }
    }

    /// Checks the options and normalizes them.
    ///
    /// # Errors
    ///
    /// All options that cannot work.
    pub fn check(mut self) -> Result<Self, ConfigError> {
        let mut wrong = vec![];
        let mut require = |holds: bool, text: &str| {
            if !holds {
                wrong.push(text.to_owned());
            }
        };
        require(self.path.starts_with('/') && self.path.len() > 1, "path: give a path such as /engine.io");
        require(!self.path.contains(['?', '#', '{', '}']), "path: leave out ?, #, { and }");
        require(!self.transports.is_empty(), "transports: name at least one");
        require(!self.ping_interval.is_zero(), "ping_interval: give at least 1 ms");
        require(!self.ping_timeout.is_zero(), "ping_timeout: give at least 1 ms");
        require(self.max_http_buffer_size > 0, "max_http_buffer_size: give at least 1 byte");
        require(!self.http_request_body_timeout.is_zero(), "http_request_body_timeout: give at least 1 ms");
        require(self.max_outbox > 0, "max_outbox: give at least 1 byte");
        require(self.max_unread > 0, "max_unread: give at least 1 byte");
        require(self.max_sessions > 0, "max_sessions: give at least 1");
        require(self.max_session_memory > 0, "max_session_memory: give at least 1 byte");
        require(self.max_pending_sessions > 0, "max_pending_sessions: give at least 1");
        require(self.max_client_bytes != Some(0), "max_client_bytes: give at least 1 byte");
        require(self.origins.as_ref().is_none_or(Origins::are_valid), "allow_origins: write origins as https://example.com");
        require(self.max_running_handlers > 0, "max_running_handlers: give at least 1");
        require(
            self.per_message_deflate.as_ref().is_none_or(PerMessageDeflate::is_valid),
            "per_message_deflate: give windows from 8 to 15, a level from 0 to 9 and a memory level from 1 to 9",
        );
        if let Some(cookie) = &self.cookie {
            let token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
            require(!cookie.name.is_empty() && cookie.name.chars().all(token), "cookie: its name is not a token");
        }
        if !wrong.is_empty() {
            return Err(ConfigError(wrong));
        }
        if self.path.ends_with('/') {
            self.path.pop();
        }
        if self.add_trailing_slash {
            self.path.push('/');
        }
        Ok(self)
    }

    /// Returns the transports to which a polling session may upgrade.
    pub(crate) fn upgrades(&self) -> &'static [&'static str] {
        if self.allow_upgrades && self.transports.contains(&Transport::WebSocket) { &["websocket"] } else { &[] }
    }

    /// Returns the limit of memory for one client, in bytes.
    pub fn client_bytes(&self) -> usize {
        self.max_client_bytes.unwrap_or_else(|| self.max_http_buffer_size.saturating_mul(4))
    }

    /// Returns the limit of an inbound message, in bytes.
    pub fn max_payload(&self) -> usize {
        self.max_http_buffer_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_ends_in_at_most_one_slash() {
        let path = |path: &str, add| Config { add_trailing_slash: add, ..Config::with_path(path) }.check().unwrap().path;
        assert_eq!(path("/engine.io", true), "/engine.io/");
        assert_eq!(path("/engine.io/", true), "/engine.io/");
        assert_eq!(path("/engine.io/", false), "/engine.io");
    }

    #[test]
    fn check_reports_all_errors_at_once() {
        let config = Config { ping_interval: Duration::ZERO, transports: vec![], ..Config::with_path("x") };
        let text = config.check().unwrap_err().to_string();
        assert_eq!(text, "path: give a path such as /engine.io; transports: name at least one; ping_interval: give at least 1 ms");
    }
}
