//! The stream of a connection while the HTTP server uses it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use actix_rt::net::{ActixStream, Ready};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lane::Lane;

const HEAD_END: &[u8] = b"\r\n\r\n";
const END: u32 = u32::from_be_bytes(*b"\r\n\r\n");
/// The end of a head with an empty line after it. A balancer marks with it that its client has sent more.
const END_AND_LINE: u64 = u64::from_be_bytes(*b"\0\0\r\n\r\n\r\n");

/// The bare refusals of actix-http for unreadable requests, and the replacements with a reason.
const REFUSALS: [(&[u8], &[u8]); 2] = [
    (
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 114\r\nconnection: close\r\n\r\n\
          The request is malformed. In its target, quotes, angle brackets and bytes beyond ASCII have to be percent-encoded.",
    ),
    (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n",
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 72\r\nconnection: close\r\n\r\n\
          The head of the request is too long: 96 fields and 128 KiB are the most.",
    ),
];

/// The state shared by a connection's stream and the request that is being answered.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// True if the `App` has a request, and nothing of its response is written.
    answering: Cell<bool>,
    /// True if the request has or had a body.
    body: Cell<bool>,
    /// True if the client has sent more than the head of the request.
    more: Cell<bool>,
    /// The last eight bytes received, the last one lowest.
    tail: Cell<u64>,
    /// True if the HTTP server has all of the response, but may not have written it.
    ended: Cell<bool>,
    /// True if all of the response is written.
    written: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Line {
    /// Notes that the `App` has a request, with or without a body.
    pub(super) fn ask(&self, body: bool) {
        self.answering.set(true);
        self.body.set(body);
        self.ended.set(false);
        self.written.set(false);
    }

    /// Notes that the HTTP server has all of the response.
    pub(super) fn end_response(&self) {
        self.ended.set(true);
    }

    /// Returns once for each request of the `App` whether its response is written.
    pub(super) fn has_answered(&self) -> bool {
        self.written.take()
    }

    /// Notes that a request without a body is answered beside the `App`.
    pub(super) fn begin_direct(&self) {
        self.answering.set(true);
        self.body.set(false);
        self.more.set(false);
    }

    /// Notes that the response to that request is ready.
    pub(super) fn end_direct(&self) {
        self.answering.set(false);
    }

    /// Waits until the client has sent something after its request, which has no body.
    pub(crate) async fn more(&self) {
        std::future::poll_fn(|cx| {
            if self.more.take() && !self.body.get() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Notes that the HTTP server has written, and whether nothing is left.
    fn wrote(&self, all: bool) {
        if all && self.ended.take() {
            self.written.set(true);
        }
    }

    /// Notes bytes of the client.
    pub(super) fn read(&self, bytes: &[u8]) {
        if self.answering.get() {
            self.more.set(!bytes.is_empty());
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
            return;
        }
        let tail = match bytes.last_chunk() {
            Some(last) => u64::from_be_bytes(*last),
            None => bytes.iter().fold(self.tail.get(), |tail, byte| tail << 8 | u64::from(*byte)),
        };
        self.tail.set(tail);
        // Input after a body that ends like a head goes unnoticed and waits for the poll. A search would cost every request.
        self.more.set(tail & 0xffff_ffff != u64::from(END) || tail & 0xffff_ffff_ffff == END_AND_LINE);
    }

    /// Returns the replacement for bytes that actix-http writes by itself, if they are a bare refusal.
    fn replacement(&self, bytes: &[u8]) -> Option<&'static [u8]> {
        if bytes.starts_with(b"HTTP/1.1 100 ") {
            return None;
        }
        let refusal = if self.answering.replace(false) { None } else { REFUSALS.iter().find(|(bare, _)| bytes.starts_with(bare)) };
        // Only a whole answer, with nothing after it.
        refusal.filter(|_| memmem::find(bytes, HEAD_END) == bytes.len().checked_sub(HEAD_END.len())).map(|(_, reply)| *reply)
    }
}

/// The place to which a stream returns from the HTTP server.
pub(super) type Home<S> = Rc<Cell<Option<S>>>;

/// A stream on loan to the HTTP server. Dropped, it returns, unless the client has closed it.
pub(super) struct Loan<S> {
    stream: Option<S>,
    home: Home<S>,
    line: Rc<Line>,
    /// The requests that pass by the `App`, if any may.
    lane: Option<Box<Lane>>,
    ended: bool,
    /// The rest of the replacement for a bare refusal.
    instead: Option<&'static [u8]>,
}

impl<S> Loan<S> {
    pub(super) fn new(stream: S, lane: Option<Box<Lane>>) -> (Self, Home<S>) {
        let home = Home::default();
        (Self { stream: Some(stream), home: Rc::clone(&home), line: Rc::default(), lane, ended: false, instead: None }, home)
    }

    /// Takes the stream for good.
    pub(super) fn keep(mut self) -> Option<S> {
        self.stream.take()
    }

    /// Returns the place to which the stream returns.
    pub(super) fn home(&self) -> Home<S> {
        Rc::clone(&self.home)
    }

    pub(super) fn line(&self) -> Rc<Line> {
        Rc::clone(&self.line)
    }
}

impl<S> Drop for Loan<S> {
    fn drop(&mut self) {
        if !self.ended {
            self.home.set(self.stream.take());
        }
    }
}

/// Returns the stream, which exists until it is taken or dropped.
fn there<S: Unpin>(stream: &mut Option<S>) -> io::Result<Pin<&mut S>> {
    stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Loan<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let stream = there(&mut this.stream)?;
        let read = ready!(match &mut this.lane {
            Some(lane) => lane.poll_read(stream.get_mut(), &this.line, cx, buf),
            None => stream.poll_read(cx, buf),
        });
        let bytes = &buf.filled()[before..];
        this.ended = read.is_err() || bytes.is_empty();
        this.line.read(bytes);
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Loan<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            this.instead = this.line.replacement(bytes);
        }
        let Some(instead) = &mut this.instead else {
            let written = ready!(there(&mut this.stream)?.poll_write(cx, bytes))?;
            this.line.wrote(written == bytes.len());
            return Poll::Ready(Ok(written));
        };
        while !instead.is_empty() {
            let length = ready!(there(&mut this.stream)?.poll_write(cx, instead))?;
            if length == 0 {
                return Poll::Ready(Ok(0));
            }
            *instead = instead.get(length..).unwrap_or_default();
        }
        this.instead = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        there(&mut self.stream)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        there(&mut self.stream)?.poll_shutdown(cx)
    }
}

impl<S: ActixStream> ActixStream for Loan<S> {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match &self.stream {
            Some(stream) => stream.poll_read_ready(cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match &self.stream {
            Some(stream) => stream.poll_write_ready(cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_stated_length() {
        for (bare, reply) in REFUSALS {
            let reply = std::str::from_utf8(reply).unwrap();
            let (head, body) = reply.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{body}: {}", body.len());
            assert_eq!(reply.lines().next(), std::str::from_utf8(bare).unwrap().lines().next());
        }
    }

    #[test]
    fn line_detects_input_after_a_poll() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n3";
        for (reads, more) in [
            (vec![get.to_owned()], false),
            // The end of the stream is no further request.
            (vec![get.to_owned(), String::new()], false),
            (vec![get[..20].to_owned(), get[20..].to_owned()], false),
            (get.split_inclusive('\n').map(str::to_owned).collect(), false),
            (get.chars().map(String::from).collect(), false),
            (vec![format!("{get}{post}")], true),
            (vec![format!("{get}\r\n")], true),
            (vec![get[..20].to_owned(), format!("{}4", &get[20..])], true),
            (vec![post.to_owned(), get.to_owned()], false),
        ] {
            let line = Line::default();
            reads.iter().for_each(|read| line.read(read.as_bytes()));
            line.ask(false);
            assert_eq!(line.more.get(), more, "{reads:?}");
            line.read(post.as_bytes());
            assert!(line.more.get());
        }
    }

    #[test]
    fn line_replaces_only_refusals_by_actix_http() {
        let line = Line::default();
        let bare = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        assert!(line.replacement(bare).is_some());
        line.ask(true);
        assert_eq!(line.replacement(b"HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(line.replacement(bare), None);
        assert!(line.replacement(bare).is_some());
        assert_eq!(line.replacement(&[&bare[..], b"behind"].concat()), None);
    }
}
