//! A session carried by a WebSocket: one small task a connection, which reads, hands in, and writes what the outbox holds.

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use sociable_protocol::engine::Packet;
use sociable_protocol::websocket::{CLOSE_FRAME, Decoder, FrameError, Message, close_frame, pong_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::stream::Stream;
use crate::reason::CloseReason;
use crate::session::{Ending, Session, State};

/// The size of a read and of a joined write. One buffer a thread serves all its connections.
const BUFFER: usize = 64 * 1024;
/// How long a client may take to close its side after the server closed its own.
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

/// How a connection ended.
enum End {
    /// The client closed it, with a close frame or without.
    Client { said_close: bool },
    /// The client's frames are refused.
    Refused(FrameError),
    /// The session ended, and all that it had to say is written.
    Finished,
    /// The session was cut off.
    Cut,
}

/// Carries the session until it or the connection ends. `early` is what was read behind the request.
pub(crate) async fn run(session: Rc<Session>, stream: Stream, early: &[u8]) {
    let decoder = Decoder::new(session.config().max_payload());
    let mut pump = Pump { decoder, ended: None, unflushed: false };
    if !early.is_empty() {
        pump.take(&session, &mut early.to_vec());
    }
    pump.run(session, stream).await;
}

/// Carries a session that has come from polling; the decoder may hold the beginning of a frame.
pub(crate) async fn take_over(session: Rc<Session>, stream: Stream, decoder: Decoder) {
    Pump { decoder, ended: None, unflushed: false }.run(session, stream).await;
}

/// Writes the last frame, closes the stream and waits a moment for the client to do the same, so that nothing written is lost to a reset.
///
/// Boxed, so that the task of a connection is not larger all its life for its last moment.
pub(crate) fn farewell<'a>(stream: &'a mut Stream, frame: &'a [u8]) -> LocalBoxFuture<'a, ()> {
    let close = async move {
        stream.write_all(frame).await?;
        stream.shutdown().await?;
        let mut rest = vec![0; 512];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever happens here, the connection is dropped next.
    tokio::time::timeout(LINGER, close).map(drop).boxed_local()
}

struct Pump {
    decoder: Decoder,
    /// What was read ended the connection.
    ended: Option<End>,
    /// The stream has not yet passed on all that it took.
    unflushed: bool,
}

impl Pump {
    async fn run(mut self, session: Rc<Session>, mut stream: Stream) {
        let end = std::future::poll_fn(|cx| self.poll(&session, &mut stream, cx)).await;
        match end {
            End::Client { said_close } => {
                session.end(CloseReason::TransportClose, Ending::Abrupt);
                if said_close {
                    farewell(&mut stream, CLOSE_FRAME).await;
                }
            }
            End::Refused(error) => {
                tracing::debug!(target: "sociable::transport", sid = %session.id(), %error, "frames refused");
                session.end(CloseReason::TransportError, Ending::Abrupt);
                farewell(&mut stream, &close_frame(error.close_code())).await;
            }
            End::Finished => {
                session.release();
                farewell(&mut stream, CLOSE_FRAME).await;
            }
            End::Cut => stream.cut(),
        }
    }

    fn poll(&mut self, session: &Session, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let read = self.poll_read(session, stream, cx);
            if let Some(end) = self.ended.take() {
                return Poll::Ready(end);
            }
            match session.state() {
                State::Closed => return Poll::Ready(End::Cut),
                state => match self.poll_write(session, stream, cx) {
                    Poll::Ready(Ok(())) if state == State::Ending => return Poll::Ready(End::Finished),
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Client { said_close: false }),
                    _ => {}
                },
            }
            if read.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Reads once and hands in what was read.
    fn poll_read(&mut self, session: &Session, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        ready!(session.poll_unpaused(cx));
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    session.worker().make_calls();
                    self.take(session, buffer.filled_mut());
                }
                _ => self.ended = Some(End::Client { said_close: false }),
            }
            Poll::Ready(())
        })
    }

    /// Takes the messages out of what was read.
    fn take(&mut self, session: &Session, bytes: &mut [u8]) {
        let ended = &mut self.ended;
        let result = self.decoder.read(bytes, |message| {
            if ended.is_none() && receive(session, message).is_break() {
                *ended = Some(End::Client { said_close: true });
            }
        });
        if let Err(error) = result
            && self.ended.is_none()
        {
            self.ended = Some(End::Refused(error));
        }
    }

    /// Writes all that waits. Ready when nothing is left and the stream is flushed.
    fn poll_write(&mut self, session: &Session, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        session.outbox.register(cx.waker());
        if !session.outbox.is_empty() {
            self.unflushed = true;
            ready!(with_scratch(|scratch| poll_drain(session, stream, scratch, cx)))?;
        }
        if self.unflushed {
            // TLS keeps records back until it is flushed.
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Hands a message to the session. It breaks off if the client closes the connection.
pub(crate) fn receive(session: &Session, message: Message) -> ControlFlow<()> {
    match message {
        Message::Text(text) => match Packet::decode(text) {
            Ok(packet) => drop(session.receive(packet)),
            Err(error) => {
                tracing::debug!(target: "sociable::engine", sid = %session.id(), %error, "undecodable packet");
                session.end(CloseReason::ParseError, Ending::Graceful);
            }
        },
        Message::Binary(bytes) => drop(session.receive(Packet::Binary(bytes))),
        // The answers have the bound of all packets: who floods with pings and does not read is closed as slow.
        Message::Ping(payload) => session.pong(pong_frame(&payload)),
        Message::Pong => {}
        Message::Close => return ControlFlow::Break(()),
    }
    ControlFlow::Continue(())
}

fn poll_drain(session: &Session, stream: &mut Stream, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while let Some(chunk) = session.outbox.next(scratch) {
        match ready!(Pin::new(&mut *stream).poll_write(cx, &chunk))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => session.outbox.consume(written),
        }
    }
    Poll::Ready(Ok(()))
}
