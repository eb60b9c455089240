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

/// A body that counts as unread until its last piece is handed out.
struct Lasting {
    engine: Arc<EngineState>,
    length: usize,
    rest: Bytes,
}

/// Returns the body of a response.
pub(super) fn body(engine: &Arc<EngineState>, bytes: Vec<u8>) -> BoxBody {
    if bytes.len() <= LONG_ANSWER {
        return BoxBody::new(bytes);
    }
    engine.memory.count_unread(0, bytes.len());
    BoxBody::new(Lasting { engine: Arc::clone(engine), length: bytes.len(), rest: bytes.into() })
}

impl MessageBody for Lasting {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.engine.memory.count_unread(self.length, 0);
    }
}
