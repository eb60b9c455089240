//! The administration of a running balancer, on an address of its own. `/` is a page, and `/nodes` has its data as JSON.
//! `/metrics` is for Prometheus; `/healthz` and `/readyz` are for process managers.
//!
//! The administration changes nothing, but every reader sees the names and addresses of all nodes. A foreign web page
//! must not read them through a browser. So the page and `/nodes` are refused under any host name except an address and
//! `localhost`. The paths for programs are served under any name.

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

/// The most connections at a time. Further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 32;
/// The time for a head, and for a whole connection, which has one request. The connection is then closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(15);
/// The pause after the system had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

const PAGE: &str = include_str!("page/status.html");
/// The paths that are served under any host name.
const BY_ANY_NAME: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// The listener of the administration.
#[derive(Debug)]
pub struct Admin(TcpListener);

impl Admin {
    /// Listens on this address.
    ///
    /// # Errors
    ///
    /// The address can't be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(tcp::listen(address)?))
    }

    /// Returns the listening socket, for a handover to another process.
    pub fn listener(&self) -> &TcpListener {
        &self.0
    }

    /// Serves requests until the future is dropped, also during a drain. `tls` has the counts of certificates.
    ///
    /// # Errors
    ///
    /// The socket is unusable.
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
                tracing::warn!(target: "sociable::balancer", %error, "accepting a connection to the administration failed");
                sleep(PAUSE).await;
            }
        }
    }
}

/// The administration's state, shared by its connections.
#[derive(Debug)]
struct AdminService {
    state: Arc<BalancerState>,
    discovery: Arc<Discovery>,
    exporter: Exporter,
    /// The content security policy of the page.
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
        // A client that disconnects or exceeds its time needs no answer.
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

    /// Returns whether new clients should come here.
    fn readiness(&self) -> Answer {
        if self.state.time_left().is_some() {
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining")
        } else if self.state.table.load().nodes().iter().all(|node| node.state == State::Unwell) {
            // The sessions of full and draining nodes still need a route.
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "no node is well")
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

/// Returns true for a request under an address or `localhost`. Any other name could be a foreign page's.
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

/// Returns the content between these tags of the page, as a policy names it.
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
