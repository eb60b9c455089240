//! HTTP/2 towards clients: each stream is a request, which goes to its node as HTTP/1.1.
//!
//! hyper handles the frames. The head of a request becomes the same `RequestHead` as one of HTTP/1.1, so one place
//! decides what may pass. A stream is a [`Wire`], like the connection of a client with HTTP/1.1. The exchange with the
//! node is the same [`Exchange`]. Reads give the body in the framing of its head. Writes give the body of the answer,
//! whose head hyper gets separately.
//!
//! A stream has a task and a deadline of its own, which end as soon as the client resets it. Bytes that hyper has not
//! taken wait in the stream's [`Reply`], at most [`PIECE`]. As many may wait in hyper, and one read of the node in the
//! exchange.

mod head;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Response, request};
use hyper::body::{Body as _, Incoming};
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

use self::wire::{Answer, PIECE, Reply, StreamWire};
use crate::http::access_log::AccessRecord;
use crate::http::head::{MAX_FIELDS, MAX_HEAD, NO_FIELD};
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::limits::descriptors::Held;
use crate::proxy::exchange::{Closes, End, Exchange, Terms};
use crate::proxy::permit::Permit;
use crate::proxy::stream::{Wire, WriteBuffer};
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::Upstream;
use crate::table::Node;
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Status};

/// The most streams of a connection at once. A browser that has more requests waits with them.
const MAX_STREAMS: u32 = 128;
/// The most pending resets of streams. A client with more is disconnected.
const MAX_RESETS: usize = 32;
/// The bytes that a client may send ahead of the node: on a stream, and on all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The interval of pings to a client, and the timeout of its answer.
const PING: Duration = Duration::from_secs(20);

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TlsStream<TcpStream>, peer: SocketAddr, permit: Permit) {
    let deadline = worker.deadlines.register(worker.state.options().header_timeout);
    let client = Rc::new(Client { worker, peer, deadline, streams: Cell::new(0), _permit: permit });
    let begins = Rc::clone(&client);
    let service = service_fn(move |request| Open::new(&begins).answer(request));
    let mut connection = pin!(builder().serve_connection(TokioIo::new(stream), service));
    let mut leaving = false;
    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match client.deadline.status(cx) {
                // Each stream has its own time.
                Status::Expired if client.streams.get() > 0 => client.rest(),
                Status::Expired if leaving => return Poll::Ready(()),
                Status::Active if !client.worker.draining.get() => return Poll::Pending,
                _ if leaving => return Poll::Pending,
                // Open streams continue, and no new ones start.
                Status::Expired | Status::Draining | Status::Active => {
                    leaving = true;
                    client.deadline.extend(client.worker.state.options().write_timeout);
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

/// The client at the other end of a connection.
#[derive(Debug)]
struct Client {
    worker: Rc<Worker>,
    peer: SocketAddr,
    deadline: Deadline,
    /// The number of open streams.
    streams: Cell<usize>,
    _permit: Permit,
}

impl Client {
    /// Sets the deadline of an idle connection.
    fn rest(&self) {
        self.deadline.extend(self.worker.state.options().keep_alive);
    }
}

/// A stream that is open: its connection does not rest.
#[derive(Debug)]
struct Open {
    client: Rc<Client>,
    /// The stream's admission, or its refusal.
    admitted: Result<Admitted, Refusal>,
}

/// The permits of an admitted stream.
#[derive(Debug)]
struct Admitted {
    /// The descriptor of the stream's connection to a node.
    _held: Held,
    /// `None` if the stream counts with its connection.
    permit: Option<Permit>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.client.streams.set(self.client.streams.get() - 1);
        self.client.rest();
    }
}

/// The parts of a tunnel.
#[derive(Debug)]
struct Switched {
    node: Arc<Node>,
    stream: TcpStream,
    deadline: Deadline,
    /// Bytes that the node sent behind its answer.
    down: WriteBuffer,
}

impl Admitted {
    fn new(client: &Client) -> Result<Self, Refusal> {
        let (state, address) = (&client.worker.state, client.peer.ip());
        let held = state.descriptors.try_hold().ok_or(Refusal::Overloaded)?;
        // The connection counts for its first stream, as a connection of HTTP/1.1 counts for its request. A connection
        // of a trusted proxy does not count for the client of a stream.
        let counted = client.streams.get() == 1 && !state.options().trusts(address);
        let permit = if counted { None } else { Some(Permit::for_stream(state, address)?) };
        Ok(Self { _held: held, permit })
    }

    /// Counts it for the client of its request, if it is not counted for the one that is connected.
    fn count_for(&mut self, client: IpAddr) -> Result<(), Refusal> {
        self.permit.as_mut().map_or(Ok(()), |permit| permit.count_for(client))
    }
}

impl Open {
    fn new(client: &Rc<Client>) -> Self {
        client.streams.set(client.streams.get() + 1);
        Self { client: Rc::clone(client), admitted: Admitted::new(client) }
    }

    /// Sends a request to its node. The future ends with the head of the answer.
    fn answer(self, request: hyper::Request<Incoming>) -> impl Future<Output = io::Result<Response<Answer>>> {
        let reply = Rc::new(RefCell::new(Reply::default()));
        let answer = Answer(Rc::clone(&reply));
        spawn_local(self.run(request, reply));
        async move {
            let head = poll_fn(|cx| answer.0.borrow_mut().poll_head(cx)).await?;
            Ok(Response::from_parts(head, answer))
        }
    }

    async fn run(mut self, mut stream: hyper::Request<Incoming>, reply: Rc<RefCell<Reply>>) {
        let upgraded = hyper::upgrade::on(&mut stream);
        let (parts, body) = stream.into_parts();
        let worker = Rc::clone(&self.client.worker);
        let request = self.interpret(&parts, !body.is_end_stream());
        let mut wire = StreamWire::new(body, Rc::clone(&reply));
        let mut request = match request {
            Ok(request) => request,
            Err(refusal) => {
                let (status, by, _) = self.refuse(refusal, false, &mut wire);
                if worker.state.options().is_recorded() {
                    AccessRecord::unread(self.client.peer.ip()).log(status, &by);
                }
                return;
            }
        };
        let record = request.record.take();
        wire.framing = request.body;
        let admitted = match &mut self.admitted {
            Ok(admitted) if request.upgrade.is_some() => admitted.count_for(request.client),
            Ok(_) => Ok(()),
            Err(refusal) => Err(*refusal),
        };
        let (status, by, switched) = tokio::select! {
            biased;
            end = self.forward(request, admitted, &mut wire) => end,
            // The node learns at once that the client has stopped waiting.
            () = poll_fn(|cx| reply.borrow_mut().poll_gone(cx)) => (0, "client_gone".into(), None),
        };
        if let Some(record) = record {
            record.log(status, &by);
        }
        let Some(Switched { node, stream, deadline, down }) = switched else { return };
        let limit = worker.state.options().write_timeout;
        if let Ok(Ok(upgraded)) = timeout(limit, upgraded).await {
            worker.state.metrics.tunnels_opened.inc();
            let idle = worker.state.options().tunnel_idle(&node);
            let client = WebSocket { io: Box::new(TokioIo::new(upgraded)), _open: self };
            let tunnel = Tunnel::new(worker, client, stream, deadline, idle, (node.load.count_tunnel(), None));
            spawn_local(tunnel.waiting(vec![], down));
        }
    }

    fn interpret(&self, parts: &request::Parts, has_body: bool) -> Result<Request, Refusal> {
        let cookies = head::cookies(&parts.headers);
        let mut fields = [NO_FIELD; MAX_FIELDS];
        let head = head::read_request(parts, has_body, cookies.as_deref(), &mut fields)?;
        Request::interpret(&head, &self.client.worker.state.options().request_context(self.client.peer, true))
    }

    /// Sends a request to its node, and the answer back. Returns the status, the node or the refusal, and the parts of a tunnel.
    async fn forward(&self, mut request: Request, admitted: Result<(), Refusal>, wire: &mut StreamWire) -> (u16, String, Option<Switched>) {
        let worker = &self.client.worker;
        let websocket = request.upgrade.is_some();
        let upstream = match admitted {
            Ok(()) => worker.connect_upstream(&request).await,
            Err(refusal) => Err(refusal),
        };
        let Upstream { node, mut stream, counted: _counted } = match upstream {
            Ok(upstream) => upstream,
            Err(refusal) => return self.refuse(refusal, websocket, wire),
        };
        let most = worker.state.options().longest_body(&node, &request);
        if worker.state.options().refuses_body(&node, &request) {
            worker.pool.put(node.address, stream, worker.deadlines.now());
            return self.refuse(Refusal::LongBody, websocket, wire);
        }
        let (kind, begun, by) = (request.kind(), Instant::now(), node.tag.as_str().to_owned());
        let answer = worker.state.options().answer_time(&node);
        let deadline = worker.deadlines.register(answer);
        let mut carry = vec![];
        let mut exchange =
            Exchange::new(worker, &deadline, wire, &mut stream, &mut carry, &mut request, Terms { closes: Closes::Never, most, answer });
        let end = poll_fn(|cx| exchange.poll(cx)).await;
        let (status, free, unknown) = (exchange.status(), exchange.node_is_free(), exchange.is_unknown());
        worker.state.metrics.answered(kind, begun, exchange.first_byte());
        worker.state.observe_answer(&node, &request, status, unknown);
        match end {
            End::Switched(down) => return (200, by, Some(Switched { node, stream, deadline, down })),
            End::Refused(refusal) => return self.refuse(refusal, websocket, wire),
            End::Answered { .. } => {
                if free {
                    worker.pool.put(node.address, stream, worker.deadlines.now());
                }
                wire.reply.borrow_mut().whole = true;
                return (status, by, None);
            }
            End::Broken => {
                worker.state.metrics.responses_aborted.inc();
            }
            End::ClientGone => {}
        }
        (0, by, None)
    }

    /// Answers a request that goes to no node.
    fn refuse(&self, refusal: Refusal, websocket: bool, wire: &mut StreamWire) -> (u16, String, Option<Switched>) {
        let state = &self.client.worker.state;
        state.metrics.refused(refusal);
        // Nothing was sent before, so the answer fits.
        wire.reply.borrow_mut().refuse(refusal, websocket, state.retry_after());
        (refusal.status().0, refusal.reason().into(), None)
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
