//! The connection of a client with HTTP/1.1: its requests one after the other, each to its node.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::spawn_local;

use crate::http::access_log::AccessRecord;
use crate::http::body::Framing;
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::limits::waiting::WaitingBytes;
use crate::proxy::exchange::{Closes, End, Exchange, Terms};
use crate::proxy::permit::Permit;
use crate::proxy::stream::{Stream, Wire, WriteBuffer};
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::Upstream;
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Status};

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    worker: Rc<Worker>,
    stream: Stream,
    /// The address of the peer, by the PROXY protocol if it is used.
    peer: SocketAddr,
    deadline: Deadline,
    /// Bytes that were read and not used.
    carry: Vec<u8>,
    waits: WaitingBytes,
    /// Counts it against the bound on connections.
    permit: Permit,
}

/// The next step after a request.
enum Next {
    /// Another.
    Request,
    /// The client has a whole answer.
    Close,
    /// The client has a part of an answer, and must not take it for the whole.
    Cut,
    /// The client may be sending still: it gets time to read.
    Linger,
}

impl Connection {
    /// Serves it until it ends.
    pub(crate) async fn serve(worker: Rc<Worker>, stream: Stream, peer: SocketAddr, permit: Permit) {
        let deadline = worker.deadlines.register(worker.state.options().header_timeout);
        let mut connection = Self { worker, stream, peer, deadline, carry: vec![], waits: WaitingBytes::default(), permit };
        loop {
            let request = match poll_fn(|cx| connection.poll_request(cx)).await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(refusal) => {
                    // Only the sender of the request is known.
                    let recorded = connection.worker.state.options().is_recorded();
                    let record = recorded.then(|| Box::new(AccessRecord::unread(connection.peer.ip())));
                    connection.refuse(refusal, false, true, record).await;
                    return connection.linger().await;
                }
            };
            // Boxed, since it is large, and an idle connection has none.
            let next = if request.upgrade.is_some() {
                return Box::pin(connection.upgrade(request)).await;
            } else {
                Box::pin(connection.forward(request)).await
            };
            match next {
                Next::Request => {}
                Next::Close => return connection.close().await,
                Next::Cut => return,
                Next::Linger => return connection.linger().await,
            }
            let options = connection.worker.state.options();
            // Bytes of the next head start its time.
            connection.deadline.extend(if connection.carry.is_empty() { options.keep_alive } else { options.header_timeout });
            drop(options);
        }
    }

    /// Reads the next request. Returns `None` if the connection ended, or was idle for too long.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Request>, Refusal>> {
        let request = self.poll_head(cx);
        let waits = if request.is_pending() { self.carry.len() } else { 0 };
        self.waits.set(&self.worker.state.waiting, waits);
        if waits > 0 && self.worker.state.waiting.remaining() == 0 {
            self.carry = vec![];
            self.waits.set(&self.worker.state.waiting, 0);
            return Poll::Ready(Err(Refusal::Overloaded));
        }
        request
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Request>, Refusal>> {
        let worker = Rc::clone(&self.worker);
        let options = worker.state.options();
        loop {
            if !self.carry.is_empty()
                && let Some((request, length)) = Request::read(&self.carry, &options.request_context(self.peer, self.is_encrypted()))?
            {
                self.carry.drain(..length);
                if self.carry.is_empty() {
                    // An idle connection holds nothing.
                    self.carry = vec![];
                }
                return Poll::Ready(Ok(Some(request)));
            }
            match self.deadline.status(cx) {
                Status::Expired if !self.carry.is_empty() => return Poll::Ready(Err(Refusal::Slow)),
                Status::Draining if !self.carry.is_empty() => {}
                Status::Expired | Status::Draining => return Poll::Ready(Ok(None)),
                Status::Active => {}
            }
            let mut buffer = worker.read_buffer();
            let length = match self.stream.poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(length)) => length,
                Poll::Ready(Err(_)) => 0,
            };
            if length == 0 {
                return Poll::Ready(Ok(None));
            }
            let input = &buffer[..length];
            if !self.carry.is_empty() {
                self.carry.extend_from_slice(input);
                continue;
            }
            // Nearly always the head is complete, and is not copied.
            if let Some((request, length)) = Request::read(input, &options.request_context(self.peer, self.is_encrypted()))? {
                self.carry.extend_from_slice(&input[length..]);
                return Poll::Ready(Ok(Some(request)));
            }
            self.carry.extend_from_slice(input);
            // A head has this time from its first byte, however it is split.
            self.deadline.extend(options.header_timeout);
        }
    }

    /// Sends a request to its node, and the answer back.
    async fn forward(&mut self, mut request: Request) -> Next {
        let worker = Rc::clone(&self.worker);
        let record = request.record.take();
        let close = !request.keep_alive || worker.draining.get() || self.deadline.is_draining();
        let Upstream { node, mut stream, counted: _counted } = match worker.connect_upstream(&request).await {
            Ok(upstream) => upstream,
            Err(refusal) => return self.refuse_request(refusal, &request, close, record).await,
        };
        let answer = worker.state.options().answer_time(&node);
        let most = worker.state.options().longest_body(&node, &request);
        if worker.state.options().refuses_body(&node, &request) {
            worker.pool.put(node.address, stream, worker.deadlines.now());
            return self.refuse_request(Refusal::LongBody, &request, close, record).await;
        }
        let is_long = matches!(request.body, Framing::Length(length) if length > most);
        if request.expects_continue && self.carry.is_empty() && !is_long {
            // A connection that takes no line is found to be broken when it is to take the answer.
            let _ = self.send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()).await;
        }
        let (kind, begun) = (request.kind(), Instant::now());
        let mut exchange = Exchange::new(
            &worker,
            &self.deadline,
            &mut self.stream,
            &mut stream,
            &mut self.carry,
            &mut request,
            Terms { closes: if close { Closes::Always } else { Closes::IfDraining }, most, answer },
        );
        let end = poll_fn(|cx| exchange.poll(cx)).await;
        let (status, free, close, unknown) = (exchange.status(), exchange.node_is_free(), exchange.closes(), exchange.is_unknown());
        worker.state.metrics.answered(kind, begun, exchange.first_byte());
        if free {
            worker.pool.put(node.address, stream, worker.deadlines.now());
        } else {
            // The node learns at once that the client has stopped waiting.
            drop(stream);
        }
        worker.state.observe_answer(&node, &request, status, unknown);
        self.conclude(end, close, (status, node.tag.as_str()), record).await
    }

    /// Ends a request: logs it, and sends the refusal to a client without an answer. `answered` is the status, and the
    /// node that gave it.
    async fn conclude(&mut self, end: End, close: bool, answered: (u16, &str), record: Option<Box<AccessRecord>>) -> Next {
        let (status, node) = answered;
        match end {
            End::Answered { whole } => {
                self.log(record, status, node);
                match (close, whole) {
                    (false, true) => Next::Request,
                    (true, true) => Next::Close,
                    // The node did not want the rest of the body.
                    (_, false) => Next::Linger,
                }
            }
            End::Refused(refusal) => {
                self.refuse(refusal, false, true, record).await;
                Next::Linger
            }
            End::ClientGone | End::Broken | End::Switched(_) => {
                if matches!(end, End::Broken) {
                    self.worker.state.metrics.responses_aborted.inc();
                }
                self.log(record, 0, node);
                Next::Cut
            }
        }
    }

    /// Opens a WebSocket. The connection becomes a tunnel, in a smaller task of its own, or ends behind the refusal.
    async fn upgrade(mut self, mut request: Request) {
        let worker = Rc::clone(&self.worker);
        let record = request.record.take();
        let upstream = match self.permit.count_for(request.client) {
            Ok(()) => worker.connect_upstream(&request).await,
            Err(refusal) => Err(refusal),
        };
        let Upstream { node, mut stream, counted: _counted } = match upstream {
            Ok(upstream) => upstream,
            Err(refusal) => {
                self.refuse(refusal, true, true, record).await;
                return self.linger().await;
            }
        };
        let (kind, begun) = (request.kind(), Instant::now());
        let answer = worker.state.options().answer_time(&node);
        // Bytes behind the head stay here until the node has agreed.
        let mut exchange = Exchange::new(
            &worker,
            &self.deadline,
            &mut self.stream,
            &mut stream,
            &mut self.carry,
            &mut request,
            Terms { closes: Closes::Always, most: 0, answer },
        );
        let end = poll_fn(|cx| exchange.poll(cx)).await;
        let (status, unknown) = (exchange.status(), exchange.is_unknown());
        worker.state.metrics.answered(kind, begun, exchange.first_byte());
        self.log(record, status, node.tag.as_str());
        match end {
            End::Switched(down) => {
                worker.state.metrics.tunnels_opened.inc();
                let idle = worker.state.options().tunnel_idle(&node);
                let Self { stream: client, deadline, carry, permit, .. } = self;
                let tunnel = Tunnel::new(Rc::clone(&worker), client, stream, deadline, idle, (node.load.count_tunnel(), Some(permit)))
                    .waiting(carry, down);
                spawn_local(tunnel);
            }
            End::Refused(refusal) => {
                self.refuse(refusal, true, true, None).await;
                self.linger().await;
            }
            End::Answered { .. } => {
                worker.state.observe_answer(&node, &request, status, unknown);
                self.linger().await;
            }
            End::ClientGone => {}
            End::Broken => {
                worker.state.metrics.responses_aborted.inc();
            }
        }
    }

    /// Answers a request that goes to no node.
    async fn refuse_request(&mut self, refusal: Refusal, request: &Request, close: bool, record: Option<Box<AccessRecord>>) -> Next {
        // A coming body would be read as the next request.
        let (close, linger) = if request.body == Framing::Empty { (close, false) } else { (true, true) };
        let sent = self.refuse(refusal, false, close, record).await;
        match (sent, linger, close) {
            (true, true, _) => Next::Linger,
            (true, false, false) => Next::Request,
            (true, false, true) => Next::Close,
            (false, ..) => Next::Cut,
        }
    }

    /// Writes a refusal. Returns false if the client does not accept it.
    async fn refuse(&mut self, refusal: Refusal, websocket: bool, close: bool, record: Option<Box<AccessRecord>>) -> bool {
        self.worker.state.metrics.refused(refusal);
        self.log(record, refusal.status().0, refusal.reason());
        let mut answer = self.worker.spare_buffer();
        refusal.write(websocket, close, self.worker.state.retry_after(), &mut answer);
        self.deadline.extend(self.worker.state.options().write_timeout);
        self.send(answer).await.is_ok()
    }

    async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let mut out = WriteBuffer::new(bytes);
        poll_fn(|cx| match self.deadline.status(cx) {
            Status::Expired => {
                self.worker.state.metrics.slow_clients.inc();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Status::Active | Status::Draining => out.poll_send(cx, &mut self.stream),
        })
        .await?;
        self.worker.recycle(out.reclaim_buffer());
        Ok(())
    }

    /// Closes a connection behind a complete answer. TLS sends a close notice, because an answer without a length is
    /// complete by that alone.
    async fn close(&mut self) {
        if self.is_encrypted() {
            self.deadline.extend(self.worker.state.options().write_timeout);
            poll_fn(|cx| match self.deadline.status(cx) {
                Status::Expired => Poll::Ready(()),
                Status::Active | Status::Draining => self.stream.poll_shutdown(cx).map(drop),
            })
            .await;
        }
    }

    /// Ends a connection whose client may still send. A close with unread input would reset it, and take the answer
    /// away from the client.
    async fn linger(mut self) {
        let (time, mut left) = {
            let options = self.worker.state.options();
            (options.linger, options.linger_bytes)
        };
        self.deadline.extend(time);
        let mut shut = false;
        poll_fn(|cx| {
            if !shut {
                match self.stream.poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            loop {
                let read = match self.deadline.status(cx) {
                    Status::Expired => Poll::Ready(Ok(usize::MAX)),
                    Status::Active | Status::Draining => self.stream.poll_read(cx, &mut self.worker.read_buffer()),
                };
                match read {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(length)) if length as u64 <= left => left -= length as u64,
                    Poll::Ready(Ok(_)) => {
                        self.worker.state.metrics.lingers_cut.inc();
                        return Poll::Ready(());
                    }
                }
            }
        })
        .await;
    }

    fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    fn log(&self, record: Option<Box<AccessRecord>>, status: u16, by: &str) {
        if let Some(record) = record {
            record.log(status, by);
        }
    }
}
