//! A node, a balancer in front of it, and a client.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use sha1::{Digest as _, Sha1};
use sociable_balancer_core::{Balancer, Discovery, DiscoveryConfig, Handle, Options, Probing};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{Certificate, PATIENCE};

const TAG: &str = "AbCd";
/// A session of the node, and one with an unknown tag.
pub(crate) const SESSION: &str = "AbCdeeeeeeeeeeeeeeee";
pub(crate) const STRANGER: &str = "AbCeeeeeeeeeeeeeeeee";

pub(crate) type Client = SendRequest<Full<Bytes>>;
type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn full(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A node that speaks HTTP/1.1.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The targets that it was asked for, but for probes.
    pub(crate) asked: Mutex<Vec<String>>,
    /// Polls that wait, and connections that were accepted but for probes.
    pub(crate) polls: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    /// Lets the node break off the answer of `/broken`.
    pub(crate) breaks_off: Notify,
}

/// Counts a poll for as long as its client waits.
struct Waiting(Arc<Node>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.polls.fetch_sub(1, SeqCst);
    }
}

impl Node {
    pub(crate) async fn start() -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Arc::new(Self::default());
        let serves = Arc::clone(&node);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (node, first) = (Arc::clone(&serves), Arc::new(AtomicUsize::new(0)));
                let service = service_fn(move |request| Arc::clone(&node).answer(request, Arc::clone(&first)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
            }
        });
        (node, address)
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>, seen: Arc<AtomicUsize>) -> Result<Response<AnyBody>, Infallible> {
        let target = request.uri().to_string();
        if target == "/healthz" {
            return Ok(Response::new(full(format!(r#"{{"tag":"{TAG}"}}"#))));
        }
        self.asked.lock().unwrap().push(target.clone());
        if seen.fetch_add(1, SeqCst) == 0 {
            self.connections.fetch_add(1, SeqCst);
        }
        if request.headers().contains_key("upgrade") {
            return Ok(switch(&mut request));
        }
        Ok(match (request.method(), target.split('?').next().unwrap()) {
            (&Method::POST, _) => Response::new(request.into_body().map_err(BoxError::from).boxed_unsync()),
            (_, "/head") => Response::builder().header("keep-alive", "timeout=5").body(full(format!("{request:?}"))).unwrap(),
            (_, "/large") => Response::new(full(vec![b'x'; 1 << 20])),
            (_, "/broken") => {
                let part = futures_util::stream::iter([Ok(Frame::data(Bytes::from("a part")))]);
                let end = futures_util::stream::once(async move {
                    self.breaks_off.notified().await;
                    Err(BoxError::from("no more"))
                });
                Response::new(StreamBody::new(part.chain(end)).boxed_unsync())
            }
            (_, "/endless") => {
                self.polls.fetch_add(1, SeqCst);
                let waiting = Waiting(Arc::clone(&self));
                let pieces = futures_util::stream::repeat_with(move || {
                    let _ = &waiting;
                    Ok(Frame::data(Bytes::from_static(&[b'x'; 4096])))
                });
                Response::new(StreamBody::new(pieces).boxed_unsync())
            }
            (_, "/socket.io/") => {
                self.polls.fetch_add(1, SeqCst);
                let _waiting = Waiting(Arc::clone(&self));
                std::future::pending().await
            }
            _ => Response::builder().status(404).body(full("")).unwrap(),
        })
    }
}

/// Agrees to a WebSocket, in which it sends back what comes.
fn switch(request: &mut Request<Incoming>) -> Response<AnyBody> {
    let key = request.headers()["sec-websocket-key"].as_bytes();
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize());
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let answer = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    answer.header("sec-websocket-accept", accept).header("sec-websocket-protocol", "chat").body(full("")).unwrap()
}

/// A balancer in front of a node.
pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Certificate,
    pub(crate) balancer: Handle,
    _discovery: Discovery,
}

impl World {
    pub(crate) async fn new(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let (node, address) = Node::start().await;
        let probe = Probing { interval: Duration::from_millis(20), ..Probing::default() };
        let nodes = vec![address.to_string().parse().unwrap()];
        let discovery = Discovery::start(DiscoveryConfig { nodes, probe, ..DiscoveryConfig::default() }).unwrap();
        let tables = discovery.tables();
        until("the node is found", || tables.load().ready().len() == 1).await;
        let certificate = Certificate::new();
        let balancer = Balancer::new(options, discovery.tables(), discovery.reports()).unwrap().workers(1);
        let balancer = balancer.bind("127.0.0.1:0".parse().unwrap(), Some(certificate.server("h2")), false).unwrap().start().unwrap();
        Self { node, address: balancer.addrs()[0], certificate, balancer, _discovery: discovery }
    }

    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(self.certificate.client("h2")).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.node.asked.lock().unwrap().clone()
    }
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

pub(crate) fn get(path: &str) -> http::request::Builder {
    Request::get(format!("https://localhost{path}"))
}

pub(crate) async fn ask(client: &mut Client, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, String) {
    let (head, body) = timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap().into_parts();
    (head.status, head.headers, text(body).await)
}

pub(crate) async fn text<B: Body<Error = hyper::Error>>(body: B) -> String {
    let bytes = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn empty() -> Full<Bytes> {
    Full::default()
}

pub(crate) fn websocket() -> Request<Full<Bytes>> {
    let request = get("/socket.io/?EIO=4&transport=websocket").method("CONNECT").extension(Protocol::from_static("websocket"));
    request.header("sec-websocket-version", "13").header("sec-websocket-protocol", "chat").body(empty()).unwrap()
}
