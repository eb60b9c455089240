//! Engine.IO over HTTP: the target of a request, its checks, and its response.

pub(crate) mod coding;
mod compression;
pub(crate) mod direct;
mod files;
mod handover;
pub(crate) mod headers;
mod jsonp;
pub(crate) mod lasting;
pub(crate) mod middleware;
pub(crate) mod origin;
pub(crate) mod refused;
pub(crate) mod reply;
mod respond;
pub(crate) mod target;

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use actix_http::header;
use actix_http::{HttpMessage, Method, RequestHead, StatusCode};
use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sociable_protocol::Id;

pub use self::files::{ServedFiles, ServedFilesError};
pub(crate) use self::handover::Handover;
pub use self::middleware::EngineRequest;
use self::refused::{Refused, ask_owner};
use self::reply::Reply;
pub(crate) use self::target::{Target, wants_websocket};
use crate::counters::Count;
use crate::handshake::{Attached, Handshake};
use crate::memory::{Lent, SMALL};
use crate::serve::line::Line;
use crate::session::Session;
use crate::state::EngineState;
use crate::transport::{Transport, bridge, polling, upgrade};
use crate::version::EngineVersion;
use crate::worker::Worker;

/// The service of an engine for an actix-web `App`: pass it to [`App::service`](actix_web::App::service).
#[derive(Clone)]
pub struct EngineService {
    engine: Arc<EngineState>,
    /// The layer above, which has to exist while requests come.
    kept: Option<Arc<dyn Any + Send + Sync>>,
    /// The files served beside the engine.
    files: Option<Arc<ServedFiles>>,
}

impl fmt::Debug for EngineService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineService").field("engine", &self.engine).field("files", &self.files).finish_non_exhaustive()
    }
}

impl EngineService {
    pub(crate) fn new(engine: Arc<EngineState>) -> Self {
        Self { engine, kept: None, files: None }
    }

    /// Returns the service with a value that it keeps alive: the layer above.
    pub fn keeping(self, kept: Arc<dyn Any + Send + Sync>) -> Self {
        Self { kept: Some(kept), ..self }
    }

    /// Returns the service with files served beside the engine's requests.
    pub fn with_files(self, files: Option<Arc<ServedFiles>>) -> Self {
        Self { files, ..self }
    }
}

impl HttpServiceFactory for EngineService {
    fn register(self, config: &mut AppService) {
        // The factory of an `App` runs once on each worker thread, before requests come.
        Worker::attach(&self.engine);
        self.engine.worker_started();
        let path = self.engine.config.path.clone();
        let Self { engine, kept, files } = self;
        let answer = move |request: HttpRequest, body: web::Payload| {
            let _ = &kept;
            answer(Arc::clone(&engine), files.clone(), request, body)
        };
        // Almost all requests have this path alone. The router matches it without a regular expression.
        web::resource(&*path).route(web::route().to(answer.clone())).register(config);
        web::resource(format!("{path}{{tail:.+}}")).route(web::route().to(answer)).register(config);
    }
}

async fn answer(engine: Arc<EngineState>, files: Option<Arc<ServedFiles>>, request: HttpRequest, body: web::Payload) -> HttpResponse {
    let handshake_with = |attached| Handshake::new(request.head(), request.peer_addr(), request.app_config().secure(), attached);
    let handshake = || handshake_with(Attached::default());
    if engine.config.cors.is_some() && request.method() == Method::OPTIONS {
        return respond::preflight(&engine, request.head(), &handshake());
    }
    if let Some(answer) = files.and_then(|files| files.answer(&engine, request.head(), handshake)) {
        return answer;
    }
    let target = Target::of(request.head());
    if engine.config.origins.as_ref().is_some_and(|origins| !origins.allow(request.head(), target.jsonp.is_some())) {
        engine.count(Count::OriginsRefused);
        return admitted(&engine, &request, body, &target, Err(Refused::foreign_origin()), &handshake).await;
    }
    if engine.config.middleware.is_empty() {
        return admitted(&engine, &request, body, &target, Ok(()), &handshake).await;
    }
    let asked = EngineRequest::new(request.clone());
    let mut verdict = Ok(());
    for middleware in &engine.config.middleware {
        verdict = middleware(asked.clone()).await.map_err(|refusal| Refused::by_middleware(&refusal));
        if verdict.is_err() {
            break;
        }
    }
    let handshake = || handshake_with(asked.attachments());
    let mut response = admitted(&engine, &request, body, &target, verdict, &handshake).await;
    asked.add_headers(response.headers_mut());
    response
}

/// Answers a request on which middleware has decided.
async fn admitted(
    engine: &Arc<EngineState>,
    request: &HttpRequest,
    body: web::Payload,
    target: &Target<'_>,
    verdict: Result<(), Refused>,
    handshake: &impl Fn() -> Handshake,
) -> HttpResponse {
    let head = request.head();
    if target.upgrade {
        let admission = match verdict {
            Ok(()) => upgrade::admit(engine, head, target, handshake()).await,
            Err(refused) => Err(refused),
        };
        return match admission {
            Ok(admission) => {
                let response = respond::switching(engine, head, handshake, &admission);
                let handover = request.extensions().get::<Handover>().cloned();
                match handover {
                    Some(handover) => handover.leave(admission, response),
                    None => bridge::open(engine, request, body, admission, response),
                }
            }
            Err(refused) => respond::refuse_websocket(engine, head, handshake, &refused.report(engine, handshake())),
        };
    }
    let reply = match verdict {
        Ok(()) => serve(engine, request, handshake, body, target).await,
        Err(refused) => Err(refused),
    };
    let reply = reply.map(|reply| match &target.jsonp {
        Some(callback) => reply.into_script(callback),
        None => reply,
    });
    let reply = reply.unwrap_or_else(|refused| refused.report(engine, handshake()).reply());
    respond::respond(engine, head, handshake, reply)
}

async fn serve(
    engine: &Arc<EngineState>,
    request: &HttpRequest,
    handshake: &impl Fn() -> Handshake,
    body: web::Payload,
    target: &Target<'_>,
) -> Result<Reply, Refused> {
    let head = request.head();
    let transport = target.check(&engine.config, head)?;
    match target.sid() {
        Some(sid) => {
            let id = Id::try_from(sid).map_err(|_| Refused::unknown_sid(sid))?;
            let claims = target.claims();
            match (&head.method, transport) {
                (&Method::GET, Transport::Polling) => match request.conn_data::<Rc<Line>>() {
                    Some(line) => polling::get_on(line, engine, id, claims).await,
                    None => polling::get(engine, id, claims).await,
                },
                (&Method::POST, Transport::Polling) => post(engine, id, target, head, body).await,
                (_, Transport::WebSocket) => {
                    Err(polling::known(engine, id, claims).await.err().unwrap_or(Refused::bad_request("TRANSPORT_MISMATCH")))
                }
                (method, _) => Err(polling::known(engine, id, claims).await.err().unwrap_or(Refused::bad_method(method))),
            }
        }
        None => {
            let (handshake, version) = (handshake(), target.version());
            target.check_handshake(engine, head, &handshake).await?;
            let here = Worker::current(engine).ok_or_else(|| Refused::unavailable("no worker on this thread"))?;
            let (id, body) = ask_owner(engine, here.draw_id(), move |worker, id| {
                let session = Session::open(worker, id, handshake, Transport::Polling, version, None);
                async move { (id, polling::first_payload(&session)) }
            })
            .await?;
            Ok(Reply::opened(id, body))
        }
    }
}

async fn post(engine: &Arc<EngineState>, id: Id, target: &Target<'_>, head: &RequestHead, body: web::Payload) -> Result<Reply, Refused> {
    let claims = target.claims();
    let binary = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/octet-stream");
    // In revision 4 of the protocol, bodies are text.
    if binary && !matches!(claims, Some(EngineVersion::V3 { .. })) {
        polling::fail(engine, id, claims).await?;
        return Ok(Reply::empty(StatusCode::BAD_REQUEST));
    }
    // The field of a form is text.
    let binary = binary && target.jsonp.is_none();
    let mut lent = Lent::none(&engine.memory);
    let mut reading = pin!(read_body(head, body, engine.config.max_payload(), &mut lent));
    let packets = |body: Bytes| if target.jsonp.is_some() { jsonp::payload(&body) } else { Some(body) };
    let mut read = None;
    if engine.worker_here(engine.owner_of(&id)).is_none() {
        // A body that arrived with its head crosses threads together with the check of the session.
        match before_next_turn(reading.as_mut()).await {
            Some(Ok(body)) => return polling::post(engine, id, claims, packets(body), binary).await,
            other => read = other,
        }
    }
    let Some(mut permit) = polling::begin_post(engine, id, claims).await? else { return Ok(Reply::empty(StatusCode::BAD_REQUEST)) };
    let read = match read {
        Some(read) => Ok(read),
        None => tokio::time::timeout(engine.config.http_request_body_timeout, reading).await,
    };
    let error = match read {
        Ok(Ok(body)) => {
            return match packets(body) {
                Some(body) => permit.finish(body, binary).await,
                None => {
                    permit.give_back().await;
                    Ok(Reply::ok())
                }
            };
        }
        Ok(Err(error)) => error,
        Err(_) => BodyError::Late,
    };
    let (count, status) = match error {
        BodyError::TooLarge => (Some(Count::BodiesTooLarge), StatusCode::PAYLOAD_TOO_LARGE),
        BodyError::NoMemory => (Some(Count::PacketsOverBudget), StatusCode::SERVICE_UNAVAILABLE),
        BodyError::Late => (Some(Count::BodiesLate), StatusCode::REQUEST_TIMEOUT),
        BodyError::Broken => (None, StatusCode::BAD_REQUEST),
    };
    if let Some(count) = count {
        engine.count(count);
    }
    // Dropping the permit ends the session, because part of the client's data is missing.
    permit.fails_by(error.as_str());
    drop(permit);
    Ok(Reply::empty(status).closing())
}

/// Returns the output of a future, if the future ends within this turn of its task.
///
/// actix-http polls a request's handler twice per turn: before and after the body that arrived with the head.
async fn before_next_turn<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut turns = 0;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if turns > 0 => Poll::Ready(None),
        Poll::Pending => {
            turns += 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[derive(Clone, Copy)]
enum BodyError {
    TooLarge,
    NoMemory,
    Late,
    Broken,
}

impl BodyError {
    /// Returns the description of the JavaScript server, or one of this library where it has none.
    fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "payload too large",
            Self::NoMemory => "not enough memory",
            Self::Late => "http request timeout",
            Self::Broken => polling::CLOSED_PREMATURELY,
        }
    }
}

async fn read_body(head: &RequestHead, mut body: web::Payload, limit: usize, lent: &mut Lent<'_>) -> Result<Bytes, BodyError> {
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge);
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        let length = whole.len() + chunk.len();
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        if length > SMALL && !lent.grow_to(length) {
            return Err(BodyError::NoMemory);
        }
        // Copied, because a slice would keep the whole read buffer of the connection.
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}
