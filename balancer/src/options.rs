//! How a balancer behaves. What may change while it runs is all in here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

use crate::client::forwarded::{ForwardedHeader, Forwarding};
use crate::http::request::Request;
use crate::http::request::RequestContext;
use crate::limits::rate::{Rate, RateError};
use crate::route::affinity::Affinity;
use crate::route::placement::{BOUND, Placement, SLOW_START};
use crate::route::target::{EnginePaths, Route};
use crate::table::Node;

/// How a balancer behaves. All of it but `accept_rate` may be changed while it runs: see [`Handle::reload`](crate::Handle::reload).
///
/// ```
/// use std::time::Duration;
/// use sociable_balancer_core::Options;
///
/// let options = Options { keep_alive: Duration::from_secs(120), ..Options::default() };
/// assert!(options.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The paths of Engine.IO: `/socket.io/` by default. Requests for others are spread over all nodes.
    pub engine_paths: Vec<String>,
    /// By what new sessions are placed: by nothing by default, which spreads them best.
    pub affinity: Affinity,
    /// The most sessions that a node gets by its affinity, as a multiple of the average: 1.25 by default.
    pub bound: f64,
    /// For how long a node that is new gets fewer new sessions: 20 s by default.
    pub slow_start: Duration,
    /// The networks of the proxies in front, whose word on who is behind them is taken: none by default.
    pub trusted: Vec<IpNet>,
    /// By which header fields they say it: `X-Forwarded-For` and its like by default.
    pub forwarded_header: ForwardedHeader,
    /// Further header fields that are dropped unless a trusted proxy sends them: none by default. Those by which well-known proxies tell the
    /// address of a client always are.
    pub drop_headers: Vec<String>,
    /// How long the head of a request may take, from the connection or its first byte: 10 s by default.
    pub header_timeout: Duration,
    /// How long the body of a request may take, besides what it needs at the lowest rate: 30 s by default.
    pub body_timeout: Duration,
    /// The lowest rate at which a body may come, in bytes a second: 1,024 by default.
    pub min_body_rate: u64,
    /// How long a connection goes on that has ended while its client was sending: 10 s by default. What the client sends then is dropped. Without
    /// that time the connection is reset, and the client may lose its answer.
    pub linger: Duration,
    /// How many bytes the client may send meanwhile: 16 MiB by default.
    pub linger_bytes: u64,
    /// How long a connection may wait for its next request: 75 s by default.
    pub keep_alive: Duration,
    /// How long a node may take for an answer, and between two pieces of it: 75 s by default, or 30 s more than the node's
    /// `ping_interval` and `ping_timeout` if that is longer.
    pub answer_timeout: Duration,
    /// How long a client may take for what it was sent, at most 64 KiB at a time: 30 s by default.
    pub write_timeout: Duration,
    /// How long nothing may come through an open WebSocket: 75 s by default, or 30 s more than the node's `ping_interval` and `ping_timeout` if
    /// that is longer.
    pub tunnel_idle: Duration,
    /// How long one side of a WebSocket may go on when the other has ended: 10 s by default.
    pub half_close: Duration,
    /// How long it may take to connect to a node: 2 s by default.
    pub connect_timeout: Duration,
    /// How long a connection to a node is kept for its next request: 4 s by default, which is less than the 5 s after which many servers
    /// close it.
    pub pool_idle: Duration,
    /// The longest body, in bytes: 16 MiB by default; of a session what its node says that it takes, if that is less.
    pub max_body: u64,
    /// How many bytes may wait in this process, for clients and nodes that do not read and for the rest of heads: 256 MiB by default. The less is
    /// left the less is read at once, 1 KiB of a connection at least. When nothing is left, heads that do not come at once get 503.
    pub max_waiting: usize,
    /// The most connections of clients: 100,000 by default, or what the descriptors of the process suffice for if that is less. Those beyond
    /// get 503. A stream of HTTP/2 counts like a connection, but for the first of each connection.
    pub max_connections: usize,
    /// The most connections of one address: by default a tenth of what [`max_connections`](Self::max_connections) and the descriptors allow at
    /// the start, and at least 64. Those beyond get 429. A stream of HTTP/2 counts like a connection, but for the first of each connection.
    /// IPv6 addresses count by their /64. A proxy in a trusted network has no such bound; WebSockets through it count for their client.
    pub max_connections_per_address: Option<usize>,
    /// How many connections are accepted in a second: 5,000 by default. Those beyond wait.
    pub accept_rate: f64,
    /// How many sessions one address may open in a second: 1,000 by default, and ten times as many at once. IPv6 addresses count by their /64.
    pub session_rate: f64,
    /// How many wrong session ids one address may show in a second: 100 by default, and ten times as many at once.
    pub guess_rate: f64,
    /// In what time the connections are closed when the balancer is stopped: 30 s by default, in which every poll is answered that waits, if the nodes ping
    /// every 25 s.
    pub drain_time: Duration,
    /// In what time they are closed when another process has taken over: 10 minutes by default.
    pub handover_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine_paths: vec!["/socket.io/".into()],
            affinity: Affinity::None,
            bound: BOUND,
            slow_start: SLOW_START,
            trusted: vec![],
            forwarded_header: ForwardedHeader::default(),
            drop_headers: vec![],
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            min_body_rate: 1024,
            linger: Duration::from_secs(10),
            linger_bytes: 16 << 20,
            keep_alive: Duration::from_secs(75),
            answer_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            tunnel_idle: Duration::from_secs(75),
            half_close: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            pool_idle: Duration::from_secs(4),
            max_body: 16 << 20,
            max_waiting: 256 << 20,
            max_connections: 100_000,
            max_connections_per_address: None,
            accept_rate: 5_000.0,
            session_rate: 1_000.0,
            guess_rate: 100.0,
            drain_time: Duration::from_secs(30),
            handover_time: Duration::from_secs(600),
        }
    }
}

/// The longest time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Options that don't go together.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct OptionsError(Vec<String>);

impl From<RateError> for OptionsError {
    fn from(error: RateError) -> Self {
        Self(vec![error.to_string()])
    }
}

impl Options {
    /// Checks that they make sense.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        let mut wrong = vec![];
        let mut require = |right: bool, text: &str| {
            if !right {
                wrong.push(text.to_owned());
            }
        };
        require(!self.engine_paths.is_empty(), "engine_paths: give at least one");
        require(self.engine_paths.iter().all(|path| path.starts_with('/')), "engine_paths: each begins with a slash");
        require(self.bound >= 1.0 && self.bound.is_finite(), "bound: give at least 1");
        require(self.max_waiting > 0, "max_waiting: give at least 1 byte");
        require(self.max_connections > 0, "max_connections: give at least 1");
        require(self.max_connections_per_address != Some(0), "max_connections_per_address: give at least 1");
        require(self.min_body_rate > 0, "min_body_rate: give at least 1");
        for (name, rate) in [("accept_rate", self.accept_rate), ("session_rate", self.session_rate), ("guess_rate", self.guess_rate)] {
            let rate = rate_of(rate, 1.0);
            require(rate.is_ok(), &rate.map_or_else(|error| format!("{name}: {error}"), |_| String::new()));
        }
        for (name, time) in [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("linger", self.linger),
            ("keep_alive", self.keep_alive),
            ("answer_timeout", self.answer_timeout),
            ("write_timeout", self.write_timeout),
            ("tunnel_idle", self.tunnel_idle),
            ("half_close", self.half_close),
        ] {
            require(time <= LONGEST, &format!("{name}: give at most a year"));
            require(time >= Duration::from_secs(1), &format!("{name}: give at least 1 s, which is how exact times are"));
        }
        let is_name = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        require(self.drop_headers.iter().all(is_name), "drop_headers: give names of header fields");
        require(!self.connect_timeout.is_zero(), "connect_timeout: give more than 0");
        for (name, time) in [("drain_time", self.drain_time), ("handover_time", self.handover_time), ("slow_start", self.slow_start)] {
            require(time <= LONGEST, &format!("{name}: give at most a year"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(OptionsError(wrong)) }
    }
}

/// More than a connection to this node is silent for if it is well, as far as the node says.
fn silence(node: &Node) -> Duration {
    node.limits.max_silence.map_or(Duration::ZERO, |millis| Duration::from_millis(millis).saturating_add(Duration::from_secs(30)))
}

/// So many a second, and some seconds' worth of it at once.
pub(crate) fn rate_of(per_second: f64, seconds: f64) -> Result<Rate, RateError> {
    Rate::new(per_second, (per_second * seconds).ceil().clamp(1.0, 1e9) as u32)
}

/// The options as they are used.
#[derive(Debug)]
pub(crate) struct Policy {
    options: Options,
    engine: EnginePaths,
    forwarding: Forwarding,
    pub(crate) placement: Placement,
}

impl std::ops::Deref for Policy {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

impl Policy {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            engine: EnginePaths::new(options.engine_paths.iter().map(String::as_str)),
            forwarding: Forwarding::new(options.trusted.clone(), options.forwarded_header, options.drop_headers.clone()),
            placement: Placement::new(options.affinity.clone(), options.bound, options.slow_start),
            options,
        }
    }

    /// What it was made of.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the context for heads of requests of this peer.
    pub(crate) fn request_context(&self, peer: SocketAddr, tls: bool) -> RequestContext<'_> {
        RequestContext {
            engine: &self.engine,
            affinity: self.placement.affinity(),
            forwarding: &self.forwarding,
            peer,
            tls,
            recorded: self.is_recorded(),
        }
    }

    /// True if requests are logged.
    pub(crate) fn is_recorded(&self) -> bool {
        tracing::enabled!(target: "sociable::access", tracing::Level::INFO)
    }

    /// The longest body that may go to this node: of a session, what the node takes of one.
    pub(crate) fn longest_body(&self, node: &Node, request: &Request) -> u64 {
        let of_node = if matches!(request.route, Route::Session(_)) { node.limits.max_payload } else { None };
        of_node.unwrap_or(u64::MAX).min(self.max_body)
    }

    /// True for one of the proxies in front.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.forwarding.trusts(address)
    }

    /// For how long nothing may come through a tunnel to this node.
    pub(crate) fn tunnel_idle(&self, node: &Node) -> Duration {
        self.tunnel_idle.max(silence(node))
    }

    /// How long this node may take for an answer: a poll waits for as long as there is nothing to tell but a ping.
    pub(crate) fn answer_time(&self, node: &Node) -> Duration {
        self.answer_timeout.max(silence(node))
    }
}
