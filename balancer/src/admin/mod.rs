//! What an operator may ask of a balancer that runs, on an address of its own: `/` is a page for people, `/nodes` the same as JSON,
//! `/metrics` is for Prometheus, `/healthz` and `/readyz` for whoever starts and stops processes.
//!
//! Nothing can be changed here, but whoever reaches the address sees names and addresses of all nodes. A page of some site can't, even in a
//! browser on this machine: the page and `/nodes` are refused under another name than an address. What programs ask for, which know this
//! balancer by a name, is answered under any.

mod prometheus;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use sociable_metrics::MetricsFormat;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::prometheus::Exporter;
use crate::balancer::Handle;
use crate::discovery::Discovery;
use crate::limits::descriptors::Held;
use crate::state::BalancerState;
use crate::table::State;
use crate::tcp;
use crate::tls::Tls;

/// Connections at a time. Those beyond wait in the system's queue.
const MAX_CONNECTIONS: usize = 32;
/// How long a head may take, and how long all of a connection, which has one request. What is not over then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(15);
/// How long nothing is accepted when the system has no descriptor or memory for it.
const PAUSE: Duration = Duration::from_millis(100);

const PAGE: &str = include_str!("page/status.html");
/// What is answered under any name.
const BY_ANY_NAME: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// An address at which operators ask.
#[derive(Debug)]
pub struct Admin(TcpListener);

impl Admin {
    /// Listens on this address.
    ///
    /// # Errors
    ///
    /// It can't be listened on.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(tcp::listen(address)?))
    }

    /// The socket that it listens on: to be handed to another process.
    pub fn listener(&self) -> &TcpListener {
        &self.0
    }

    /// Answers, until the future is dropped, also while the balancer leaves: how far it is can be seen. `tls` tells of certificates.
    ///
    /// # Errors
    ///
    /// The socket can't be used.
    ///
    /// # Panics
    ///
    /// This is called outside of a Tokio runtime.
    pub fn serve(
        self,
        balancer: &Handle,
        discovery: Arc<Discovery>,
        tls: Option<Arc<Tls>>,
    ) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        self.0.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(self.0)?;
        let state = Arc::clone(&balancer.state);
        let exporter = Exporter::new(Arc::clone(&state), discovery.counters(), tls);
        let admin = Arc::new(AdminService { state, discovery, exporter, policy: policy()? });
        Ok(accept(listener, admin))
    }
}

impl From<TcpListener> for Admin {
    /// At a socket that listens already.
    fn from(listener: TcpListener) -> Self {
        Self(listener)
    }
}

/// Accepts for ever. The connections end with it.
async fn accept(listener: tokio::net::TcpListener, admin: Arc<AdminService>) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (admin, held) = (Arc::clone(&admin), admin.state.descriptors.hold());
                connections.spawn(async move {
                    admin.serve(stream, held).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(target: "sociable::balancer", %error, "no connection to the administration can be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Who answers.
#[derive(Debug)]
struct AdminService {
    state: Arc<BalancerState>,
    discovery: Arc<Discovery>,
    exporter: Exporter,
    /// What the page may do.
    policy: HeaderValue,
}

impl AdminService {
    async fn serve(self: Arc<Self>, stream: TcpStream, _held: Held) {
        let service = service_fn(|request| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(admin.answer(&request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false).max_buf_size(16 * 1024);
        // Who breaks off or is cut off has asked for it.
        let _ = timeout(LONGEST, http.serve_connection(TokioIo::new(stream), service)).await;
    }

    async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let mut answer = if !BY_ANY_NAME.contains(&request.uri().path()) && !names_an_address(request.headers()) {
            respond(
                StatusCode::MISDIRECTED_REQUEST,
                TEXT,
                "Ask for this by an address, or as localhost: other names could be led here by anybody.",
            )
        } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Nothing can be changed here.");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        } else {
            match request.uri().path() {
                "/" => respond(StatusCode::OK, HTML, PAGE),
                "/nodes" => self.nodes().await,
                "/metrics" => self.metrics(request.headers()).await,
                "/healthz" => respond(StatusCode::OK, TEXT, "ok"),
                "/readyz" => self.readiness(),
                _ => respond(StatusCode::NOT_FOUND, TEXT, "There are /, /nodes, /metrics, /healthz and /readyz."),
            }
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    /// The metrics in the format that the scraper asks for.
    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = MetricsFormat::negotiate(accept);
        match self.exporter.text().await {
            Ok(text) => respond(StatusCode::OK, format.content_type(), format.render(text)),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        }
    }

    async fn nodes(&self) -> Answer {
        match self.discovery.overview().await {
            Ok(overview) => match serde_json::to_vec(&overview) {
                Ok(json) => respond(StatusCode::OK, JSON, json),
                Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
            },
            Err(error) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, error.to_string()),
        }
    }

    /// Whether new clients should come here.
    fn readiness(&self) -> Answer {
        if self.state.time_left().is_some() {
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the balancer is leaving")
        } else if self.state.table.load().nodes().iter().all(|node| node.state == State::Unwell) {
            // While nodes are full or go, their sessions need a way to them.
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "there is no node that is well")
        } else {
            respond(StatusCode::OK, TEXT, "ready")
        }
    }
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// True for a request that names an address or this machine, not a name that anybody could lead here.
fn names_an_address(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(Ok(host)), None) = (hosts.next().map(HeaderValue::to_str), hosts.next()) else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// The page has its script and its style in it; these, and nothing else, are run and shown.
fn policy() -> io::Result<HeaderValue> {
    let (script, style) = (hash_of("script")?, hash_of("style")?);
    let policy = format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).map_err(io::Error::other)
}

/// What stands between these tags in the page, as a policy names it.
fn hash_of(tag: &str) -> io::Result<String> {
    let (begin, end) = (format!("<{tag}>"), format!("</{tag}>"));
    let inside = PAGE.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).map(|(inside, _)| inside);
    let sha256 = TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider);
    let (Some(inside), Some(sha256)) = (inside, sha256) else { return Err(io::Error::other(format!("the page has no {tag}"))) };
    Ok(format!("'sha256-{}'", BASE64_STANDARD.encode(sha256.hash(inside.as_bytes()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_served_under_addresses_and_localhost_only() {
        let asked = |host: &str| names_an_address(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for host in ["127.0.0.1:8081", "127.0.0.1", "[::1]:8081", "[::1]", "localhost", "localhost:8081", "LocalHost:1"] {
            assert!(asked(host), "{host}");
        }
        for host in ["", "example.com", "example.com:8081", "localhost.example.com", "127.0.0.1.example.com:8081", "localhost:80:x"] {
            assert!(!asked(host), "{host}");
        }
        assert!(!names_an_address(&HeaderMap::new()));
        let mut twice = HeaderMap::new();
        for host in ["127.0.0.1", "example.com"] {
            twice.append(header::HOST, host.parse().unwrap());
        }
        assert!(!names_an_address(&twice));
    }

    #[test]
    fn page_inserts_values_as_text_only() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick=", "http://", "https://"]
        {
            assert!(!PAGE.contains(way), "{way}");
        }
        assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
    }
}
