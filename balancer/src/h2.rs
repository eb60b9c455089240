//! HTTP/2 towards clients: each stream is a request, which goes to its node as HTTP/1.1.
//!
//! The frames are hyper's. A request is written down as HTTP/1.1 and read as if it had come so: there is one place where it is decided what
//! may pass. Then its stream is a [`Wire`] like the connection of a client of HTTP/1.1, and has the same [`Exchange`] with the node. What is
//! read from it is the body in the framing that its head tells. What is written to it is an answer, whose head is taken apart for hyper.
//!
//! A stream has a task and a place in the roll of its own, which end as soon as the client gives it up. What hyper has not taken of an answer
//! waits in its [`Reply`], at most [`PIECE`]; and there is as much again in hyper, and what one read of the node gave in the exchange.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request, response};
use hyper::body::{Body, Frame, Incoming};
use hyper::ext::Protocol;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::descriptors::Held;
use crate::exchange::{End, Exchange, Terms};
use crate::http::answer::is_of_the_connection;
use crate::http::head::{MAX_HEAD, Request, write_field};
use crate::http::refusal::Refusal;
use crate::http::{Framing, encode, finish};
use crate::permit::Permit;
use crate::reach::Reached;
use crate::roll::{Fate, Place};
use crate::stream::{Out, Wire};
use crate::table::Node;
use crate::tunnel::Tunnel;
use crate::worker::Worker;

/// The most streams of a connection at once. A browser that has more requests waits with them.
const MAX_STREAMS: u32 = 128;
/// The most streams that a client gave up and that were not yet looked at. Whoever has more is cut off.
const MAX_RESETS: usize = 32;
/// What a client may send ahead of the node: on a stream, and on all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most of an answer that hyper gets at once, and that it keeps for a stream.
const PIECE: usize = 16 * 1024;
/// How often it is asked whether a client is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// The most fields of a node's answer, of which some are the balancer's.
const MAX_FIELDS: usize = 128;

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TlsStream<TcpStream>, peer: SocketAddr, permit: Permit) {
    let place = worker.roll.enter(worker.shared.options().header_timeout);
    let client = Rc::new(Client { worker, peer, place, streams: Cell::new(0), _permit: permit });
    let begins = Rc::clone(&client);
    let service = service_fn(move |request| Open::new(&begins).answer(request));
    let mut connection = pin!(builder().serve_connection(TokioIo::new(stream), service));
    let mut leaving = false;
    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match client.place.fate(cx) {
                // Each stream has its own time.
                Fate::Late if client.streams.get() > 0 => client.rest(),
                Fate::Late if leaving => return Poll::Ready(()),
                Fate::Stays if !client.worker.leaving.get() => return Poll::Pending,
                _ if leaving => return Poll::Pending,
                // The streams that there are go on, and no more begin.
                Fate::Late | Fate::Leaves | Fate::Stays => {
                    leaving = true;
                    client.place.give(client.worker.shared.options().write_timeout);
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    })
    .await;
}

fn builder() -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(PIECE)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .auto_date_header(false)
        .enable_connect_protocol();
    builder
}

/// Runs what hyper has to do on the thread of the worker.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// Who is at the other end of a connection.
#[derive(Debug)]
struct Client {
    worker: Rc<Worker>,
    peer: SocketAddr,
    place: Place,
    /// How many streams are open.
    streams: Cell<usize>,
    _permit: Permit,
}

impl Client {
    /// So long it may do nothing.
    fn rest(&self) {
        self.place.give(self.worker.shared.options().keep_alive);
    }
}

/// A stream that is open: its connection does not rest.
#[derive(Debug)]
struct Open {
    client: Rc<Client>,
    /// The connection to its node, if there is room for one.
    held: Option<Held>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.client.streams.set(self.client.streams.get() - 1);
        self.client.rest();
    }
}

/// What becomes a tunnel.
#[derive(Debug)]
struct Switched {
    node: Arc<Node>,
    stream: TcpStream,
    place: Place,
    /// What the node sent behind its answer.
    down: Out,
}

impl Open {
    fn new(client: &Rc<Client>) -> Self {
        client.streams.set(client.streams.get() + 1);
        Self { client: Rc::clone(client), held: client.worker.shared.descriptors.try_hold() }
    }

    /// Sends a request to its node. The answer is there when its head is.
    fn answer(self, request: hyper::Request<Incoming>) -> impl Future<Output = io::Result<Response<Answer>>> {
        let reply = Rc::new(RefCell::new(Reply::default()));
        let answer = Answer(Rc::clone(&reply));
        spawn_local(self.run(request, reply));
        async move {
            let head = poll_fn(|cx| answer.0.borrow_mut().poll_head(cx)).await?;
            Ok(Response::from_parts(head, answer))
        }
    }

    async fn run(self, mut stream: hyper::Request<Incoming>, reply: Rc<RefCell<Reply>>) {
        let upgraded = hyper::upgrade::on(&mut stream);
        let (head, body) = stream.into_parts();
        let worker = Rc::clone(&self.client.worker);
        let request = write_head(&head, !body.is_end_stream()).and_then(|head| {
            let read = Request::read(&head, &worker.shared.options().reading(self.client.peer, true))?;
            read.map(|(request, _)| request).ok_or(Refusal::Malformed)
        });
        let mut wire = StreamWire { body, framing: Framing::Empty, piece: Bytes::new(), reply: Rc::clone(&reply), ended: false };
        let mut request = match request {
            Ok(request) => request,
            Err(refusal) => return drop(self.refuse(refusal, false, &mut wire)),
        };
        let record = request.record.take();
        wire.framing = request.body;
        // Where an answer ends is told by the stream.
        request.chunks = false;
        let (status, by, switched) = tokio::select! {
            biased;
            end = self.forward(request, &mut wire) => end,
            // The node learns at once that nobody waits for its answer.
            () = poll_fn(|cx| reply.borrow_mut().poll_gone(cx)) => (0, "client_gone".into(), None),
        };
        if let Some(record) = record {
            record.log(self.client.peer.ip(), status, &by);
        }
        let Some(Switched { node, stream, place, down }) = switched else { return };
        let limit = worker.shared.options().write_timeout;
        if let Ok(Ok(upgraded)) = timeout(limit, upgraded).await {
            worker.shared.metrics.upgrades.inc();
            let idle = worker.shared.options().tunnel_idle(&node);
            let client = WebSocket { io: Box::new(TokioIo::new(upgraded)), _open: self };
            let tunnel = Tunnel::new(worker, client, stream, place, idle, (node.load.tunnel(), None));
            spawn_local(tunnel.waiting(vec![], down));
        }
    }

    /// Tells what the client got, of whom, and what is to become a tunnel.
    async fn forward(&self, mut request: Request, wire: &mut StreamWire) -> (u16, String, Option<Switched>) {
        let worker = &self.client.worker;
        let websocket = request.upgrade.is_some();
        let reached = match self.held {
            Some(_) => worker.reach(&request).await,
            None => Err(Refusal::Overloaded),
        };
        let Reached { node, mut stream, counted: _counted } = match reached {
            Ok(reached) => reached,
            Err(refusal) => return self.refuse(refusal, websocket, wire),
        };
        let most = node.limits.max_payload.unwrap_or(u64::MAX).min(worker.shared.options().max_body);
        if matches!(request.body, Framing::Length(length) if length > most) {
            worker.pool.put(node.address, stream, worker.roll.now());
            return self.refuse(Refusal::LongBody, websocket, wire);
        }
        let (kind, begun, by) = (request.kind(), Instant::now(), node.tag.as_str().to_owned());
        let answer = worker.shared.options().answer_time(&node);
        let place = worker.roll.enter(answer);
        let mut carry = vec![];
        let mut exchange = Exchange::new(worker, &place, wire, &mut stream, &mut carry, &mut request, Terms { close: false, most, answer });
        let end = poll_fn(|cx| exchange.poll(cx)).await;
        let (status, free) = (exchange.status(), exchange.node_is_free());
        worker.shared.metrics.answered(kind, begun, exchange.first_byte());
        if status == 503 {
            worker.shared.refused_by(&node, &request);
        }
        match end {
            End::Switched(out) => {
                // It was written by the balancer, so that it can be read.
                let Ok((head, length)) = read_head(out.waiting()) else { return self.refuse(Refusal::BadAnswer, websocket, wire) };
                let down = Out::new(out.waiting()[length..].to_vec());
                wire.reply.borrow_mut().begin(head);
                return (200, by, Some(Switched { node, stream, place, down }));
            }
            End::Refused(refusal) => return self.refuse(refusal, websocket, wire),
            End::Answered { .. } => {
                if free {
                    worker.pool.put(node.address, stream, worker.roll.now());
                }
                wire.reply.borrow_mut().whole = true;
                return (status, by, None);
            }
            End::Broken => {
                worker.shared.metrics.broken.inc();
            }
            End::ClientGone => {}
        }
        (0, by, None)
    }

    /// Tells the client why its request goes nowhere.
    fn refuse(&self, refusal: Refusal, websocket: bool, wire: &mut StreamWire) -> (u16, String, Option<Switched>) {
        let shared = &self.client.worker.shared;
        shared.metrics.refused(refusal);
        let mut answer = vec![];
        refusal.write(websocket, false, shared.retry_after(), &mut answer);
        let mut reply = wire.reply.borrow_mut();
        // Nothing was written before, so that there is room for it.
        reply.whole = reply.take(&answer).is_ok();
        (refusal.status().0, refusal.cause().into(), None)
    }
}

/// A request of HTTP/2 as the head of one of HTTP/1.1.
///
/// Names and values are those that HTTP/1.1 allows: the types don't hold others, so that no line can be begun within one.
fn write_head(head: &request::Parts, has_body: bool) -> Result<Vec<u8>, Refusal> {
    let websocket = match head.extensions.get::<Protocol>() {
        Some(protocol) if protocol.as_str() == "websocket" => true,
        Some(_) => return Err(Refusal::Unsupported),
        None => false,
    };
    let method = if websocket { &Method::GET } else { &head.method };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let host = host(head)?;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field("host", host, &mut out);
    for (name, value) in &head.headers {
        match name.as_str() {
            "host" | "cookie" => {}
            // Their meaning is told by frames.
            "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection" => return Err(Refusal::Ambiguous),
            // Only HTTP/1.1 needs one.
            "sec-websocket-key" if websocket => {}
            name => write_field(name, value.as_bytes(), &mut out),
        }
    }
    // A client may cut it into pieces, which a server of HTTP/1.1 does not expect.
    let cookies: Vec<_> = head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        write_field("cookie", &cookies.join(&b"; "[..]), &mut out);
    }
    if websocket {
        let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        write_field("connection", b"Upgrade", &mut out);
        write_field("upgrade", b"websocket", &mut out);
        write_field("sec-websocket-key", key.as_bytes(), &mut out);
    } else if has_body && !head.headers.contains_key(header::CONTENT_LENGTH) {
        write_field("transfer-encoding", b"chunked", &mut out);
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// Whom it is for. It may be told twice, but not differently.
fn host(head: &request::Parts) -> Result<&[u8], Refusal> {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut told = authority.into_iter().chain(head.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes));
    let host = told.next().ok_or(Refusal::Malformed)?;
    if told.all(|other| other.eq_ignore_ascii_case(host)) { Ok(host) } else { Err(Refusal::Ambiguous) }
}

/// Reads the head of an answer as the balancer writes it, and tells its length. What HTTP/2 does not know is left out.
fn read_head(input: &[u8]) -> io::Result<(response::Parts, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = parsed.parse(input).map_err(io::Error::other)? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let (mut head, ()) = Response::new(()).into_parts();
    let switched = parsed.code == Some(101);
    head.status =
        if switched { StatusCode::OK } else { StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(io::Error::other)? };
    head.headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter().filter(|field| !is_of_the_connection(field.name)) {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(io::Error::other)?;
        let value = HeaderValue::from_bytes(field.value).map_err(io::Error::other)?;
        if !switched || name != header::SEC_WEBSOCKET_ACCEPT && name != header::CONTENT_LENGTH {
            head.headers.append(name, value);
        }
    }
    Ok((head, length))
}

/// An answer on its way from the task of its stream to hyper.
#[derive(Debug, Default)]
struct Reply {
    head: Option<response::Parts>,
    begun: bool,
    /// The next of its body.
    piece: Bytes,
    /// All of it was given.
    whole: bool,
    /// Nothing more is given.
    over: bool,
    /// Nobody waits for it.
    gone: bool,
    hyper: Option<Waker>,
    task: Option<Waker>,
}

impl Reply {
    fn begin(&mut self, head: response::Parts) {
        (self.head, self.begun) = (Some(head), true);
        wake(&mut self.hyper);
    }

    /// Takes some of an answer in HTTP/1.1, the whole head first. There has to be room.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut behind = 0;
        if !self.begun {
            let (head, length) = read_head(bytes)?;
            self.begin(head);
            behind = length;
        }
        let end = bytes.len().min(behind + PIECE);
        self.piece = Bytes::copy_from_slice(&bytes[behind..end]);
        wake(&mut self.hyper);
        Ok(end)
    }

    fn poll_head(&mut self, cx: &Context<'_>) -> Poll<io::Result<response::Parts>> {
        match self.head.take() {
            Some(head) => Poll::Ready(Ok(head)),
            None if self.over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            None => {
                self.hyper = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_gone(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.gone {
            return Poll::Ready(());
        }
        if !self.task.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// The body of an answer, as hyper takes it.
#[derive(Debug)]
struct Answer(Rc<RefCell<Reply>>);

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut reply = self.0.borrow_mut();
        if !reply.piece.is_empty() {
            let piece = std::mem::take(&mut reply.piece);
            if let Some(task) = &reply.task {
                task.wake_by_ref();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match (reply.over, reply.whole) {
            (true, true) => Poll::Ready(None),
            // The stream is reset: the client has not got all of it.
            (true, false) => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            (false, _) => {
                reply.hyper = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let reply = self.0.borrow();
        reply.over && reply.whole && reply.piece.is_empty()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut reply = self.0.borrow_mut();
        reply.gone = true;
        wake(&mut reply.task);
    }
}

/// A stream as the connection of a client that speaks HTTP/1.1 and has sent its head.
#[derive(Debug)]
struct StreamWire {
    body: Incoming,
    framing: Framing,
    /// What was not read yet, in its framing.
    piece: Bytes,
    /// The body has ended.
    ended: bool,
    reply: Rc<RefCell<Reply>>,
}

impl Wire for StreamWire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.piece.is_empty() {
            if self.ended {
                // Not that the client is gone: that is seen by its reply.
                return Poll::Pending;
            }
            let mut framed = vec![];
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if self.framing != Framing::Chunked => self.piece = data,
                    // An empty chunk would be the last.
                    Ok(data) if !data.is_empty() => encode(self.framing, &data, &mut framed),
                    // Trailers are passed by.
                    Ok(_) | Err(_) => {}
                },
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => {
                    self.ended = true;
                    finish(self.framing, &mut framed);
                }
            }
            if !framed.is_empty() {
                self.piece = framed.into();
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut reply = self.reply.borrow_mut();
        if !reply.piece.is_empty() {
            // Woken when there is room, and when nobody waits any more.
            return reply.poll_gone(cx).map(|()| Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(reply.take(bytes))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWire {
    fn drop(&mut self) {
        let mut reply = self.reply.borrow_mut();
        reply.over = true;
        wake(&mut reply.hyper);
    }
}

/// A stream that has become a WebSocket.
#[derive(Debug)]
struct WebSocket {
    io: Box<TokioIo<Upgraded>>,
    _open: Open,
}

impl Wire for WebSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(AsyncRead::poll_read(Pin::new(&mut self.io), cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.io), cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.io), cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.io), cx)
    }
}
