//! The end of a connection whose client may still be sending.
//!
//! The system resets a connection that is closed with unread input, and the client loses the answer. A proxy in front may mark a node that resets
//! connections as dead. So further input is read and dropped, within bounds.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::{HttpMessage, Payload, Request, Response};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::error::PayloadError;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::counters::Count;
use crate::state::EngineState;

/// The bounds of a client that still sends after its connection has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
}

impl Default for Linger {
    fn default() -> Self {
        Self { time: Duration::from_secs(10), bytes: 16 << 20 }
    }
}

impl Linger {
    /// Ends a connection. The client gets the end of the stream and time to read the answer; its input is dropped.
    pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(self, engine: &Arc<EngineState>, mut stream: S) {
        let mut left = self.bytes;
        let ended = async {
            stream.shutdown().await?;
            std::future::poll_fn(|cx| poll_discard(cx, &mut stream, &mut left)).await
        };
        match tokio::time::timeout(self.time, ended).await {
            // An error means that the client has closed the connection.
            Ok(Ok(true) | Err(_)) => {}
            Ok(Ok(false)) | Err(_) => engine.count(Count::LingersCut),
        }
    }
}

/// Reads until the end of the stream. False if more than `left` bytes came.
fn poll_discard<S: AsyncRead + Unpin>(cx: &mut Context<'_>, stream: &mut S, left: &mut usize) -> Poll<io::Result<bool>> {
    let mut space = [MaybeUninit::uninit(); 8192];
    loop {
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        if length == 0 || length > *left {
            return Poll::Ready(Ok(length == 0));
        }
        *left -= length;
    }
}

/// A chunked body that exists until the response is written.
///
/// If the `App` drops a body, actix-http reads the rest without bounds. If the body exists unread, actix-http closes the connection.
#[derive(Clone)]
pub(super) struct Chunks(Rc<RefCell<Payload>>);

impl Chunks {
    /// Takes the body out of a request, if it is chunked.
    pub(super) fn hold(request: &mut Request) -> Option<Self> {
        if !matches!(request.payload(), Payload::H1 { .. }) || !request.chunked().unwrap_or(false) {
            return None;
        }
        let chunks = Self(Rc::new(RefCell::new(request.take_payload())));
        *request.payload() = Payload::Stream { payload: Box::pin(chunks.clone()) };
        Some(chunks)
    }

    /// Keeps the body until the response is written.
    pub(super) fn keep_with(self, response: Response<BoxBody>) -> Response<BoxBody> {
        let mut response = match response.body().size() {
            BodySize::None | BodySize::Sized(0) => response,
            _ => {
                let chunks = self.clone();
                response.map_body(|_, body| BoxBody::new(Answer { body, _chunks: chunks }))
            }
        };
        response.extensions_mut().insert(self);
        response
    }
}

impl futures_util::Stream for Chunks {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}

/// The body of a response whose request may still be arriving.
struct Answer {
    body: BoxBody,
    _chunks: Chunks,
}

impl MessageBody for Answer {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
