//! Engine middleware: hooks of the application for every request of the engine, before the engine's own checks.

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

/// A hook for every request of the engine: handshakes, polls, posts, and requests for a WebSocket.
pub(crate) type Middleware = Arc<dyn Fn(EngineRequest) -> LocalBoxFuture<'static, Result<(), Refusal>> + Send + Sync>;

/// A request of the engine, as its middleware sees it. Clones are cheap.
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
    /// The headers in order. The flag says whether one replaces an earlier value.
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

    /// Returns the request, with the extensions that the middleware of the `App` has added.
    pub fn http(&self) -> &HttpRequest {
        &self.0.http
    }

    /// Sets a header of the response, also of one that opens a WebSocket. An invalid header is left out and logged.
    pub fn set_header(&self, name: &str, value: &str) {
        self.header(name, value, true);
    }

    /// Adds a header beside others of its name, such as `Set-Cookie`. An invalid header is left out and logged.
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
            _ => tracing::warn!(target: "sociable::engine", name, "invalid header left out"),
        }
    }

    /// Attaches a value to the [`Handshake`](crate::Handshake) of the session that the request opens.
    ///
    /// See [`attached`](crate::Handshake::attached). For requests of existing sessions, the value is dropped.
    pub fn attach<T: Send + Sync + 'static>(&self, value: T) {
        self.0.attached.borrow_mut().insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// Adds the headers to a response.
    pub(super) fn add_headers(&self, response: &mut HeaderMap) {
        for (name, value, replaces) in self.0.headers.take() {
            if replaces { drop(response.insert(name, value)) } else { response.append(name, value) }
        }
    }

    pub(super) fn attachments(&self) -> Attached {
        self.0.attached.borrow().clone()
    }
}
