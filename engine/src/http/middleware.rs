//! Engine middleware: the application's look at every request of the engine, before the engine's own.

use std::any::TypeId;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::HttpRequest;
use futures_util::future::LocalBoxFuture;

use crate::handshake::Attached;
use crate::refusal::Refusal;

/// Asked about every request of the engine: handshakes, polls, posts, and requests for a WebSocket.
pub(crate) type Middleware = Arc<dyn Fn(EngineRequest) -> LocalBoxFuture<'static, Result<(), Refusal>> + Send + Sync>;

/// A request of the engine, as its middleware sees it. Cheap to clone.
///
/// ```
/// use actix_web::HttpMessage;
/// use sociable_engine::{Engine, EngineRequest};
///
/// struct User(String);
///
/// let builder = Engine::builder().engine_middleware(async |request: EngineRequest| {
///     // What a middleware of the `App` has left there: the application's own session, for example.
///     let name = request.http().extensions().get::<String>().cloned().ok_or("who are you?")?;
///     request.attach(User(name));
///     request.set_header("x-frame-options", "DENY");
///     Ok(())
/// });
/// # fn show(session: &sociable_engine::Session) {
/// let user: Option<&User> = session.handshake().attached();
/// # }
/// ```
#[derive(Clone)]
pub struct EngineRequest(Rc<Inner>);

struct Inner {
    http: HttpRequest,
    /// In order, and whether each takes the place of what the response has.
    headers: RefCell<Vec<(HeaderName, HeaderValue, bool)>>,
    attached: RefCell<Attached>,
}

impl fmt::Debug for EngineRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EngineRequest").field(&self.0.http.path()).finish()
    }
}

impl EngineRequest {
    pub(super) fn new(http: HttpRequest) -> Self {
        Self(Rc::new(Inner { http, headers: RefCell::default(), attached: RefCell::default() }))
    }

    /// The request, with what the middleware of the `App` has put into its extensions.
    pub fn http(&self) -> &HttpRequest {
        &self.0.http
    }

    /// Sets a header of the response, that which opens a WebSocket among them, in place of any of that name. What can't be a header is left out,
    /// with a warning in the log.
    pub fn set_header(&self, name: &str, value: &str) {
        self.header(name, value, true);
    }

    /// Adds a header to the response beside those of its name, such as `Set-Cookie`, of which there may be several. What can't be a header is left
    /// out, with a warning in the log.
    pub fn append_header(&self, name: &str, value: &str) {
        self.header(name, value, false);
    }

    fn header(&self, name: &str, value: &str, replaces: bool) {
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                let mut headers = self.0.headers.borrow_mut();
                if replaces {
                    headers.retain(|(known, ..)| *known != name);
                }
                headers.push((name, value, replaces));
            }
            _ => tracing::warn!(target: "sociable::engine", name, "not a header: left out"),
        }
    }

    /// Leaves something in the [`Handshake`](crate::Handshake) of the session that the request opens: see
    /// [`attached`](crate::Handshake::attached). With a request of a session that is open it is dropped.
    pub fn attach<T: Send + Sync + 'static>(&self, value: T) {
        self.0.attached.borrow_mut().insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// Puts the headers into a response.
    pub(super) fn add_headers(&self, response: &mut HeaderMap) {
        for (name, value, replaces) in self.0.headers.take() {
            if replaces { drop(response.insert(name, value)) } else { response.append(name, value) }
        }
    }

    pub(super) fn attachments(&self) -> Attached {
        self.0.attached.borrow().clone()
    }
}
