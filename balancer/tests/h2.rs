//! HTTP/2 through a balancer, over real sockets: what a client of HTTP/2 gets from a node that speaks HTTP/1.1.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod world;

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
use sociable_balancer::{Balancer, Discovery, DiscoveryConfig, Handle, Options, Probing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use world::{Certificate, PATIENCE};

const TAG: &str = "AbCd";
/// A session of the node, and one of nobody.
const SESSION: &str = "AbCdeeeeeeeeeeeeeeee";
const STRANGER: &str = "AbCeeeeeeeeeeeeeeeee";

type Client = SendRequest<Full<Bytes>>;
type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn full(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A node that speaks HTTP/1.1.
#[derive(Debug, Default)]
struct Node {
    /// The targets that it was asked for, but for probes.
    asked: Mutex<Vec<String>>,
    /// Polls that wait, and connections that were accepted but for probes.
    polls: AtomicUsize,
    connections: AtomicUsize,
}

/// Counts a poll for as long as its client waits.
struct Waiting(Arc<Node>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.polls.fetch_sub(1, SeqCst);
    }
}

impl Node {
    async fn start() -> (Arc<Self>, SocketAddr) {
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
                // Not before the part is sent: a node that says nothing is another matter.
                let end = futures_util::stream::once(async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
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
struct World {
    node: Arc<Node>,
    address: SocketAddr,
    certificate: Certificate,
    balancer: Handle,
    _discovery: Discovery,
}

impl World {
    async fn new(change: impl FnOnce(&mut Options)) -> Self {
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

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(self.certificate.client("h2")).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    async fn client(&self) -> Client {
        let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn asked(&self) -> Vec<String> {
        self.node.asked.lock().unwrap().clone()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("https://localhost{path}"))
}

async fn ask(client: &mut Client, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, String) {
    let (head, body) = timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap().into_parts();
    (head.status, head.headers, text(body).await)
}

async fn text<B: Body<Error = hyper::Error>>(body: B) -> String {
    let bytes = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn empty() -> Full<Bytes> {
    Full::default()
}

#[tokio::test]
async fn a_request_goes_to_its_node_as_http_1_1() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    let request = get("/head?a=b").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers").header("x-own", "7");
    let (status, fields, head) = ask(&mut client, request.body(empty()).unwrap()).await;
    assert_eq!((status, fields.get("keep-alive"), fields.get("connection")), (StatusCode::OK, None, None));
    for part in [
        "uri: /head?a=b",
        "version: HTTP/1.1",
        r#""host": "localhost""#,
        r#""a=1; b=2""#,
        r#""x-own": "7""#,
        r#""x-forwarded-proto": "https""#,
    ] {
        assert!(head.contains(part), "{part} in {head}");
    }
    assert!(!head.contains("trailers") && !head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");

    let (status, _, body) = ask(&mut client, get("/large").body(empty()).unwrap()).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 1 << 20));
    let (status, fields, body) = ask(&mut client, get("/large").method("HEAD").body(empty()).unwrap()).await;
    assert_eq!((status, fields["content-length"].to_str().unwrap(), &*body), (StatusCode::OK, "1048576", ""));
    let (status, _, _) = ask(&mut client, get("/none").body(empty()).unwrap()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // One after the other, they have one connection.
    assert_eq!(world.node.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn bodies_go_both_ways_whether_their_length_is_told_or_not() {
    let world = World::new(|options| options.max_body = 1 << 20).await;
    let mut client = world.client().await;
    let long = "0123456789abcdef".repeat(40_000);
    for body in ["", "short", &*long] {
        let request = get("/echo").method("POST").body(Full::from(body.to_owned())).unwrap();
        assert_eq!(ask(&mut client, request).await.2, body);
    }
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let pieces = ["one ", "", "two ", &*long].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece.to_owned()))));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let request = get("/echo").method("POST").body(body).unwrap();
    let answer = timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap();
    assert!(answer.headers().get("content-length").is_none());
    assert_eq!(text(answer.into_body()).await, format!("one two {long}"));
}

#[tokio::test]
async fn refusals_are_answers() {
    let world = World::new(|options| options.max_body = 10).await;
    let mut client = world.client().await;
    for sid in ["nonsense", STRANGER] {
        let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={sid}")).body(empty()).unwrap();
        let (status, fields, body) = ask(&mut client, request).await;
        assert_eq!((status, fields["content-type"].to_str().unwrap()), (StatusCode::BAD_REQUEST, "application/json"));
        assert_eq!(body, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
    let request = get("/echo").method("POST").body(Full::from("more than ten bytes")).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let request = get("/").header("host", "elsewhere").body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::BAD_REQUEST);
    let request = get(&format!("/{}", "x".repeat(9_000))).body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::URI_TOO_LONG);
    let request = get("/").header("x-long", "x".repeat(20_000)).body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(world.asked(), Vec::<String>::new());
    // None of this ends the connection.
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_poll_that_is_given_up_ends_at_the_node() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={SESSION}")).body(empty()).unwrap();
    let poll = tokio::spawn(client.send_request(request));
    until("the node has the poll", || world.node.polls.load(SeqCst) == 1).await;
    poll.abort();
    until("the node knows", || world.node.polls.load(SeqCst) == 0).await;
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_not_waited_for() {
    let world = World::new(|options| options.answer_timeout = Duration::from_secs(1)).await;
    let mut client = world.client().await;
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={SESSION}")).body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::GATEWAY_TIMEOUT);
    until("the node knows", || world.node.polls.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_part_of_an_answer_is_not_taken_for_the_whole() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    let answer = timeout(PATIENCE, client.send_request(get("/broken").body(empty()).unwrap())).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(timeout(PATIENCE, answer.into_body().collect()).await.unwrap().is_err());
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn who_does_not_take_an_answer_does_not_keep_a_node_busy() {
    let world = World::new(|options| options.write_timeout = Duration::from_secs(1)).await;
    let mut client = world.client().await;
    let answer = timeout(PATIENCE, client.send_request(get("/endless").body(empty()).unwrap())).await.unwrap().unwrap();
    until("the node is free", || world.node.polls.load(SeqCst) == 0).await;
    drop(answer);
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_connection_ends_when_it_was_idle_for_long() {
    let world = World::new(|options| options.keep_alive = Duration::from_secs(1)).await;
    let mut client = world.client().await;
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    until("the connection is closed", || client.is_closed()).await;
    // One with a stream is not idle.
    let mut client = world.client().await;
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={SESSION}")).body(empty()).unwrap();
    let poll = tokio::spawn(client.send_request(request));
    until("the node has the poll", || world.node.polls.load(SeqCst) == 1).await;
    // The first that was idle for so long went with it, were it taken for idle; and until the second has gone this would have been seen.
    for _ in 0..2 {
        let mut idle = world.client().await;
        assert_eq!(ask(&mut idle, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
        until("an idle one is closed", || idle.is_closed()).await;
    }
    assert!(!client.is_closed() && !poll.is_finished());
    poll.abort();
    until("the connection is closed", || client.is_closed()).await;
}

fn websocket() -> Request<Full<Bytes>> {
    let request = get("/socket.io/?EIO=4&transport=websocket").method("CONNECT").extension(Protocol::from_static("websocket"));
    request.header("sec-websocket-version", "13").header("sec-websocket-protocol", "chat").body(empty()).unwrap()
}

#[tokio::test]
async fn a_websocket_is_a_stream() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    // By the answer to it the client knows that WebSockets are allowed.
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    let mut answer = timeout(PATIENCE, client.send_request(websocket())).await.unwrap().unwrap();
    assert_eq!((answer.status(), answer.headers()["sec-websocket-protocol"].to_str().unwrap()), (StatusCode::OK, "chat"));
    assert!(["sec-websocket-accept", "upgrade"].iter().all(|name| !answer.headers().contains_key(*name)));
    let (mut read, mut write) = tokio::io::split(TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap()));
    // More than all that may wait on the way.
    let sent = "0123456789abcdef".repeat(100_000);
    let bytes = sent.clone().into_bytes();
    tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut came = String::new();
    timeout(PATIENCE, read.read_to_string(&mut came)).await.unwrap().unwrap();
    assert!(came == sent, "{} of {} bytes", came.len(), sent.len());

    let mut other = websocket();
    other.extensions_mut().insert(Protocol::from_static("connect-ip"));
    assert_eq!(ask(&mut client, other).await.0, StatusCode::NOT_IMPLEMENTED);
}

/// Opens WebSockets on new connections, up to `each` on one, until one is refused. Gives how many there are, how they are held, and the refusal.
async fn open_all(world: &World, each: usize) -> (usize, Vec<Box<dyn std::any::Any>>, Option<StatusCode>) {
    let (mut open, mut held): (usize, Vec<Box<dyn std::any::Any>>) = (0, vec![]);
    while open < 200 {
        let stream = TcpStream::connect(world.address).await.unwrap();
        let tls = TlsConnector::from(world.certificate.client("h2")).connect(ServerName::try_from("localhost").unwrap(), stream);
        // A connection too many is closed.
        let Ok(stream) = tls.await else { return (open, held, None) };
        let Ok((mut client, connection)) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await else {
            return (open, held, None);
        };
        tokio::spawn(connection);
        match timeout(PATIENCE, client.send_request(get("/head").body(empty()).unwrap())).await.unwrap() {
            Ok(answer) if answer.status() == StatusCode::OK => drop(text(answer.into_body()).await),
            Ok(answer) => return (open, held, Some(answer.status())),
            Err(_) => return (open, held, None),
        }
        for _ in 0..each {
            let answer = timeout(PATIENCE, client.send_request(websocket())).await.unwrap().unwrap();
            if answer.status() != StatusCode::OK {
                held.push(Box::new(client));
                return (open, held, Some(answer.status()));
            }
            open += 1;
            held.push(Box::new(answer));
        }
        held.push(Box::new(client));
    }
    (open, held, None)
}

#[tokio::test]
async fn websockets_of_one_connection_count_as_connections() {
    let world = World::new(|options| options.max_connections = 20).await;
    let (open, held, refused) = open_all(&world, 100).await;
    assert!((19..=20).contains(&open), "{open} WebSockets");
    assert_eq!((refused, world.balancer.connections()), (Some(StatusCode::SERVICE_UNAVAILABLE), 20));
    drop(held);
    until("all are gone", || world.balancer.connections() == 0).await;
}

#[tokio::test]
async fn websockets_of_one_address_are_limited() {
    let world = World::new(|options| options.max_connections_per_address = Some(15)).await;
    let (open, held, refused) = open_all(&world, 100).await;
    assert!((14..=15).contains(&open) && refused == Some(StatusCode::TOO_MANY_REQUESTS), "{open}, then {refused:?}");
    drop(held);
    until("all are gone", || world.balancer.connections() == 0).await;
    let (open, ..) = open_all(&world, 1).await;
    assert!((14..=15).contains(&open), "{open} on connections of their own");
}

#[tokio::test]
async fn a_repeated_sid_is_no_handshake() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    let (before, query) = (world.asked().len(), format!("sid={SESSION}&sid="));
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&{query}")).body(empty()).unwrap();
    let (status, _, body) = ask(&mut client, request).await;
    assert_eq!((status, &*body), (StatusCode::BAD_REQUEST, r#"{"code":3,"message":"Bad request"}"#));
    let mut upgrade = websocket();
    *upgrade.uri_mut() = format!("https://localhost/socket.io/?EIO=4&transport=websocket&{query}").parse().unwrap();
    let (status, _, body) = ask(&mut client, upgrade).await;
    assert_eq!((status, &*body), (StatusCode::BAD_REQUEST, "Bad request"));
    assert_eq!(world.asked().len(), before);
}

#[tokio::test]
async fn a_balancer_that_leaves_ends_what_is_open() {
    let mut world = World::new(|_| {}).await;
    let (mut idle, mut client) = (world.client().await, world.client().await);
    for client in [&mut idle, &mut client] {
        assert_eq!(ask(client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    }
    let mut answer = client.send_request(websocket()).await.unwrap();
    let mut socket = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    // Longer than this test waits: all end because they are told, not because they are cut off.
    world.balancer.drain(Duration::from_secs(600));
    let mut end = vec![];
    let _ = timeout(PATIENCE, socket.read_to_end(&mut end)).await.unwrap();
    until("the connections are closed", || idle.is_closed() && client.is_closed()).await;
    timeout(PATIENCE, world.balancer.ended()).await.unwrap();
}

/// A field as a client may write it that keeps to no rule: neither indexed nor compressed.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let (name_length, value_length) = (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
    [&[0, name_length], name.as_bytes(), &[value_length], value.as_bytes()].concat()
}

/// The kind of the first frame that answers such a request, and its stream is reset by 3 or its connection by 7.
async fn answer_to(world: &World, path: &str, name: &str, value: &str) -> u8 {
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path), (name, value)];
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    let mut stream = world.connect().await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &headers, &block].concat()).await.unwrap();
    loop {
        let mut head = [0; 9];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        if matches!(head[3], 1 | 3 | 7) {
            return head[3];
        }
    }
}

#[tokio::test]
async fn nothing_is_smuggled_in_a_field() {
    let world = World::new(|_| {}).await;
    for (name, value) in [
        ("x-a", "b\r\nx-c: d"),
        ("x-a", "b\nx-c: d"),
        ("x-a", "b\0"),
        ("x-a\r\nx-b", "c"),
        ("x-a: b", "c"),
        ("X-A", "b"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("content-length", "5"),
        (":path", "/head"),
    ] {
        let answer = answer_to(&world, "/head", name, value).await;
        assert!(matches!(answer, 3 | 7), "{answer} to {name:?}: {value:?}");
    }
    assert!(matches!(answer_to(&world, "/head HTTP/1.1\r\nx-a: b", "x-b", "c").await, 3 | 7));
    assert_eq!(world.asked(), Vec::<String>::new());
    assert_eq!(answer_to(&world, "/head", "x-a", "b").await, 1);
    assert_eq!(world.asked(), ["/head"]);
}
