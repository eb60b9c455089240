//! The setters of all options, with their meaning. [`config`](crate::config) has the defaults and the checks.

/// Declares the setters of the options, for the builders of an engine and of a layer above. Both have a field `config`.
#[doc(hidden)]
#[macro_export]
macro_rules! engine_options {
    () => {
        /// Sets the path of all requests. The server answers every request whose path starts with it, including the trailing slash.
        pub fn path(mut self, path: impl Into<String>) -> Self {
            self.config.path = path.into();
            self
        }

        /// Sets whether a slash is added to the path: true by default.
        pub fn add_trailing_slash(mut self, add: bool) -> Self {
            self.config.add_trailing_slash = add;
            self
        }

        /// Sets the transports that clients may use: both by default.
        pub fn transports(mut self, transports: impl IntoIterator<Item = $crate::Transport>) -> Self {
            self.config.transports = transports.into_iter().collect();
            self
        }

        /// Sets whether clients may upgrade from polling to WebSocket: true by default.
        pub fn allow_upgrades(mut self, allow: bool) -> Self {
            self.config.allow_upgrades = allow;
            self
        }

        /// Sets how long an upgrade may take: 10 s by default. After that the session stays on polling.
        pub fn upgrade_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.config.upgrade_timeout = timeout;
            self
        }

        /// Sets the time between two pings of the server: 25 s by default.
        pub fn ping_interval(mut self, interval: std::time::Duration) -> Self {
            self.config.ping_interval = interval;
            self
        }

        /// Sets how long a client may take to answer a ping: 20 s by default.
        pub fn ping_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.config.ping_timeout = timeout;
            self
        }

        /// Sets the longest message that a client may send, in bytes: 1,000,000 by default.
        ///
        /// A longer request body is answered by 413 and ends the session. A longer WebSocket message closes the connection with status 1009. The
        /// reason is a transport error in both cases.
        pub fn max_http_buffer_size(mut self, bytes: usize) -> Self {
            self.config.max_http_buffer_size = bytes;
            self
        }

        /// Sets how long the body of a request may take to arrive: 30 s by default.
        ///
        /// A later body is answered by 408 and ends the session with a transport error. The JavaScript server also limits the chunks of a body
        /// (`maxBufferedChunks`). Here a body is copied into one buffer, so its chunks cost no memory and have no limit.
        pub fn http_request_body_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.config.http_request_body_timeout = timeout;
            self
        }

        /// Sets how many bytes may wait for one client: 1 MiB by default. A client beyond it is closed as slow.
        ///
        /// A single longer message passes while nothing else waits.
        pub fn max_outbox(mut self, bytes: usize) -> Self {
            self.config.max_outbox = bytes;
            self
        }

        /// Sets how many bytes may wait for all slow clients together: 1 GiB by default.
        ///
        /// One client may use a sixteenth of the free part, and at most [`max_outbox`](Self::max_outbox). A client beyond that is closed as slow. A
        /// message to several clients counts once for each.
        ///
        /// The limit covers stalled WebSockets, polling sessions between two polls, and long poll responses until they are written.
        pub fn max_unread(mut self, bytes: usize) -> Self {
            self.config.max_unread = bytes;
            self
        }

        /// Sets the limit of sessions on this node: 1,000,000 by default. Further handshakes are answered by 503.
        pub fn max_sessions(mut self, sessions: usize) -> Self {
            self.config.max_sessions = sessions;
            self
        }

        /// Sets the memory budget of all sessions of this node, in bytes: 4 GiB by default.
        ///
        /// The budget covers 2 KiB for each session, its [`Handshake`]($crate::Handshake), and the events of unfinished handlers. The memory bounded
        /// by [`max_client_bytes`](Self::max_client_bytes) is part of it. Outbound messages are not counted: see [`max_unread`](Self::max_unread).
        ///
        /// One eighth is reserved for open sessions. Beyond the rest, handshakes are answered by 503, and load balancers see a full node. Each
        /// session then runs one handler at a time. The inbound data of one client may use a sixteenth of the free part. Beyond that, an incomplete
        /// packet closes its session, and a long body is answered by 503.
        pub fn max_session_memory(mut self, bytes: usize) -> Self {
            self.config.max_session_memory = bytes;
            self
        }

        /// Sets the limit of pending sessions: 20,000 by default. Beyond it the oldest pending session is closed.
        ///
        /// A session is pending until the layer above accepts it or, in a bare engine, until the first poll.
        pub fn max_pending_sessions(mut self, sessions: usize) -> Self {
            self.config.max_pending_sessions = sessions;
            self
        }

        /// Sets how many bytes of URL and headers a session keeps of its handshake: 4 KiB by default.
        ///
        /// Beyond it the query or single headers are left out, and [`Handshake::truncated`]($crate::Handshake::truncated) returns true. Headers that
        /// identify the client are kept first: `Origin`, `Sec-Fetch-Site`, `X-Forwarded-For`, `Host`, `Authorization`, `Cookie`, `User-Agent`.
        pub fn max_handshake_bytes(mut self, bytes: usize) -> Self {
            self.config.max_handshake_bytes = bytes;
            self
        }

        /// Sets the memory budget of one client's inbound data, in bytes.
        ///
        /// The default is four times [`max_http_buffer_size`](Self::max_http_buffer_size).
        ///
        /// The budget covers incomplete messages and packets, and data of the client in the layer above, such as its credentials. Beyond it an
        /// incomplete packet closes the session, and the layer above refuses the data. The events of running handlers have a second budget of the
        /// same size; further events wait.
        pub fn max_client_bytes(mut self, bytes: usize) -> Self {
            self.config.max_client_bytes = Some(bytes);
            self
        }

        /// Sets how many handlers of one session may run at once: 1,024 by default.
        ///
        /// Further events wait, up to 1 MiB of them. Then backpressure applies: nothing more is read from the client until fewer wait.
        /// Acknowledgements pass, so handlers may wait for their client.
        pub fn max_running_handlers(mut self, handlers: u32) -> Self {
            self.config.max_running_handlers = handlers;
            self
        }

        /// Sets whether clients of Engine.IO 3 are accepted: no by default.
        pub fn allow_eio3(mut self, allow: bool) -> Self {
            self.config.allow_eio3 = allow;
            self
        }

        /// Sets the size in bytes from which poll responses are compressed, if the client accepts it: 1,024 by default. `None` disables it.
        pub fn http_compression(mut self, threshold: impl Into<Option<usize>>) -> Self {
            self.config.http_compression = threshold.into();
            self
        }

        /// Sets the compression of WebSocket messages for clients that offer it (permessage-deflate). Off by default.
        ///
        /// Messages are compressed from 1,024 bytes on, see [`PerMessageDeflate`]($crate::PerMessageDeflate). An inbound message may inflate to
        /// [`max_http_buffer_size`](Self::max_http_buffer_size). A longer one closes the connection with status 1009.
        pub fn per_message_deflate(mut self, options: impl Into<Option<$crate::PerMessageDeflate>>) -> Self {
            self.config.per_message_deflate = options.into();
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

        /// Sets whether clients may use JSONP, that is, poll by scripts and send by forms: no by default.
        ///
        /// Pages of any site can do both, regardless of [`cors`](Self::cors). Enable it together with [`allow_origins`](Self::allow_origins).
        pub fn jsonp(mut self, allow: bool) -> Self {
            self.config.jsonp = allow;
            self
        }

        /// Sets the origins whose pages may use this server, by any transport: all by default. Write origins as `https://example.com`.
        ///
        /// A request of another origin's page is refused with 403, a WebSocket with 400. The server's own origin has to be listed too.
        ///
        /// Browsers send no `Origin` with scripts and with polls of the same origin. `Sec-Fetch-Site` and `Referer` decide for these. JSONP without a
        /// proof of its page is refused. Clients other than browsers are accepted.
        ///
        /// Pages of other origins can read responses only with [`cors`](Self::cors) besides.
        pub fn allow_origins<T: Into<String>>(mut self, origins: impl IntoIterator<Item = T>) -> Self {
            self.config.origins = Some($crate::layer::Origins::new(origins));
            self
        }

        /// Sets a message that each session gets right after its handshake.
        pub fn initial_packet(mut self, message: impl Into<String>) -> Self {
            self.config.initial_packet = Some(message.into());
            self
        }

        /// Decides on each handshake, before its session is created, on both transports. Requests of existing sessions are not checked.
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

        /// Runs `middleware` for every request of the engine: handshakes, polls, posts and requests for a WebSocket.
        ///
        /// Only CORS comes earlier. The JavaScript server calls this `engine.use`. The first middleware that returns an error refuses the request
        /// with status 400, code 3. Its text goes to [`on_connection_error`](Self::on_connection_error) only.
        ///
        /// The middleware of the `App` runs earlier for all these requests: sessions, compression, security headers.
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

        /// Chooses the protocol of a WebSocket among the client's offers: the first by default.
        ///
        /// Clients offer protocols by `Sec-WebSocket-Protocol`, the option `protocols` of the JavaScript client. With `None` the response names none,
        /// and most clients close the connection.
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

        /// Changes the headers of every response, including the one that opens a WebSocket.
        pub fn on_headers(mut self, hook: impl Fn(&mut $crate::layer::HeaderMap, &$crate::Handshake) + Send + Sync + 'static) -> Self {
            self.config.headers = Some(std::sync::Arc::new(hook));
            self
        }

        /// Calls `hook` with every refused request and the reason.
        pub fn on_connection_error(mut self, hook: impl Fn(&$crate::ConnectionError) + Send + Sync + 'static) -> Self {
            self.config.connection_error = Some(std::sync::Arc::new(hook));
            self
        }
    };
}
