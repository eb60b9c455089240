//! The connection of a client that speaks HTTP/1.1: one request after the other, each to the node that it is for.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::spawn_local;

use crate::http::Framing;
use crate::http::head::{Record, Request};
use crate::http::refusal::Refusal;
use crate::limits::waiting::Waits;
use crate::proxy::exchange::{Closes, End, Exchange, Terms};
use crate::proxy::permit::Permit;
use crate::proxy::stream::{Out, Stream, Wire};
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::Reached;
use crate::worker::Worker;
use crate::worker::deadlines::{Fate, Place};

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    worker: Rc<Worker>,
    stream: Stream,
    /// Who is connected, as a trusted proxy tells.
    peer: SocketAddr,
    place: Place,
    /// What was read and not used.
    carry: Vec<u8>,
    waits: Waits,
    /// Counts it against the bound on connections.
    permit: Permit,
}

/// What comes after a request.
enum Next {
    /// Another.
    Request,
    /// The client has a whole answer.
    Close,
    /// It has not, and is not to think so.
    Cut,
    /// The client may be sending still: it gets time to read.
    Linger,
}

impl Connection {
    /// Serves it until it ends.
    pub(crate) async fn serve(worker: Rc<Worker>, stream: Stream, peer: SocketAddr, permit: Permit) {
        let place = worker.roll.enter(worker.shared.options().header_timeout);
        let mut connection = Self { worker, stream, peer, place, carry: vec![], waits: Waits::default(), permit };
        loop {
            let request = match poll_fn(|cx| connection.poll_request(cx)).await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(refusal) => {
                    // Nothing of it was understood but who sent it.
                    let recorded = connection.worker.shared.options().is_recorded();
                    let record = recorded.then(|| Box::new(Record::unread(connection.peer.ip())));
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
            let options = connection.worker.shared.options();
            // What came of the next head already has begun it.
            connection.place.give(if connection.carry.is_empty() { options.keep_alive } else { options.header_timeout });
            drop(options);
        }
    }

    /// Reads the next request. There is none if the connection ended, or was idle for too long.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Request>, Refusal>> {
        let request = self.poll_head(cx);
        let waits = if request.is_pending() { self.carry.len() } else { 0 };
        self.waits.are(&self.worker.shared.waiting, waits);
        if waits > 0 && self.worker.shared.waiting.left() == 0 {
            self.carry = vec![];
            self.waits.are(&self.worker.shared.waiting, 0);
            return Poll::Ready(Err(Refusal::Overloaded));
        }
        request
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Request>, Refusal>> {
        let worker = Rc::clone(&self.worker);
        let options = worker.shared.options();
        loop {
            if !self.carry.is_empty()
                && let Some((request, length)) = Request::read(&self.carry, &options.reading(self.peer, self.is_encrypted()))?
            {
                self.carry.drain(..length);
                if self.carry.is_empty() {
                    // An idle connection holds nothing.
                    self.carry = vec![];
                }
                return Poll::Ready(Ok(Some(request)));
            }
            match self.place.fate(cx) {
                Fate::Late if !self.carry.is_empty() => return Poll::Ready(Err(Refusal::Slow)),
                Fate::Leaves if !self.carry.is_empty() => {}
                Fate::Late | Fate::Leaves => return Poll::Ready(Ok(None)),
                Fate::Stays => {}
            }
            let mut buffer = worker.buffer();
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
            // Nearly always the whole head is there: then it is not even copied.
            if let Some((request, length)) = Request::read(input, &options.reading(self.peer, self.is_encrypted()))? {
                self.carry.extend_from_slice(&input[length..]);
                return Poll::Ready(Ok(Some(request)));
            }
            self.carry.extend_from_slice(input);
            // From its first byte a head has this long, however it is dealt out.
            self.place.give(options.header_timeout);
        }
    }

    /// Sends a request to its node, and the answer back.
    async fn forward(&mut self, mut request: Request) -> Next {
        let worker = Rc::clone(&self.worker);
        let record = request.record.take();
        let close = !request.keep_alive || worker.leaving.get() || self.place.leaves();
        let Reached { node, mut stream, counted: _counted } = match worker.reach(&request).await {
            Ok(reached) => reached,
            Err(refusal) => return self.refuse_request(refusal, &request, close, record).await,
        };
        let answer = worker.shared.options().answer_time(&node);
        let most = worker.shared.options().longest_body(&node, &request);
        if matches!(request.body, Framing::Length(length) if length > most) {
            worker.pool.put(node.address, stream, worker.roll.now());
            return self.refuse_request(Refusal::LongBody, &request, close, record).await;
        }
        if request.expects_continue && self.carry.is_empty() {
            // A connection that takes no line is found to be broken when it is to take the answer.
            let _ = self.send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()).await;
        }
        let (kind, begun) = (request.kind(), Instant::now());
        let mut exchange = Exchange::new(
            &worker,
            &self.place,
            &mut self.stream,
            &mut stream,
            &mut self.carry,
            &mut request,
            Terms { closes: if close { Closes::Always } else { Closes::IfLeaving }, most, answer },
        );
        let end = poll_fn(|cx| exchange.poll(cx)).await;
        let (status, free, close, unknown) = (exchange.status(), exchange.node_is_free(), exchange.closes(), exchange.is_unknown());
        worker.shared.metrics.answered(kind, begun, exchange.first_byte());
        if free {
            worker.pool.put(node.address, stream, worker.roll.now());
        } else {
            // The node learns at once that nobody waits for its answer.
            drop(stream);
        }
        worker.shared.answered(&node, &request, status, unknown);
        match end {
            End::Answered { whole } => {
                self.log(record, status, node.tag.as_str());
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
                    worker.shared.metrics.broken.inc();
                }
                self.log(record, 0, node.tag.as_str());
                Next::Cut
            }
        }
    }

    /// Opens a WebSocket: the connection becomes a tunnel, a task of its own and smaller than this one, or ends behind the refusal.
    async fn upgrade(mut self, mut request: Request) {
        let worker = Rc::clone(&self.worker);
        let record = request.record.take();
        let reached = match self.permit.count_for(request.client) {
            Ok(()) => worker.reach(&request).await,
            Err(refusal) => Err(refusal),
        };
        let Reached { node, mut stream, counted: _counted } = match reached {
            Ok(reached) => reached,
            Err(refusal) => {
                self.refuse(refusal, true, true, record).await;
                return self.linger().await;
            }
        };
        let (kind, begun) = (request.kind(), Instant::now());
        let answer = worker.shared.options().answer_time(&node);
        // What comes behind the head stays here until the node has agreed.
        let mut exchange = Exchange::new(
            &worker,
            &self.place,
            &mut self.stream,
            &mut stream,
            &mut self.carry,
            &mut request,
            Terms { closes: Closes::Always, most: 0, answer },
        );
        let end = poll_fn(|cx| exchange.poll(cx)).await;
        let (status, unknown) = (exchange.status(), exchange.is_unknown());
        worker.shared.metrics.answered(kind, begun, exchange.first_byte());
        self.log(record, status, node.tag.as_str());
        match end {
            End::Switched(down) => {
                worker.shared.metrics.upgrades.inc();
                let idle = worker.shared.options().tunnel_idle(&node);
                let Self { stream: client, place, carry, permit, .. } = self;
                let tunnel =
                    Tunnel::new(Rc::clone(&worker), client, stream, place, idle, (node.load.tunnel(), Some(permit))).waiting(carry, down);
                spawn_local(tunnel);
            }
            End::Refused(refusal) => {
                self.refuse(refusal, true, true, None).await;
                self.linger().await;
            }
            End::Answered { .. } => {
                worker.shared.answered(&node, &request, status, unknown);
                self.linger().await;
            }
            End::ClientGone => {}
            End::Broken => {
                worker.shared.metrics.broken.inc();
            }
        }
    }

    /// Tells the client why its request goes nowhere.
    async fn refuse_request(&mut self, refusal: Refusal, request: &Request, close: bool, record: Option<Box<Record>>) -> Next {
        // A body that is to come would be read as the next request.
        let (close, linger) = if request.body == Framing::Empty { (close, false) } else { (true, true) };
        let sent = self.refuse(refusal, false, close, record).await;
        match (sent, linger, close) {
            (true, true, _) => Next::Linger,
            (true, false, false) => Next::Request,
            (true, false, true) => Next::Close,
            (false, ..) => Next::Cut,
        }
    }

    /// Writes a refusal. False if the client does not take it.
    async fn refuse(&mut self, refusal: Refusal, websocket: bool, close: bool, record: Option<Box<Record>>) -> bool {
        self.worker.shared.metrics.refused(refusal);
        self.log(record, refusal.status().0, refusal.cause());
        let mut answer = self.worker.memory();
        refusal.write(websocket, close, self.worker.shared.retry_after(), &mut answer);
        self.place.give(self.worker.shared.options().write_timeout);
        self.send(answer).await.is_ok()
    }

    async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let mut out = Out::new(bytes);
        poll_fn(|cx| match self.place.fate(cx) {
            Fate::Late => {
                self.worker.shared.metrics.clients_slow.inc();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Fate::Stays | Fate::Leaves => out.poll_send(cx, &mut self.stream),
        })
        .await?;
        self.worker.give(out.take_memory());
        Ok(())
    }

    /// Ends a connection behind a whole answer. Over TLS the end is told, since an answer without a length is whole by that alone.
    async fn close(&mut self) {
        if self.is_encrypted() {
            self.place.give(self.worker.shared.options().write_timeout);
            poll_fn(|cx| match self.place.fate(cx) {
                Fate::Late => Poll::Ready(()),
                Fate::Stays | Fate::Leaves => self.stream.poll_shutdown(cx).map(drop),
            })
            .await;
        }
    }

    /// Ends a connection on which something may come still. A close with unread input would reset it, and take the answer away from the client.
    async fn linger(mut self) {
        let (time, mut left) = {
            let options = self.worker.shared.options();
            (options.linger, options.linger_bytes)
        };
        self.place.give(time);
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
                let read = match self.place.fate(cx) {
                    Fate::Late => Poll::Ready(Ok(usize::MAX)),
                    Fate::Stays | Fate::Leaves => self.stream.poll_read(cx, &mut self.worker.buffer()),
                };
                match read {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(length)) if length as u64 <= left => left -= length as u64,
                    Poll::Ready(Ok(_)) => {
                        self.worker.shared.metrics.lingers_cut.inc();
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

    fn log(&self, record: Option<Box<Record>>, status: u16, by: &str) {
        if let Some(record) = record {
            record.log(status, by);
        }
    }
}
