//! A stream that returns bytes again that were read from it, for another service.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::Request;
use actix_rt::net::{ActixStream, Ready};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream with bytes in front that were read from it before.
#[derive(Debug)]
pub(super) struct Rewind<T> {
    front: Bytes,
    stream: T,
}

impl<T> Rewind<T> {
    /// Puts a request, and the bytes read after it, back in front of the stream.
    pub(super) fn request(request: &Request, behind: &[u8], stream: T) -> Self {
        Self { front: serialize(request, behind), stream }
    }

    pub(super) fn stream(&self) -> &T {
        &self.stream
    }
}

fn serialize(request: &Request, behind: &[u8]) -> Bytes {
    let head = request.head();
    let mut bytes = BytesMut::with_capacity(512 + behind.len());
    bytes.extend_from_slice(format!("{} {} {:?}\r\n", head.method, head.uri, head.version).as_bytes());
    for (name, value) in head.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(behind);
    bytes.freeze()
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewind<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.front.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.front.len().min(buf.remaining());
        buf.put_slice(&self.front[..length]);
        self.front.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewind<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<T: ActixStream> ActixStream for Rewind<T> {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_read_ready(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_write_ready(cx)
    }
}
