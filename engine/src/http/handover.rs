//! The handover of a WebSocket's stream: the request passes the `App` with all middleware, the connection waits outside.

use std::cell::Cell;
use std::rc::Rc;

use actix_web::HttpResponse;

use crate::transport::upgrade::Admission;

/// An extension of a request whose raw stream is available. The service stores the stream's purpose here.
#[derive(Clone, Default)]
pub(crate) struct Handover(Rc<Cell<Option<Admission>>>);

impl Handover {
    /// Admits the request, unless the middleware that sees the response decides otherwise.
    pub(super) fn leave(&self, admission: Admission, response: HttpResponse) -> HttpResponse {
        self.0.set(Some(admission));
        response
    }

    pub(crate) fn take_admission(&self) -> Option<Admission> {
        self.0.take()
    }
}
