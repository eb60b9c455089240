//! The options of a balancer that can change while it runs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

use crate::client::forwarded::{ForwardedHeader, Forwarding};
use crate::http::body::Framing;
use crate::http::request::Request;
use crate::http::request::RequestContext;
use crate::limits::rate::{Rate, RateError};
use crate::route::affinity::Affinity;
use crate::route::placement::{BOUND, Placement, SLOW_START};
use crate::route::target::{EnginePaths, Route};
use crate::table::Node;

/// Options of a balancer. All but `accept_rate` can change at run time: see [`Handle::reload`](crate::Handle::reload).
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
    /// The paths of Engine.IO: `/socket.io/` by default. Requests for other paths are spread over all nodes.
    pub engine_paths: Vec<String>,
    /// The affinity by which new sessions are placed: none by default, which spreads them best.
    pub affinity: Affinity,
    /// The most sessions that a node gets by its affinity, as a multiple of the average: 1.25 by default.
    pub bound: f64,
    /// The time in which a new node gets fewer sessions: 20 s by default.
    pub slow_start: Duration,
    /// The networks of trusted proxies in front, whose header fields name the client: none by default.
    pub trusted: Vec<IpNet>,
    /// The kind of header fields of these proxies: `X-Forwarded-For` and its like by default.
    pub forwarded_header: ForwardedHeader,
    /// Further header fields that are dropped unless a trusted proxy sends them: none by default. The fields of
    /// well-known proxies for the client's address are always dropped.
    pub drop_headers: Vec<String>,
    /// The timeout of the head of a request, from the connection or its first byte: 10 s by default.
    pub header_timeout: Duration,
    /// The time for the body of a request, besides its time at the lowest rate: 30 s by default.
    pub body_timeout: Duration,
    /// The lowest rate at which a body may come, in bytes a second: 1,024 by default.
    pub min_body_rate: u64,
    /// The time for which a closed connection still reads while its client sends: 10 s by default. The bytes are
    /// dropped. Without this time the connection is reset, and the client may lose its answer.
    pub linger: Duration,
    /// The bytes that such a client may still send: 16 MiB by default.
    pub linger_bytes: u64,
    /// The time for which a connection may wait for its next request: 75 s by default.
    pub keep_alive: Duration,
    /// The timeout of a node's answer, and between two pieces of it: 75 s by default. If `ping_interval` and
    /// `ping_timeout` of the node are longer, 30 s more than their sum.
    pub answer_timeout: Duration,
    /// The timeout of a write to a client, of at most 64 KiB: 30 s by default.
    pub write_timeout: Duration,
    /// The time without any byte after which an open WebSocket closes: 75 s by default. If `ping_interval` and
    /// `ping_timeout` of the node are longer, 30 s more than their sum.
    pub tunnel_idle: Duration,
    /// The time for which one side of a WebSocket may send after the other has ended: 10 s by default.
    pub half_close: Duration,
    /// The timeout of connecting to a node: 2 s by default.
    pub connect_timeout: Duration,
    /// The time for which an idle connection to a node is kept: 4 s by default. Many servers close one after 5 s.
    pub pool_idle: Duration,
    /// The longest body, in bytes: 16 MiB by default. A lower limit of the session's node applies.
    pub max_body: u64,
    /// The most buffered bytes of this process, for slow clients and nodes and for incomplete heads: 256 MiB by
    /// default. Reads shrink with the rest, to 1 KiB of a connection at least. With nothing left, incomplete heads get
    /// 503.
    pub max_waiting: usize,
    /// The most connections of clients: 100,000 by default, or what the limit on file descriptors allows. Further ones
    /// get 503. A stream of HTTP/2 counts like a connection, except the first of each connection.
    pub max_connections: usize,
    /// The most connections of one address; further ones get 429.
    ///
    /// The default is a tenth of what [`max_connections`](Self::max_connections) and the descriptors allow at the
    /// start, and at least 64. A stream of HTTP/2 counts like a connection, except the first of each connection. IPv6
    /// addresses count by their /64. A proxy in a trusted network has no such limit; WebSockets through it count for
    /// their client.
    pub max_connections_per_address: Option<usize>,
    /// The most accepted connections per second: 5,000 by default. Further ones wait.
    pub accept_rate: f64,
    /// The most new sessions of one address per second: 1,000 by default, with a burst of ten times as many. IPv6
    /// addresses count by their /64.
    pub session_rate: f64,
    /// The most wrong session ids of one address per second: 100 by default, with a tenfold burst.
    pub guess_rate: f64,
    /// The time of a drain before a stop: 30 s by default. If the nodes ping every 25 s, every waiting poll is answered
    /// in that time.
    pub drain_time: Duration,
    /// The time of a drain after another process has taken over: 10 minutes by default.
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

/// Options that contradict each other, or are out of range.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct OptionsError(Vec<String>);

impl From<RateError> for OptionsError {
    fn from(error: RateError) -> Self {
        Self(vec![error.to_string()])
    }
}

impl Options {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// All invalid options.
    pub fn check(&self) -> Result<(), OptionsError> {
        let mut wrong = vec![];
        let mut require = |right: bool, text: &str| {
            if !right {
                wrong.push(text.to_owned());
            }
        };
        require(!self.engine_paths.is_empty(), "engine_paths: give at least one");
        require(self.engine_paths.iter().all(|path| path.starts_with('/')), "engine_paths: each starts with a slash");
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

/// Returns a time that exceeds every silence of a healthy connection to this node.
fn silence(node: &Node) -> Duration {
    node.limits.max_silence.map_or(Duration::ZERO, |millis| Duration::from_millis(millis).saturating_add(Duration::from_secs(30)))
}

/// Returns a rate with a burst of some seconds.
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

    /// Returns the options.
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

    /// Returns true if requests are logged.
    pub(crate) fn is_recorded(&self) -> bool {
        tracing::enabled!(target: "sociable::access", tracing::Level::INFO)
    }

    /// Returns the longest body for this node: for a session, the node's own limit.
    pub(crate) fn longest_body(&self, node: &Node, request: &Request) -> u64 {
        let of_node = if matches!(request.route, Route::Session(_)) { node.limits.max_payload } else { None };
        of_node.unwrap_or(u64::MAX).min(self.max_body)
    }

    /// Returns true for an announced body that the balancer refuses itself.
    ///
    /// A body that is too long for a session goes to its node. The node refuses it by the head alone, and ends the session.
    pub(crate) fn refuses_body(&self, node: &Node, request: &Request) -> bool {
        let Framing::Length(length) = request.body else { return false };
        let ends_session = matches!(request.route, Route::Session(_)) && node.limits.max_payload.is_some_and(|most| length > most);
        length > self.max_body && !ends_session
    }

    /// Returns true for one of the proxies in front.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.forwarding.trusts(address)
    }

    /// Returns the time of silence after which a tunnel to this node closes.
    pub(crate) fn tunnel_idle(&self, node: &Node) -> Duration {
        self.tunnel_idle.max(silence(node))
    }

    /// Returns the timeout of an answer of this node: a poll waits until there is an event or a ping.
    pub(crate) fn answer_time(&self, node: &Node) -> Duration {
        self.answer_timeout.max(silence(node))
    }
}
