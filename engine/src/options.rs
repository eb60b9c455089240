//! The setters of all options, with what each does. [`config`](crate::config) has their defaults and their checks.

/// Declares the setters of the options, for the builder of an engine and for that of a layer above. Both hold a field `config`.
#[doc(hidden)]
#[macro_export]
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

        /// How many sessions may be on their way in: the layer above has not let them in or, in a bare engine, no poll has come. 20,000 by default.
        /// Beyond it the oldest of them is closed.
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
        /// are messages and packets that are not complete, and what the layer above keeps of the client, such as its credentials. Beyond it an incomplete
        /// packet closes the session, and the layer above refuses what it would keep. So much may the events of its running handlers take, too: further ones wait.
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

        /// Whether clients of Engine.IO 3 are let in: no by default.
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
            self.config.origins = Some($crate::layer::Origins::new(origins));
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
            F: Fn($crate::EngineRequest) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<(), $crate::Refusal>> + 'static,
        {
            self.config.middleware.push(std::sync::Arc::new(move |request| Box::pin(middleware(request))));
            self
        }

        /// Changes the headers of the response that opens a session.
        pub fn on_initial_headers(
            mut self,
            hook: impl Fn(&mut $crate::layer::HeaderMap, &$crate::Handshake) + Send + Sync + 'static,
        ) -> Self {
            self.config.initial_headers = Some(std::sync::Arc::new(hook));
            self
        }

        /// Chooses the protocol of a WebSocket among those that its client offers (`Sec-WebSocket-Protocol`, `protocols` in the JavaScript client): the
        /// first by default. With `None` the answer names none, and most clients break off.
        ///
        /// ```
        /// let builder = sociable_engine::Engine::builder()
        ///     .choose_websocket_protocol(|offered, _handshake| offered.iter().copied().find(|name| *name == "chat.v2"));
        /// ```
        pub fn choose_websocket_protocol(
            mut self,
            choose: impl for<'a> Fn(&[&'a str], &$crate::Handshake) -> Option<&'a str> + Send + Sync + 'static,
        ) -> Self {
            self.config.websocket_protocol = Some(std::sync::Arc::new(choose));
            self
        }

        /// Changes the headers of every response, that which opens a WebSocket among them.
        pub fn on_headers(mut self, hook: impl Fn(&mut $crate::layer::HeaderMap, &$crate::Handshake) + Send + Sync + 'static) -> Self {
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
