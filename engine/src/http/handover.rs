//! How the stream of a WebSocket gets past the `App`: the request goes through it with all middleware, the connection waits outside.

use std::cell::Cell;
use std::rc::Rc;

use actix_web::HttpResponse;

use crate::transport::upgrade::Admission;

/// In the extensions of a request whose raw stream can be had: the service leaves here what the stream is for.
#[derive(Clone, Default)]
pub(crate) struct Handover(Rc<Cell<Option<Admission>>>);

impl Handover {
    /// The request is let in, unless the middleware that sees the response thinks otherwise.
    pub(super) fn leave(&self, admission: Admission, response: HttpResponse) -> HttpResponse {
        self.0.set(Some(admission));
        response
    }

    pub(crate) fn take_admission(&self) -> Option<Admission> {
        self.0.take()
    }
}
