//! A stream as the wire of an exchange, which reads its body and writes an answer.
//!
//! The task of the stream writes; hyper takes the answer, in a task of its own. Between them is a [`Reply`].

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use http::response;
use hyper::body::{Body, Frame, Incoming};

use super::head;
use crate::http::answer::{AnswerHead, BadAnswer};
use crate::http::body::{Framing, encode, finish};
use crate::http::refusal::Refusal;
use crate::proxy::stream::{ClientWire, Wire};

/// The most of an answer that hyper gets at once, and that it keeps for a stream.
pub(super) const PIECE: usize = 16 * 1024;

/// An answer on its way from the task of its stream to hyper.
#[derive(Debug, Default)]
pub(super) struct Reply {
    head: Option<response::Parts>,
    /// The next of its body.
    piece: Bytes,
    /// True if the whole answer was passed to hyper.
    pub(super) whole: bool,
    /// True if the answer has ended.
    over: bool,
    /// True if the client has stopped waiting.
    gone: bool,
    hyper: Option<Waker>,
    task: Option<Waker>,
}

impl Reply {
    fn put_head(&mut self, head: response::Parts) {
        self.head = Some(head);
        wake(&mut self.hyper);
    }

    /// Gives the client a refusal as the whole answer.
    pub(super) fn refuse(&mut self, refusal: Refusal, websocket: bool, retry_after: u32) {
        let (head, body) = head::refusal(refusal, websocket, retry_after);
        self.piece = Bytes::from_static(body.as_bytes());
        self.whole = true;
        self.put_head(head);
    }

    pub(super) fn poll_head(&mut self, cx: &Context<'_>) -> Poll<io::Result<response::Parts>> {
        match self.head.take() {
            Some(head) => Poll::Ready(Ok(head)),
            None if self.over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            None => {
                self.hyper = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_gone(&mut self, cx: &Context<'_>) -> Poll<()> {
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
pub(super) struct Answer(pub(super) Rc<RefCell<Reply>>);

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

/// A stream in the form of a client's HTTP/1.1 connection behind its head.
#[derive(Debug)]
pub(super) struct StreamWire {
    body: Incoming,
    pub(super) framing: Framing,
    /// Bytes that were not read yet, in their framing.
    piece: Bytes,
    /// The body has ended.
    ended: bool,
    pub(super) reply: Rc<RefCell<Reply>>,
}

impl StreamWire {
    pub(super) fn new(body: Incoming, reply: Rc<RefCell<Reply>>) -> Self {
        Self { body, framing: Framing::Empty, piece: Bytes::new(), ended: false, reply }
    }
}

impl Wire for StreamWire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.piece.is_empty() {
            if self.ended {
                // The client's end is seen by its reply.
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
            // The task wakes when there is room, and when the client stops waiting.
            return reply.poll_gone(cx).map(|()| Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(PIECE);
        reply.piece = Bytes::copy_from_slice(&bytes[..length]);
        wake(&mut reply.hyper);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl ClientWire for StreamWire {
    fn put_head(&mut self, head: &AnswerHead<'_>, _: &mut Vec<u8>) -> Result<bool, BadAnswer> {
        let head = head::answer(head).map_err(|_| BadAnswer::NoHttp2)?;
        self.reply.borrow_mut().put_head(head);
        Ok(true)
    }
}

impl Drop for StreamWire {
    fn drop(&mut self) {
        let mut reply = self.reply.borrow_mut();
        reply.over = true;
        wake(&mut reply.hyper);
    }
}
