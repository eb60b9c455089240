//! The options of the Engine.IO layer, their defaults and their checks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_http::header::HeaderMap;
use futures_util::future::LocalBoxFuture;
use thiserror::Error;

use crate::cors::Cors;
use crate::handshake::Handshake;
use crate::http::{Middleware, Origins};

/// A way to carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// A WebSocket.
    WebSocket,
}

impl Transport {
    /// The name on the wire: `polling` or `websocket`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "polling" => Some(Self::Polling),
            "websocket" => Some(Self::WebSocket),
            _ => None,
        }
    }
}

/// The cookie that a polling handshake sets, with the session id as its value.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Its name: `io` by default.
    pub name: String,
    /// Its path: `/` by default; `None` leaves it out.
    pub path: Option<String>,
    /// Hidden from scripts: true by default.
    pub http_only: bool,
    /// The value of `SameSite`: `Lax` by default; `None` leaves it out.
    pub same_site: Option<String>,
    /// Sent over TLS only: false by default.
    pub secure: bool,
}

impl Default for Cookie {
    fn default() -> Self {
        Self { name: "io".into(), path: Some("/".into()), http_only: true, same_site: Some("Lax".into()), secure: false }
    }
}

impl Cookie {
    /// The cookie with another name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(crate) fn header(&self, value: &str) -> String {
        let mut header = format!("{}={value}", self.name);
        if let Some(path) = &self.path {
            header.push_str("; Path=");
            header.push_str(path);
        }
        if self.http_only {
            header.push_str("; HttpOnly");
        }
        if self.secure {
            header.push_str("; Secure");
        }
        if let Some(same_site) = &self.same_site {
            header.push_str("; SameSite=");
            header.push_str(same_site);
        }
        header
    }
}

/// Why a handshake was not let in, for the client to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal with the default text, `Forbidden`.
    pub fn forbidden() -> Self {
        Self("Forbidden".into())
    }

    /// The text that the client gets.
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(message: T) -> Self {
        Self(message.into())
    }
}

pub(crate) type AllowRequest = Arc<dyn Fn(Handshake) -> LocalBoxFuture<'static, Result<(), Refusal>> + Send + Sync>;
pub(crate) type ProtocolHook = Arc<dyn for<'a> Fn(&[&'a str], &Handshake) -> Option<&'a str> + Send + Sync>;
pub(crate) type HeaderHook = Arc<dyn Fn(&mut HeaderMap, &Handshake) + Send + Sync>;
pub(crate) type ErrorHook = Arc<dyn Fn(&crate::http::ConnectionError) + Send + Sync>;

/// All options of the Engine.IO layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) path: String,
    pub(crate) add_trailing_slash: bool,
    pub(crate) transports: Vec<Transport>,
    pub(crate) allow_upgrades: bool,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) max_http_buffer_size: usize,
    pub(crate) max_outbox: usize,
    pub(crate) max_unread: usize,
    pub(crate) max_sessions: usize,
    pub(crate) max_session_memory: usize,
    pub(crate) max_pending_sessions: usize,
    pub(crate) max_handshake_bytes: usize,
    pub(crate) max_client_bytes: Option<usize>,
    pub(crate) max_running_handlers: u32,
    pub(crate) http_compression: Option<usize>,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) cors: Option<Cors>,
    pub(crate) jsonp: bool,
    pub(crate) origins: Option<Origins>,
    pub(crate) initial_packet: Option<String>,
    pub(crate) allow_request: Option<AllowRequest>,
    pub(crate) allow_eio3: bool,
    pub(crate) middleware: Vec<Middleware>,
    pub(crate) initial_headers: Option<HeaderHook>,
    pub(crate) websocket_protocol: Option<ProtocolHook>,
    pub(crate) headers: Option<HeaderHook>,
    pub(crate) connection_error: Option<ErrorHook>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("path", &self.path).field("transports", &self.transports).finish_non_exhaustive()
    }
}

/// An option has a value that can't work. All of them are told at once.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    pub(crate) fn one(wrong: String) -> Self {
        Self(vec![wrong])
    }

    /// Both, or all that is wrong with either.
    pub(crate) fn both<A, B>(a: Result<A, Self>, b: Result<B, Self>) -> Result<(A, B), Self> {
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(a), Err(b)) => Err(Self([a.0, b.0].concat())),
        }
    }
}

impl Config {
    pub(crate) fn with_path(path: &str) -> Self {
        Self {
            path: path.into(),
            add_trailing_slash: true,
            transports: vec![Transport::Polling, Transport::WebSocket],
            allow_upgrades: true,
            upgrade_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_http_buffer_size: 1_000_000,
            // A reader on a bad mobile link catches up with this in seconds.
            max_outbox: 1 << 20,
            // Ten thousand stuck clients would hold 10 GB.
            max_unread: 1 << 30,
            // Sessions without a connection cost an attacker one request each: a bound that a node of 4 GB survives.
            max_sessions: 1_000_000,
            // A million idle sessions with headers of 2 KiB each.
            max_session_memory: 4 << 30,
            // Clients join within a second; a node that all come back to at once has fewer on their way in.
            max_pending_sessions: 20_000,
            // Browsers send 1 KiB and cookies.
            max_handshake_bytes: 4096,
            max_client_bytes: None,
            // More handlers than this of one session at once is a runaway client or a stuck database.
            max_running_handlers: 1024,
            http_compression: Some(1024),
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

    /// Brings the options into their final form.
    pub(crate) fn check(mut self) -> Result<Self, ConfigError> {
        let mut wrong = vec![];
        let mut require = |holds: bool, text: &str| {
            if !holds {
                wrong.push(text.to_owned());
            }
        };
        require(self.path.starts_with('/') && self.path.len() > 1, "path: give a path such as /socket.io");
        require(!self.path.contains(['?', '#', '{', '}']), "path: leave out ?, #, { and }");
        require(!self.transports.is_empty(), "transports: name at least one");
        require(!self.ping_interval.is_zero(), "ping_interval: give at least 1 ms");
        require(!self.ping_timeout.is_zero(), "ping_timeout: give at least 1 ms");
        require(self.max_http_buffer_size > 0, "max_http_buffer_size: give at least 1 byte");
        require(self.max_outbox > 0, "max_outbox: give at least 1 byte");
        require(self.max_unread > 0, "max_unread: give at least 1 byte");
        require(self.max_sessions > 0, "max_sessions: give at least 1");
        require(self.max_session_memory > 0, "max_session_memory: give at least 1 byte");
        require(self.max_pending_sessions > 0, "max_pending_sessions: give at least 1");
        require(self.max_client_bytes != Some(0), "max_client_bytes: give at least 1 byte");
        require(self.origins.as_ref().is_none_or(Origins::are_valid), "allow_origins: write origins as https://example.com");
        require(self.max_running_handlers > 0, "max_running_handlers: give at least 1");
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

    /// The transports that a session opened by polling may upgrade to.
    pub(crate) fn upgrades(&self) -> &'static [&'static str] {
        if self.allow_upgrades && self.transports.contains(&Transport::WebSocket) { &["websocket"] } else { &[] }
    }

    /// The limit of what is kept for one client.
    pub(crate) fn client_bytes(&self) -> usize {
        self.max_client_bytes.unwrap_or_else(|| self.max_http_buffer_size.saturating_mul(4))
    }

    /// The limit of an inbound message.
    pub(crate) fn max_payload(&self) -> usize {
        self.max_http_buffer_size
    }
}

/// The setters that the builders of [`Engine`](crate::engine::Engine) and [`Server`](crate::Server) share.
macro_rules! engine_options {
    () => {
        /// The path of all requests. A request belongs to this server if its path begins with it, after a trailing slash was added.
        pub fn path(mut self, path: impl Into<String>) -> Self {
            self.config.path = path.into();
            self
        }

        /// Whether a slash is added to the path: true by default.
        pub fn add_trailing_slash(mut self, add: bool) -> Self {
            self.config.add_trailing_slash = add;
            self
        }

        /// The transports that clients may use: both by default.
        pub fn transports(mut self, transports: impl IntoIterator<Item = $crate::Transport>) -> Self {
            self.config.transports = transports.into_iter().collect();
            self
        }

        /// Whether clients are told that they may upgrade from polling to WebSocket: true by default.
        pub fn allow_upgrades(mut self, allow: bool) -> Self {
            self.config.allow_upgrades = allow;
            self
        }

        /// How long an upgrade may take before it is given up: 10 s by default. The session goes on by polling then.
        pub fn upgrade_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.config.upgrade_timeout = timeout;
            self
        }

        /// The time between two pings of the server: 25 s by default.
        pub fn ping_interval(mut self, interval: std::time::Duration) -> Self {
            self.config.ping_interval = interval;
            self
        }

        /// How long the answer to a ping may take: 20 s by default.
        pub fn ping_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.config.ping_timeout = timeout;
            self
        }

        /// The longest message that a client may send, in bytes: 1,000,000 by default. A longer request body is answered by 413; a
        /// longer WebSocket message closes the connection with status 1009.
        pub fn max_http_buffer_size(mut self, bytes: usize) -> Self {
            self.config.max_http_buffer_size = bytes;
            self
        }

        /// How many bytes may wait for one client: 1 MiB by default. A client for which more would wait is closed as slow. One message
        /// longer than this passes while nothing else waits.
        pub fn max_outbox(mut self, bytes: usize) -> Self {
            self.config.max_outbox = bytes;
            self
        }

        /// How many bytes may wait for all clients together that do not read: 1 GiB by default. A client may let wait a sixteenth of what is
        /// left of it, and [`max_outbox`](Self::max_outbox) at most. Beyond that it is closed as slow. Messages to several clients are counted for each of them.
        ///
        /// Counted are WebSockets whose connection takes no more, polling sessions between two polls, and long answers to polls until they are written.
        pub fn max_unread(mut self, bytes: usize) -> Self {
            self.config.max_unread = bytes;
            self
        }

        /// How many sessions this node takes: 1,000,000 by default. Further handshakes are answered by 503.
        pub fn max_sessions(mut self, sessions: usize) -> Self {
            self.config.max_sessions = sessions;
            self
        }

        /// How many bytes of memory all sessions of this node may take: 4 GiB by default. Counted are 2 KiB for each session, its
        /// [`Handshake`]($crate::Handshake), what [`max_client_bytes`](Self::max_client_bytes) bounds for each client, and events whose handlers wait.
        /// An eighth is left to sessions that are open: handshakes beyond the rest are answered by 503, load balancers are told that the node is
        /// full, and events whose handlers wait are handled one after the other. A client may have a sixteenth of what is left kept of what it sent:
        /// beyond it an incomplete packet closes its session, and a long body is answered by 503. What is sent to clients is not counted: see
        /// [`max_unread`](Self::max_unread).
        pub fn max_session_memory(mut self, bytes: usize) -> Self {
            self.config.max_session_memory = bytes;
            self
        }

        /// How many sessions may be on their way in: neither in a namespace nor, in a bare engine, polled for. 20,000 by default. Beyond it
        /// the oldest of them is closed.
        pub fn max_pending_sessions(mut self, sessions: usize) -> Self {
            self.config.max_pending_sessions = sessions;
            self
        }

        /// How many bytes of the URL and the headers a session keeps of the request that opened it: 4 KiB by default. Beyond it the query or
        /// single headers are left out, which [`Handshake::truncated`]($crate::Handshake::truncated) tells. Headers that say who the client is are kept
        /// first: `Origin`, `Sec-Fetch-Site`, `X-Forwarded-For`, `Host`, `Authorization`, `Cookie`, `User-Agent`.
        pub fn max_handshake_bytes(mut self, bytes: usize) -> Self {
            self.config.max_handshake_bytes = bytes;
            self
        }

        /// How many bytes may be kept of what one client sent: four times [`max_http_buffer_size`](Self::max_http_buffer_size) by default. Counted
        /// are messages and packets that are not complete, and each namespace with what the client sent to be let in. Beyond it an incomplete packet
        /// closes the session, and a namespace is refused. So much may the events of its running handlers take, too: further ones wait.
        pub fn max_client_bytes(mut self, bytes: usize) -> Self {
            self.config.max_client_bytes = Some(bytes);
            self
        }

        /// How many handlers of one session may run at once: 1,024 by default. Further events wait, up to 1 MiB of them; then nothing more is
        /// read from that client until fewer wait. Acknowledgements pass, so handlers may wait for their client.
        pub fn max_running_handlers(mut self, handlers: u32) -> Self {
            self.config.max_running_handlers = handlers;
            self
        }

        /// Whether clients of Engine.IO 3, which those of Socket.IO 2 speak, are let in: no by default.
        pub fn allow_eio3(mut self, allow: bool) -> Self {
            self.config.allow_eio3 = allow;
            self
        }

        /// From how many bytes on poll responses are compressed, if the client accepts it: 1,024 by default. `None` turns it off.
        pub fn http_compression(mut self, threshold: impl Into<Option<usize>>) -> Self {
            self.config.http_compression = threshold.into();
            self
        }

        /// Sets a cookie with the session id at a polling handshake. Off by default.
        pub fn cookie(mut self, cookie: impl Into<Option<$crate::Cookie>>) -> Self {
            self.config.cookie = cookie.into();
            self
        }

        /// Adds the headers of cross-origin resource sharing. Off by default.
        pub fn cors(mut self, cors: impl Into<Option<$crate::Cors>>) -> Self {
            self.config.cors = cors.into();
            self
        }

        /// Whether clients may use JSONP, that is, poll by scripts and send by forms: no by default. A page of any site can do both, past
        /// [`cors`](Self::cors), so turn it on together with [`allow_origins`](Self::allow_origins).
        pub fn jsonp(mut self, allow: bool) -> Self {
            self.config.jsonp = allow;
            self
        }

        /// The origins whose pages may use this server, by any transport: all by default. Origins are written as `https://example.com`. A
        /// request of a page of another origin is refused with 403, a WebSocket with 400. That of this server is allowed only if it is listed.
        ///
        /// Browsers send no `Origin` with scripts and with polls of the same origin. These are judged by `Sec-Fetch-Site` and `Referer`; JSONP
        /// without a proof of its page is refused. A client that is no browser is let in.
        ///
        /// Pages of other origins can read answers only with [`cors`](Self::cors) besides.
        pub fn allow_origins<T: Into<String>>(mut self, origins: impl IntoIterator<Item = T>) -> Self {
            self.config.origins = Some($crate::http::Origins::new(origins));
            self
        }

        /// A message that each session gets right behind its handshake.
        pub fn initial_packet(mut self, message: impl Into<String>) -> Self {
            self.config.initial_packet = Some(message.into());
            self
        }

        /// Decides whether a handshake is let in. It is asked before a session is made, on both transports; requests of a session
        /// that exists are not asked about.
        ///
        /// A refused client gets status 403 and the text of the [`Refusal`]($crate::Refusal) by polling, 400 by WebSocket.
        pub fn allow_request<F, Fut>(mut self, allow: F) -> Self
        where
            F: Fn($crate::Handshake) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<(), $crate::Refusal>> + 'static,
        {
            self.config.allow_request = Some(std::sync::Arc::new(move |request| Box::pin(allow(request))));
            self
        }

        /// Asks `middleware` about every request of the engine, before anything else but CORS: handshakes, polls, posts and requests for a
        /// WebSocket. The first that gives an error refuses the request with status 400, code 3; its text goes to
        /// [`on_connection_error`](Self::on_connection_error) only. (The JavaScript server calls this `engine.use`.)
        ///
        /// The middleware of the `App` runs before, for all these requests too: sessions, compression, security headers.
        pub fn engine_middleware<F, Fut>(mut self, middleware: F) -> Self
        where
            F: Fn($crate::engine::EngineRequest) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<(), $crate::Refusal>> + 'static,
        {
            self.config.middleware.push(std::sync::Arc::new(move |request| Box::pin(middleware(request))));
            self
        }

        /// Changes the headers of the response that opens a session.
        pub fn on_initial_headers(
            mut self,
            hook: impl Fn(&mut actix_http::header::HeaderMap, &$crate::Handshake) + Send + Sync + 'static,
        ) -> Self {
            self.config.initial_headers = Some(std::sync::Arc::new(hook));
            self
        }

        /// Chooses the protocol of a WebSocket among those that its client offers (`Sec-WebSocket-Protocol`, `protocols` in the JavaScript client): the
        /// first by default. With `None` the answer names none, and most clients break off.
        ///
        /// ```
        /// let io = sociable::Server::builder()
        ///     .choose_websocket_protocol(|offered, _handshake| offered.iter().copied().find(|name| *name == "chat.v2"))
        ///     .build()?;
        /// # Ok::<(), sociable::ConfigError>(())
        /// ```
        pub fn choose_websocket_protocol(
            mut self,
            choose: impl for<'a> Fn(&[&'a str], &$crate::Handshake) -> Option<&'a str> + Send + Sync + 'static,
        ) -> Self {
            self.config.websocket_protocol = Some(std::sync::Arc::new(choose));
            self
        }

        /// Changes the headers of every response, that which opens a WebSocket among them.
        pub fn on_headers(mut self, hook: impl Fn(&mut actix_http::header::HeaderMap, &$crate::Handshake) + Send + Sync + 'static) -> Self {
            self.config.headers = Some(std::sync::Arc::new(hook));
            self
        }

        /// Is told of every request that was refused, and why.
        pub fn on_connection_error(mut self, hook: impl Fn(&$crate::ConnectionError) + Send + Sync + 'static) -> Self {
            self.config.connection_error = Some(std::sync::Arc::new(hook));
            self
        }
    };
}
pub(crate) use engine_options;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gets_one_slash_or_none() {
        let path = |path: &str, add| Config { add_trailing_slash: add, ..Config::with_path(path) }.check().unwrap().path;
        assert_eq!(path("/socket.io", true), "/socket.io/");
        assert_eq!(path("/socket.io/", true), "/socket.io/");
        assert_eq!(path("/socket.io/", false), "/socket.io");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let config = Config { ping_interval: Duration::ZERO, transports: vec![], ..Config::with_path("x") };
        let text = config.check().unwrap_err().to_string();
        assert_eq!(text, "path: give a path such as /socket.io; transports: name at least one; ping_interval: give at least 1 ms");
    }

    #[test]
    fn a_cookie_has_the_attributes_of_the_javascript_server() {
        assert_eq!(Cookie::default().header("abc"), "io=abc; Path=/; HttpOnly; SameSite=Lax");
    }
}
