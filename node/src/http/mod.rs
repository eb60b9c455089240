//! Engine.IO over HTTP: what a request asks for, whether it may, and how it is answered.

mod client_files;
mod handover;
mod jsonp;
mod lasting;
mod middleware;
mod origin;
mod refuse;
mod respond;
mod target;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::header::{self, HeaderValue};
use actix_http::{HttpMessage, Method, RequestHead, StatusCode};
use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sociable_protocol::Id;
use tokio::sync::oneshot;

pub(crate) use self::client_files::ClientFiles;
pub(crate) use self::handover::Handover;
pub(crate) use self::lasting::LONG_ANSWER;
pub use self::middleware::EngineRequest;
pub(crate) use self::middleware::{Attached, Middleware};
pub(crate) use self::origin::{Origins, is_cross_origin};
pub(crate) use self::refuse::Refused;
pub use self::refuse::{ConnectionError, ErrorCode};
pub(crate) use self::respond::Reply;
pub(crate) use self::target::{Target, wants_websocket};
use crate::config::Transport;
use crate::engine::Shared;
use crate::handshake::Handshake;
use crate::memory::{Lent, SMALL};
use crate::serve::Line;
use crate::session::{Dialect, Session};
use crate::transport::{bridge, polling, upgrade};
use crate::worker::Worker;

/// How long a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves Engine.IO within an actix-web `App`: give it to [`App::service`](actix_web::App::service).
#[derive(Clone, Debug)]
pub struct EngineService {
    engine: Arc<Shared>,
    /// The layer above, which has to live as long as requests come.
    kept: Option<Arc<crate::server::ServerInner>>,
    /// What is served beside.
    files: Option<Arc<ClientFiles>>,
}

impl EngineService {
    pub(crate) fn new(engine: Arc<Shared>) -> Self {
        Self { engine, kept: None, files: None }
    }

    pub(crate) fn keeping(self, server: Arc<crate::server::ServerInner>) -> Self {
        Self { kept: Some(server), ..self }
    }

    pub(crate) fn with_files(self, files: Option<Arc<ClientFiles>>) -> Self {
        Self { files, ..self }
    }
}

impl HttpServiceFactory for EngineService {
    fn register(self, config: &mut AppService) {
        // The factory of an `App` runs once on each worker thread, before requests come.
        Worker::attach(&self.engine);
        let pattern = format!("{}{{tail:.*}}", self.engine.config.path);
        let Self { engine, kept, files } = self;
        if let Some(server) = &kept {
            // Now there is a thread that answers the other nodes.
            server.cluster();
        }
        let answer = move |request: HttpRequest, body: web::Payload| {
            let _ = &kept;
            answer(Arc::clone(&engine), files.clone(), request, body)
        };
        web::resource(pattern).route(web::route().to(answer)).register(config);
    }
}

async fn answer(engine: Arc<Shared>, files: Option<Arc<ClientFiles>>, request: HttpRequest, body: web::Payload) -> HttpResponse {
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
        engine.count(crate::metrics::Count::OriginsRefused);
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

/// Answers a request of which middleware has said whether it may be answered.
async fn admitted(
    engine: &Arc<Shared>,
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
    engine: &Arc<Shared>,
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
            let (handshake, dialect) = (handshake(), target.dialect());
            target.check_handshake(engine, head, &handshake).await?;
            let (id, body) = on_home(engine, None, move |worker, id| {
                let session = Session::open(worker, id, handshake, Transport::Polling, dialect, None);
                async move { (id, polling::first_payload(&session)) }
            })
            .await?;
            Ok(Reply::opened(id, body))
        }
    }
}

async fn post(engine: &Arc<Shared>, id: Id, target: &Target<'_>, head: &RequestHead, body: web::Payload) -> Result<Reply, Refused> {
    let claims = target.claims();
    let binary = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/octet-stream");
    // In revision 4 of the protocol bodies are text.
    if binary && !matches!(claims, Some(Dialect::V3 { .. })) {
        polling::fail(engine, id, claims).await?;
        return Ok(Reply::empty(StatusCode::BAD_REQUEST));
    }
    let Some(ticket) = polling::begin_post(engine, id, claims).await? else { return Ok(Reply::empty(StatusCode::BAD_REQUEST)) };
    let mut lent = Lent::none(&engine.memory);
    match tokio::time::timeout(BODY_TIMEOUT, read_body(head, body, engine.config.max_payload(), &mut lent)).await {
        Ok(Ok(form)) if target.jsonp.is_some() => match jsonp::payload(&form) {
            Some(body) => ticket.finish(body, false).await,
            None => {
                ticket.give_back().await;
                Ok(Reply::ok())
            }
        },
        Ok(Ok(body)) => ticket.finish(body, binary).await,
        Ok(Err(BodyError::TooLarge)) => {
            engine.count(crate::metrics::Count::BodiesTooLarge);
            ticket.give_back().await;
            Ok(Reply::empty(StatusCode::PAYLOAD_TOO_LARGE).closing())
        }
        // The ticket, dropped, ends the session.
        Ok(Err(BodyError::NoMemory)) => {
            engine.count(crate::metrics::Count::PacketsOverBudget);
            Ok(Reply::empty(StatusCode::SERVICE_UNAVAILABLE).closing())
        }
        // The ticket, dropped, ends the session: part of what the client sent is missing.
        Ok(Err(BodyError::Broken)) => Ok(Reply::empty(StatusCode::BAD_REQUEST).closing()),
        Err(_) => Ok(Reply::empty(StatusCode::REQUEST_TIMEOUT).closing()),
    }
}

enum BodyError {
    TooLarge,
    NoMemory,
    Broken,
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
        // Copied: what is kept of it would keep all that was read from the connection at once.
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Runs `work` on the worker that owns the session `id`, or, without an id, on one that may own a new session, and waits for what comes of it.
pub(crate) async fn on_home<F, Fut, T>(engine: &Arc<Shared>, id: Option<Id>, work: F) -> Result<T, Refused>
where
    F: FnOnce(&Rc<Worker>, Id) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let here = Worker::current(engine);
    let id = match (id, &here) {
        (Some(id), _) => id,
        (None, Some(worker)) => worker.draw_id(),
        (None, None) => return Err(Refused::unavailable("no worker on this thread")),
    };
    let home = engine.home(&id);
    if let Some(worker) = here.filter(|worker| worker.index == home) {
        return Ok(work(&worker, id).await);
    }
    let (mut answer, answered) = oneshot::channel();
    let sent = engine.run_on(home, 0, move |worker| {
        let work = work(worker, id);
        actix_rt::spawn(async move {
            tokio::pin!(work);
            tokio::select! {
                // Work is begun even for a request that was given up on the way: to be given up may mean something to it.
                biased;
                result = &mut work => drop(answer.send(result)),
                // The request was given up: so is the work for it.
                () = answer.closed() => {}
            }
        });
    });
    let gone = || Refused::unknown_sid(id.as_str());
    sent.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())
}

/// The value of a header that is a list, with all of its lines.
pub(crate) fn header_list(head: &RequestHead, name: header::HeaderName) -> Option<Cow<'_, str>> {
    let mut lines = head.headers.get_all(name).filter_map(|line| line.to_str().ok());
    let first = lines.next()?;
    Some(match lines.next() {
        None => Cow::Borrowed(first),
        Some(second) => Cow::Owned(std::iter::once(second).chain(lines).fold(first.to_owned(), |list, line| list + ", " + line)),
    })
}

/// The value of a header as text, if it is.
pub(crate) fn header_str(head: &RequestHead, name: header::HeaderName) -> Option<&str> {
    head.headers.get(name).map(HeaderValue::to_str)?.ok()
}
