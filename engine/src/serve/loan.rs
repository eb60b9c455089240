//! The stream of a connection while the HTTP server uses it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lane::Lane;
use super::line::Line;

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
