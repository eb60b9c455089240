//! One request and its answer, between a client and a node.
//!
//! Both directions go at once: a node may answer before it has all of the body. Memory holds only unwritten bytes, at
//! most one read of each side.

use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::http::answer::{self, Answer, AnswerHead, Asked};
use crate::http::body::{Decoder, Framing, encode, finish};
use crate::http::refusal::Refusal;
use crate::http::request::{Request, RequestKind};
use crate::limits::waiting::WaitingBytes;
use crate::proxy::stream::{ClientWire, Wire, WriteBuffer};
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Status};

/// A line that servers skip. Behind a poll it shows the node that the client has sent another request. The node then
/// ends the poll, so that the request does not wait.
const MORE: &[u8] = b"\r\n";
/// The start of a node's answer for an unknown session: to a poll, and to a request for a WebSocket.
const UNKNOWN: [&[u8]; 2] = [b"{\"code\":1,", b"Session ID unknown"];
/// The most that is read ahead from a client that does not wait for its answer.
const MAX_AHEAD: usize = 16 * 1024;

/// The end of an exchange.
#[derive(Debug)]
pub(crate) enum End {
    /// The client has the answer.
    Answered {
        /// True if the whole request was read, so that another may follow.
        whole: bool,
    },
    /// The WebSocket is open. The answer is not written yet.
    Switched(WriteBuffer),
    /// The client has disconnected, or does not read its answer.
    ClientGone,
    /// The answer broke off, and the client has a part of it.
    Broken,
    /// The client has no part of an answer yet, and gets the refusal.
    Refused(Refusal),
}

/// The condition under which the client's connection ends behind an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closes {
    Always,
    /// If the balancer drains when the answer comes.
    IfDraining,
    Never,
}

/// The terms of one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) closes: Closes,
    /// The longest body without a length in the head.
    pub(crate) most: u64,
    /// The node's time for an answer.
    pub(crate) answer: Duration,
}

/// A request on its way to a node.
#[derive(Debug)]
pub(crate) struct Exchange<'a, C> {
    worker: &'a Worker,
    deadline: &'a Deadline,
    closes: Closes,
    client: &'a mut C,
    node: &'a mut TcpStream,
    /// Bytes of the client that were read and not used.
    carry: &'a mut Vec<u8>,
    asked: Asked,
    /// The request is a poll, which may wait.
    polls: bool,
    times: Times,
    up: ToNode,
    down: ToClient,
    waits: WaitingBytes,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// The timeout of an answer, and between two pieces of it.
    answer: Duration,
    /// The timeout of a write of an answer to the client.
    write: Duration,
    /// The time of a body, besides its time at the lowest rate.
    body: Duration,
    rate: u64,
    begun: u32,
}

/// To the node.
#[derive(Debug)]
struct ToNode {
    out: WriteBuffer,
    framing: Framing,
    decoder: Decoder,
    /// All is encoded.
    encoded: bool,
    /// All is written, or will never be.
    over: bool,
    received: u64,
    most: u64,
}

/// To the client.
#[derive(Debug, Default)]
struct ToClient {
    out: WriteBuffer,
    /// The start of an incomplete head.
    head: Vec<u8>,
    answer: Option<(Answer, Framing, Decoder)>,
    /// All is encoded.
    encoded: bool,
    /// Something was written.
    begun: bool,
    /// True if the node does not know the session.
    unknown: bool,
    status: u16,
    first_byte: Option<Instant>,
}

impl<'a, C: ClientWire> Exchange<'a, C> {
    /// Starts an exchange.
    pub(crate) fn new(
        worker: &'a Worker,
        deadline: &'a Deadline,
        client: &'a mut C,
        node: &'a mut TcpStream,
        carry: &'a mut Vec<u8>,
        request: &mut Request,
        terms: Terms,
    ) -> Self {
        let options = worker.state.options();
        let times = Times {
            answer: terms.answer,
            write: options.write_timeout,
            body: options.body_timeout,
            rate: options.min_body_rate.max(1),
            begun: deadline.now(),
        };
        let asked =
            Asked { upgrade: request.upgrade, bodiless: request.bodiless, chunks: request.chunks, close: terms.closes == Closes::Always };
        let empty = request.body == Framing::Empty;
        let polls = request.kind() == RequestKind::Poll;
        let mut head = std::mem::take(&mut request.head);
        if polls && !carry.is_empty() {
            head.extend_from_slice(MORE);
        }
        let out = WriteBuffer::new(head);
        deadline.extend(if empty { times.answer } else { times.body });
        let up = ToNode {
            out,
            framing: request.body,
            decoder: Decoder::new(request.body),
            encoded: empty,
            over: false,
            received: 0,
            most: terms.most,
        };
        Self {
            worker,
            deadline,
            closes: terms.closes,
            client,
            node,
            carry,
            asked,
            polls,
            times,
            up,
            down: ToClient::default(),
            waits: WaitingBytes::default(),
        }
    }

    /// Returns the status of the answer, or 0 if none came.
    pub(crate) fn status(&self) -> u16 {
        self.down.status
    }

    /// Returns true if the node does not know the session.
    pub(crate) fn is_unknown(&self) -> bool {
        self.down.unknown
    }

    /// Returns true if the client's answer closes, or will close, the connection.
    pub(crate) fn closes(&self) -> bool {
        self.asked.close
    }

    /// Returns the time of the answer's first byte, if one came.
    pub(crate) fn first_byte(&self) -> Option<Instant> {
        self.down.first_byte
    }

    /// Returns true if the node's connection may serve another request.
    pub(crate) fn node_is_free(&self) -> bool {
        self.up.over && self.down.encoded && self.down.answer.is_some_and(|(answer, ..)| answer.keep_alive)
    }

    /// Copies in both directions until the exchange ends.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let end = self.poll_both(cx);
        self.waits.set(&self.worker.state.waiting, self.up.out.len() + self.down.out.len() + self.carry.len());
        end
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.deadline.status(cx) == Status::Expired {
            return Poll::Ready(self.on_expired());
        }
        if let Err(end) = self.poll_up(cx) {
            return Poll::Ready(end);
        }
        self.poll_down(cx)
    }

    fn on_expired(&mut self) -> End {
        if !self.down.out.is_empty() {
            self.worker.state.metrics.slow_clients.inc();
            End::ClientGone
        } else if !self.up.over && self.up.out.is_empty() {
            self.refuse(Refusal::Slow)
        } else {
            self.refuse(Refusal::NoAnswer)
        }
    }

    /// Returns a refusal, if the client has no part of an answer yet.
    fn refuse(&self, refusal: Refusal) -> End {
        if self.down.begun || !self.down.out.is_empty() { End::Broken } else { End::Refused(refusal) }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while !self.up.over {
            // A body that came with the head goes with it.
            self.encode_carried()?;
            let written = match self.up.out.poll_send(cx, self.node) {
                Poll::Pending => return Ok(()),
                Poll::Ready(written) => written,
            };
            self.worker.recycle(self.up.out.reclaim_buffer());
            // The node may have answered before it closed.
            if self.up.encoded || written.is_err() {
                self.up.over = true;
                self.deadline.extend(self.times.answer);
            } else if !self.read_body(cx)? {
                return Ok(());
            }
        }
        self.watch_client(cx)
    }

    /// Encodes the bytes of the body that are read already.
    fn encode_carried(&mut self) -> Result<(), End> {
        if self.carry.is_empty() || self.up.encoded {
            return Ok(());
        }
        let mut input = &self.carry[..];
        let taken = self.up.encode_body(&mut input);
        let used = self.carry.len() - input.len();
        self.carry.drain(..used);
        taken.map_err(|refusal| self.refuse(refusal))
    }

    /// Reads some of the body. Returns false if there is none now.
    fn read_body(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        *self.up.out.bytes() = self.worker.spare_buffer();
        let mut buffer = self.worker.read_buffer();
        let mut input = match self.client.poll_read(cx, &mut buffer[..self.worker.state.waiting.read_size()]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(length)) if length > 0 => &buffer[..length],
            Poll::Ready(_) => return Err(End::ClientGone),
        };
        let taken = self.up.encode_body(&mut input);
        self.carry.extend_from_slice(input);
        taken.map_err(|refusal| self.refuse(refusal))?;
        // The deadline covers the whole body at the lowest rate. Neither slow bytes nor an early burst extend it
        // further.
        let at_lowest = Duration::from_secs(self.up.received / self.times.rate);
        let begun = Duration::from_secs((self.deadline.now() - self.times.begun).into());
        self.deadline.extend_from(self.times.begun, self.times.body + at_lowest.min(begun));
        Ok(true)
    }

    /// Reads from the client only to detect its end, which ends its request at the node too.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if !self.carry.is_empty() {
            return Ok(());
        }
        let mut buffer = self.worker.read_buffer();
        match self.client.poll_read(cx, &mut buffer[..MAX_AHEAD]) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(length)) if length > 0 => {
                self.carry.extend_from_slice(&buffer[..length]);
                if self.polls {
                    self.up.out.bytes().extend_from_slice(MORE);
                    self.up.over = false;
                    return self.poll_up(cx);
                }
                Ok(())
            }
            Poll::Ready(_) => Err(End::ClientGone),
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if !self.down.out.is_empty() {
                self.down.begun = true;
                match self.down.out.poll_send(cx, self.client) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(End::ClientGone),
                    Poll::Ready(Ok(())) => {}
                }
                self.deadline.extend(self.times.answer);
            }
            self.worker.recycle(self.down.out.reclaim_buffer());
            if self.down.encoded {
                return Poll::Ready(End::Answered { whole: self.up.encoded });
            }
            let mut buffer = self.worker.read_buffer();
            let length = match self.node.poll_read(cx, &mut buffer[..self.worker.state.waiting.read_size()]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(length) => length,
            };
            *self.down.out.bytes() = self.worker.spare_buffer();
            // A poll may have waited for long. If the drain began meanwhile, the answer closes the connection.
            if self.closes == Closes::IfDraining && self.down.answer.is_none() {
                self.asked.close = self.deadline.is_draining() || self.worker.draining.get();
            }
            // A client whose body is not read completely gets an answer that closes the connection.
            if self.closes != Closes::Never && self.down.answer.is_none() {
                self.asked.close |= !self.up.encoded;
            }
            let had_head = self.down.answer.is_some();
            if let Err(end) = self.down.on_read(length, &buffer, &self.asked, self.client) {
                drop(buffer);
                return Poll::Ready(match end {
                    Stop::Switched => End::Switched(std::mem::take(&mut self.down.out)),
                    Stop::Bad if self.down.begun => End::Broken,
                    Stop::Bad => End::Refused(Refusal::BadAnswer),
                });
            }
            if !self.down.out.is_empty() {
                // A client that does not take it within that time is too slow, however it reads.
                self.deadline.extend(self.times.write);
            } else if !had_head && self.down.begun {
                self.deadline.extend(self.times.answer);
            }
        }
    }
}

impl ToNode {
    /// Encodes the bytes of the body.
    fn encode_body(&mut self, input: &mut &[u8]) -> Result<(), Refusal> {
        while let Some(piece) = self.decoder.next(input).map_err(|_| Refusal::Ambiguous)? {
            self.received += piece.len() as u64;
            if self.received > self.most {
                return Err(Refusal::LongBody);
            }
            encode(self.framing, piece, self.out.bytes());
        }
        if self.decoder.is_done() && !self.encoded {
            finish(self.framing, self.out.bytes());
            self.encoded = true;
        }
        Ok(())
    }
}

/// A reason why an answer ends before its body does.
enum Stop {
    Switched,
    Bad,
}

impl ToClient {
    /// Passes on the bytes that were read from the node.
    fn on_read(&mut self, length: io::Result<usize>, buffer: &[u8], asked: &Asked, client: &mut impl ClientWire) -> Result<(), Stop> {
        let length = length.map_err(|_| Stop::Bad)?;
        if length == 0 {
            let ends = self.answer.is_some_and(|(answer, ..)| answer.body == Framing::Close);
            return if ends { self.finish() } else { Err(Stop::Bad) };
        }
        if self.answer.is_some() {
            return self.read_body(&buffer[..length]);
        }
        let mut input = &buffer[..length];
        // The start of a head that came in part.
        let mut head = std::mem::take(&mut self.head);
        if !head.is_empty() {
            head.extend_from_slice(input);
            input = &head;
        }
        match self.read_head(input, asked, client)? {
            Some(length) => self.read_body(&input[length..]),
            None => {
                self.head = if head.is_empty() { input.to_vec() } else { head };
                Ok(())
            }
        }
    }

    /// Reads the head of the answer, and passes it to the client. Returns its length, or `None` for an incomplete head.
    fn read_head(&mut self, input: &[u8], asked: &Asked, client: &mut impl ClientWire) -> Result<Option<usize>, Stop> {
        let Self { out, begun, .. } = self;
        let put_head = |head: &AnswerHead<'_>| {
            *begun = client.put_head(head, out.bytes())?;
            Ok(())
        };
        match answer::read(input, asked, put_head) {
            Ok(None) => Ok(None),
            Ok(Some((answer, framing, length))) => {
                self.status = answer.status;
                self.first_byte = Some(Instant::now());
                self.answer = Some((answer, framing, Decoder::new(answer.body)));
                if answer.switched {
                    self.out.bytes().extend_from_slice(&input[length..]);
                    return Err(Stop::Switched);
                }
                Ok(Some(length))
            }
            Err(error) => {
                tracing::warn!(target: "sociable::balancer", %error, "invalid answer of a node");
                Err(Stop::Bad)
            }
        }
    }

    fn read_body(&mut self, mut input: &[u8]) -> Result<(), Stop> {
        let Some((_, framing, decoder)) = &mut self.answer else { return Err(Stop::Bad) };
        while let Some(piece) = decoder.next(&mut input).map_err(|_| Stop::Bad)? {
            if self.status == 400 {
                self.unknown |= UNKNOWN.into_iter().any(|answer| piece.starts_with(answer));
            }
            encode(*framing, piece, self.out.bytes());
        }
        if decoder.is_done() {
            self.finish()?;
            // Bytes behind an answer belong to no request, so the connection is not reused.
            if !input.is_empty()
                && let Some((answer, ..)) = &mut self.answer
            {
                answer.keep_alive = false;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Stop> {
        if let Some((_, framing, _)) = self.answer {
            finish(framing, self.out.bytes());
        }
        self.encoded = true;
        Ok(())
    }
}
