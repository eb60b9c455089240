//! A session on a WebSocket: one small task per connection, which reads input and writes the outbox.

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use sociable_protocol::engine::{Packet, PacketError, v3};
use sociable_protocol::websocket::deflate::Agreement;
use sociable_protocol::websocket::{CLOSE_FRAME, Decoder, FrameError, Message, close_frame, pong_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::stream::Stream;
use crate::counters::Count;
use crate::memory::SMALL;
use crate::reason::CloseReason;
use crate::session::{Ending, Session, SessionEvent, State};
use crate::trace;

/// The size of a read and of a joined write. All connections of a thread share one buffer.
const BUFFER: usize = 64 * 1024;
/// The time in which a client has to close its side after the server closed its own.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Lends this thread's buffer.
fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = SCRATCH.take().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
    let result = work(&mut buffer);
    SCRATCH.set(Some(buffer));
    result
}

/// The last frame of a connection.
#[derive(Clone, Copy)]
pub(crate) enum CloseBytes {
    Plain,
    Coded([u8; 4]),
}

impl CloseBytes {
    /// Returns a close frame with this status code, if any.
    pub(crate) fn of(code: Option<u16>) -> Self {
        code.map_or(Self::Plain, |code| Self::Coded(close_frame(code)))
    }
}

impl AsRef<[u8]> for CloseBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Plain => CLOSE_FRAME,
            Self::Coded(frame) => frame,
        }
    }
}

/// The end of a connection.
pub(crate) enum End {
    /// The client closed it, with a close frame to be answered or without.
    Client { answer: Option<CloseBytes> },
    /// The client's frames were refused.
    Refused(FrameError),
    /// The session ended, and all its output is written.
    Finished,
    /// The session was cut off.
    Cut,
}

/// Returns the decoder for a client of a session, which may have agreed to compress its messages.
pub(crate) fn decoder(session: &Session, deflate: Option<Agreement>) -> Decoder {
    let decoder = Decoder::new(session.config().max_payload());
    match deflate {
        Some(agreement) => decoder.deflated(agreement),
        None => decoder,
    }
}

/// Carries the session until it or the connection ends. `early` holds the bytes read after the request.
pub(crate) fn run(session: Rc<Session>, stream: Stream, deflate: Option<Agreement>, early: Option<Box<[u8]>>) -> Pump {
    let decoder = decoder(&session, deflate);
    session.may_deflate(deflate);
    let mut pump = take_over(session, stream, decoder, None);
    if let Some(mut early) = early {
        let session = Rc::clone(&pump.session);
        session.supervise(|| pump.decode(&mut early));
    }
    pump
}

/// Carries a session that comes from polling. The decoder may hold the beginning of a frame, and its last messages may have `ended` the connection.
pub(crate) fn take_over(session: Rc<Session>, stream: Stream, decoder: Decoder, ended: Option<End>) -> Pump {
    Pump { session, stage: Stage::Carrying(stream), decoder, ended, unflushed: false, counted: 0 }
}

/// Writes the last frame, closes the stream and waits a moment for the client to do the same. A reset could destroy written data.
pub(crate) fn farewell(mut stream: Stream, frame: impl AsRef<[u8]> + 'static) -> LocalBoxFuture<'static, ()> {
    let close = async move {
        stream.write_all(frame.as_ref()).await?;
        stream.shutdown().await?;
        let mut rest = vec![0; 512];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // In any case, the connection is dropped next.
    tokio::time::timeout(LINGER, close).map(drop).boxed_local()
}

/// The task of a connection. Every client has one, so it is as small as possible.
pub(crate) struct Pump {
    session: Rc<Session>,
    stage: Stage,
    decoder: Decoder,
    /// The end that the last read caused.
    ended: Option<End>,
    /// True if the stream has not passed on everything yet.
    unflushed: bool,
    /// The charged bytes of an incomplete message.
    counted: u32,
}

enum Stage {
    Carrying(Stream),
    Leaving(LocalBoxFuture<'static, ()>),
    Gone,
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let session = Rc::clone(&self.session);
        session.supervise_poll(|| self.poll_stages(cx))
    }
}

impl Pump {
    fn poll_stages(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Gone) {
                Stage::Carrying(mut stream) => match self.poll_carry(&mut stream, cx) {
                    Poll::Ready(end) => self.stage = self.end(stream, end),
                    Poll::Pending => {
                        self.stage = Stage::Carrying(stream);
                        return Poll::Pending;
                    }
                },
                Stage::Leaving(mut leaving) => match leaving.as_mut().poll(cx) {
                    Poll::Ready(()) => return Poll::Ready(()),
                    Poll::Pending => {
                        self.stage = Stage::Leaving(leaving);
                        return Poll::Pending;
                    }
                },
                Stage::Gone => return Poll::Ready(()),
            }
        }
    }

    /// Ends the session with its connection, or the connection with its session.
    fn end(&self, mut stream: Stream, end: End) -> Stage {
        match end {
            End::Client { answer } => {
                self.session.end(CloseReason::TransportClose, Ending::Abrupt);
                answer.map_or(Stage::Gone, |answer| Stage::Leaving(farewell(stream, answer)))
            }
            End::Refused(error) => {
                tracing::debug!(target: "sociable::transport", sid = %self.session.id().shortened(), %error, "frames refused");
                if matches!(error, FrameError::InflatedTooLarge { .. }) {
                    self.session.worker().counters.increment(Count::InflatedTooLarge);
                }
                self.session.end(CloseReason::TransportError, Ending::Abrupt);
                Stage::Leaving(farewell(stream, close_frame(error.close_code())))
            }
            End::Finished => {
                self.session.release();
                Stage::Leaving(farewell(stream, CLOSE_FRAME))
            }
            End::Cut => {
                stream.cut();
                Stage::Gone
            }
        }
    }

    fn poll_carry(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let read = self.poll_read(stream, cx);
            if let Some(end) = self.ended.take() {
                return Poll::Ready(end);
            }
            match self.session.state() {
                State::Closed => return Poll::Ready(End::Cut),
                state => match self.poll_write(stream, cx) {
                    Poll::Ready(Ok(())) if state == State::Ending => return Poll::Ready(End::Finished),
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Client { answer: None }),
                    _ => {}
                },
            }
            if read.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Reads once and passes the input on.
    fn poll_read(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.session.poll_unpaused(cx));
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    trace::transport(self.session.id(), "websocket", "read", buffer.filled().len());
                    self.session.worker().make_calls();
                    self.decode(buffer.filled_mut());
                }
                _ => self.ended = Some(End::Client { answer: None }),
            }
            Poll::Ready(())
        })
    }

    /// Decodes the messages of the input.
    fn decode(&mut self, bytes: &mut [u8]) {
        let Self { session, ended, .. } = self;
        let result = self.decoder.read(bytes, |message| {
            if ended.is_none()
                && let ControlFlow::Break(answer) = receive(session, message)
            {
                *ended = Some(End::Client { answer: Some(answer) });
            }
        });
        if let Err(error) = result
            && self.ended.is_none()
        {
            self.ended = Some(End::Refused(error));
        }
        self.count_incomplete();
    }

    /// Charges the memory of an incomplete message, and of the context of compressed ones.
    fn count_incomplete(&mut self) {
        let held = Some(self.decoder.held_bytes() + self.decoder.context_bytes())
            .filter(|held| *held > SMALL)
            .map_or(0, |held| u32::try_from(held).unwrap_or(u32::MAX));
        if held > self.counted {
            if self.session.keep_incomplete((held - self.counted) as usize, BUFFER) {
                self.counted = held
            } else {
                self.session.end_over_budget()
            }
        } else if held < self.counted {
            self.session.let_go((self.counted - held) as usize);
            self.counted = held;
        }
    }

    /// Writes the outbox. Ready when nothing is left and the stream is flushed.
    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outbox = &self.session.outbox;
        outbox.register(cx.waker());
        if !outbox.is_empty() {
            self.unflushed = true;
            self.session.report_flush();
            match with_scratch(|scratch| poll_drain(&self.session, stream, scratch, cx)) {
                Poll::Ready(drained) => {
                    self.session.flows();
                    drained?;
                    self.session.report(SessionEvent::Drain);
                }
                Poll::Pending => {
                    self.session.stalls();
                    return Poll::Pending;
                }
            }
        }
        if self.unflushed {
            // TLS holds records back until a flush.
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Passes a message to the session. If the client closes the connection, breaks with the answer: the same status code, as from the JavaScript server.
pub(crate) fn receive(session: &Session, message: Message) -> ControlFlow<CloseBytes> {
    match message {
        Message::Text(text) => receive_packet(session, if session.version().is_v3() { v3::decode(text) } else { Packet::decode(text) }),
        Message::Binary(bytes) if session.version().is_v3() => receive_packet(session, v3::decode_binary(&bytes)),
        Message::Binary(bytes) => drop(session.receive(Packet::Binary(bytes))),
        // The answers are bounded like all packets. So a client that floods with pings and does not read is closed as slow.
        Message::Ping(payload) => session.pong(pong_frame(&payload)),
        Message::Pong => {}
        Message::Close(code) => return ControlFlow::Break(CloseBytes::of(code)),
    }
    ControlFlow::Continue(())
}

#[inline]
fn receive_packet(session: &Session, packet: Result<Packet, PacketError>) {
    match packet {
        Ok(packet) => drop(session.receive(packet)),
        Err(error) => {
            tracing::debug!(target: "sociable::engine", sid = %session.id().shortened(), %error, "undecodable packet");
            session.end(CloseReason::ParseError, Ending::Graceful);
        }
    }
}

fn poll_drain(session: &Session, stream: &mut Stream, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let outbox = &session.outbox;
    while let Some(chunk) = outbox.next(scratch) {
        match ready!(Pin::new(&mut *stream).poll_write(cx, &chunk))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => {
                trace::transport(session.id(), "websocket", "written", written);
                outbox.consume(written);
            }
        }
    }
    Poll::Ready(Ok(()))
}
