//! WebSockets in a plain `HttpServer`: there the raw stream is not to be had. The connection is the payload of a request and the body of
//! its response, and a pipe between them and the session's task makes a stream of them.

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

/// How many bytes the pipe holds each way.
const PIPE: usize = 64 * 1024;
/// How many bytes of the pipe a body hands out at a time.
const CHUNK: usize = 16 * 1024;

/// For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect) of a plain `HttpServer`: lets the engine cut off a client that does not
/// read. Without it such a client keeps its connection, though not its session, until TCP gives it up.
///
/// Have [`h1_allow_half_closed(false)`](actix_web::HttpServer::h1_allow_half_closed) set too: else a poll that a client gives up is noticed by
/// its missing pong only.
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

/// Answers a request that was let in: the response carries the WebSocket.
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

/// The body of the response: what the session writes. While it is polled, it passes on what the client sent.
struct Body {
    pipe: DuplexStream,
    /// `None` when the client has ended its side.
    payload: Option<web::Payload>,
    /// What came and did not fit into the pipe yet.
    inbound: Bytes,
}

impl Body {
    /// Passes on what the client sent, as far as the pipe takes it.
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
        // If the session has let go of the pipe, what it wrote before is read all the same.
        let _ = self.poll_inbound(cx);
        let mut chunk = Vec::new();
        let mut buffer = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut buffer))?;
        chunk.extend_from_slice(buffer.filled());
        // An empty chunk would be taken for the end.
        Poll::Ready((!chunk.is_empty()).then(|| Ok(chunk.into())))
    }
}
