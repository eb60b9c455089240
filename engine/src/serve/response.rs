//! The end of a response of the `App`, noted for the connection.

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::line::Line;

/// A body that notes its end. Dropped, it has ended too.
pub(super) struct Noted {
    pub(super) body: BoxBody,
    pub(super) line: Rc<Line>,
}

impl MessageBody for Noted {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.line.end_response();
    }
}
