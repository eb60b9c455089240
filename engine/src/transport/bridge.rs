//! WebSockets in a plain `HttpServer`, where the raw stream is not available.
//!
//! The connection consists of a request's payload and a response's body. A pipe between them and the session's task forms a stream.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_http::Extensions;
use actix_http::body::{BodySize, MessageBody};
use actix_rt::net::TcpStream;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::stream::{Bridge, ConnectionHandle, Stream};
use super::upgrade::{self, Admission};
use crate::state::EngineState;

/// The capacity of the pipe in each direction, in bytes.
const PIPE: usize = 64 * 1024;
/// The number of bytes that a body takes out of the pipe at once.
const CHUNK: usize = 16 * 1024;

/// Lets the engine cut off slow clients of a plain `HttpServer`: pass it to [`HttpServer::on_connect`](actix_web::HttpServer::on_connect).
///
/// Without it, a slow client keeps its connection, though not its session, until TCP gives up. Also set
/// [`h1_allow_half_closed(false)`](actix_web::HttpServer::h1_allow_half_closed): otherwise only a missing pong reveals an abandoned poll.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// # use sociable_engine::{CloseReason, Connection, Engine};
/// # struct Echo;
/// # impl Connection for Echo {
/// #     fn text(&self, _: bytestring::ByteString) {}
/// #     fn binary(&self, _: bytes::Bytes) {}
/// #     fn closed(&self, _: CloseReason) {}
/// # }
/// # let engine = Engine::builder().build(|_| Echo).unwrap();
/// let server = actix_web::HttpServer::new(move || actix_web::App::new().service(engine.service()))
///     .on_connect(sociable_engine::on_connect)
///     .h1_allow_half_closed(false)
///     .bind("127.0.0.1:3000")?;
/// # Ok(())
/// # }
/// ```
pub fn on_connect(connection: &dyn Any, extensions: &mut Extensions) {
    let stream = connection.downcast_ref::<TcpStream>();
    #[cfg(feature = "rustls")]
    let stream = stream.or_else(|| {
        let tls = connection.downcast_ref::<actix_tls::accept::rustls_0_23::TlsStream<TcpStream>>()?;
        Some(tls.get_ref().0)
    });
    if let Some(Ok(handle)) = stream.map(ConnectionHandle::of) {
        extensions.insert(handle);
    }
}

/// Answers an admitted request. The response carries the WebSocket.
pub(crate) fn open(
    engine: &Arc<EngineState>,
    request: &HttpRequest,
    payload: web::Payload,
    admission: Admission,
    response: HttpResponse,
) -> HttpResponse {
    let (pipe, inner) = tokio::io::duplex(PIPE);
    let connection = request.conn_data::<ConnectionHandle>().cloned();
    upgrade::start(engine, admission, Stream::Bridge(Bridge::new(inner, connection)), None, None);
    response.set_body(actix_web::body::BoxBody::new(Body { pipe, payload: Some(payload), inbound: Bytes::new() }))
}

/// The body of the response: the session's output. Polling it also passes on the client's input.
struct Body {
    pipe: DuplexStream,
    /// `None` once the client has ended its side.
    payload: Option<web::Payload>,
    /// Input that did not fit into the pipe yet.
    inbound: Bytes,
}

impl Body {
    /// Passes on the client's input, as far as the pipe takes it.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.inbound.is_empty() {
                let written = ready!(Pin::new(&mut self.pipe).poll_write(cx, &self.inbound))?;
                self.inbound.advance(written);
            }
            let Some(payload) = &mut self.payload else { return Poll::Ready(Ok(())) };
            match ready!(payload.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.inbound = chunk,
                Some(Err(_)) | None => {
                    self.payload = None;
                    ready!(Pin::new(&mut self.pipe).poll_shutdown(cx))?;
                }
            }
        }
    }
}

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        // If the session has dropped the pipe, its earlier output is still read.
        let _ = self.poll_inbound(cx);
        let mut chunk = Vec::new();
        let mut buffer = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut buffer))?;
        chunk.extend_from_slice(buffer.filled());
        // An empty chunk would mean the end.
        Poll::Ready((!chunk.is_empty()).then(|| Ok(chunk.into())))
    }
}
