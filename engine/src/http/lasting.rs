//! The body of a long response, counted as unread until it is written.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use crate::state::EngineState;

/// The length of a piece of a body, in bytes.
///
/// actix-http copies each piece, and asks for the next when it has room.
const PIECE: usize = 32 * 1024;
/// The length from which a response is split and counted.
pub(crate) const LONG_ANSWER: usize = PIECE;

/// The share of a long response in the unread bytes of all clients. Dropped, it is given back.
pub(crate) struct Unread {
    engine: Arc<EngineState>,
    length: usize,
}

impl Unread {
    /// Counts a response of this length. None if it is short.
    pub(crate) fn count(engine: &Arc<EngineState>, length: usize) -> Option<Self> {
        (length > LONG_ANSWER).then(|| {
            engine.memory.count_unread(0, length);
            Self { engine: Arc::clone(engine), length }
        })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.engine.memory.count_unread(self.length, 0);
    }
}

/// A body that counts as unread until its last piece is handed out.
struct Lasting {
    unread: Unread,
    rest: Bytes,
}

/// Returns the body of a response.
pub(super) fn body(engine: &Arc<EngineState>, bytes: Vec<u8>) -> BoxBody {
    match Unread::count(engine, bytes.len()) {
        Some(unread) => BoxBody::new(Lasting { unread, rest: bytes.into() }),
        None => BoxBody::new(bytes),
    }
}

impl MessageBody for Lasting {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.unread.length as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}
