//! The connection of a client, with or without TLS, and a buffer of unwritten bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::http::answer::{AnswerHead, BadAnswer};

/// A connection or a stream that carries bytes.
pub(crate) trait Wire {
    /// Reads the available bytes.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes as many bytes as fit. Accepted bytes may still wait in TLS.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Pending until the system has all accepted bytes.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ends the direction to the other side.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A wire to a client.
pub(crate) trait ClientWire: Wire {
    /// Sends the head of an answer, or writes it to `out`, which is sent next. Returns true if the client has it already.
    fn put_head(&mut self, head: &AnswerHead<'_>, out: &mut Vec<u8>) -> Result<bool, BadAnswer>;
}

impl ClientWire for Stream {
    #[inline]
    fn put_head(&mut self, head: &AnswerHead<'_>, out: &mut Vec<u8>) -> Result<bool, BadAnswer> {
        head.write(out);
        Ok(false)
    }
}

impl Wire for TcpStream {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(AsyncRead::poll_read(Pin::new(self), cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(self), cx, bytes)
    }

    #[inline]
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }
}

/// The connection of a client.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Boxed, because most connections are idle, and few are encrypted here.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire for Stream {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_read(cx, buffer),
            Self::Tls(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                match ready!(AsyncRead::poll_read(Pin::new(stream), cx, &mut buffer)) {
                    // Many clients close without a close notice of TLS. The end of a message does not depend on it.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                    result => Poll::Ready(result.map(|()| buffer.filled().len())),
                }
            }
        }
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_write(cx, bytes),
            Self::Tls(stream) => AsyncWrite::poll_write(Pin::new(stream), cx, bytes),
        }
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => AsyncWrite::poll_flush(Pin::new(stream), cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => AsyncWrite::poll_shutdown(Pin::new(stream), cx),
            Self::Tls(stream) => AsyncWrite::poll_shutdown(Pin::new(stream), cx),
        }
    }
}

/// Bytes that wait to be written. Without any it holds no memory but its own.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    bytes: Vec<u8>,
    sent: usize,
}

impl WriteBuffer {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // Written bytes may wait in TLS until they are flushed.
        self.bytes.is_empty()
    }

    /// Returns the number of buffered bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// To add some.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes all of it. Then its memory may be had by another.
    pub(crate) fn poll_send<W: Wire>(&mut self, cx: &mut Context<'_>, wire: &mut W) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            match ready!(wire.poll_write(cx, &self.bytes[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        ready!(wire.poll_flush(cx))?;
        self.bytes.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Returns the memory, when all is sent.
    pub(crate) fn reclaim_buffer(&mut self) -> Vec<u8> {
        self.sent = 0;
        let mut memory = std::mem::take(&mut self.bytes);
        memory.clear();
        memory
    }
}
