//! The routing of a connection: requests and foreign upgrades go to the `App`, WebSockets of the engine to their session.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::{HttpMessage, HttpService, Payload, Protocol, Request, Response, StatusCode, h1, header};
use actix_rt::net::ActixStream;
use actix_service::boxed::{self, BoxService, BoxServiceFactory};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_factory, fn_service, map_config};
use actix_web::body::{BoxBody, MessageBody, to_bytes_limited};
use actix_web::dev::AppConfig;
use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio::io::AsyncWriteExt;

use super::app_config::app_config;
use super::lane::Lane;
use super::line::Line;
use super::linger::{Chunks, Linger};
use super::loan::Loan;
use super::response::Noted;
use super::rewind::Rewind;
use crate::http::{Handover, direct, wants_websocket};
use crate::state::EngineState;
use crate::transport::stream::Stream;
use crate::transport::upgrade;

/// Longer than the pools of proxies keep idle connections, which is a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The time in which the head of a request has to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest body of a refusal. A longer one is left out.
const MAX_REFUSAL: usize = 64 * 1024;

type AppService = BoxService<Request, Response<BoxBody>, actix_web::Error>;
type UpgradeRequest<T> = (Request, Framed<T, h1::Codec>);
type UpgradeFactory<T> = BoxServiceFactory<(), UpgradeRequest<T>, (), actix_web::Error, ()>;

/// The ways of requests and connections beside the HTTP server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    pub(super) linger: Linger,
    /// True if the requests of open sessions pass by the `App`.
    pub(super) direct: bool,
}

/// Returns whether the options of an engine let requests pass by the `App`.
pub(super) fn may_pass_by(engine: &EngineState) -> bool {
    direct::is_possible(&engine.config, KEEP_ALIVE)
}

/// The service for the connections of one listener on one worker.
pub(super) fn service<T, F, I, S, B>(
    engine: &Arc<EngineState>,
    app: &F,
    addr: SocketAddr,
    secure: bool,
    ways: Ways,
) -> impl ServiceFactory<(T, Option<SocketAddr>), Config = (), Response = (), Error = (), InitError = ()> + use<T, F, I, S, B>
where
    T: ActixStream + Into<Stream> + 'static,
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let Ways { linger, direct } = ways;
    let config = app_config(secure, addr);
    let app = map_config(app().into_factory(), move |()| config.clone());
    let app = apply_fn_factory(app, move |mut request: Request, app: &S::Service| {
        let body = !matches!(request.payload(), Payload::None);
        let line = request.conn_data::<Rc<Line>>().cloned();
        if let Some(line) = &line {
            line.ask(body);
        }
        let chunks = Chunks::hold(&mut request);
        app.call(request).map_ok(move |response| {
            let response = response.into().map_into_boxed_body();
            let response = match chunks {
                Some(chunks) => chunks.keep_with(response),
                None => response,
            };
            match line.filter(|_| direct) {
                Some(line) => response.map_body(|_, body| BoxBody::new(Noted { body, line })),
                None => response,
            }
        })
    });
    let app = app.map_err(Into::into).map_init_err(|error| tracing::error!(target: "sociable::serve", ?error, "App not created"));
    let app = OneApp { factory: Rc::new(boxed::factory(app)), made: Rc::default() };
    let upgrade = upgrade_service(Arc::clone(engine), app.clone(), linger);
    let http = HttpService::build()
        .on_connect_ext(|loan: &Loan<T>, data| drop(data.insert(loan.line())))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        // Only this option reveals a poll that its client has given up.
        .h1_allow_half_closed(false)
        .upgrade(upgrade)
        .finish(app)
        .map_err(drop);
    let engine = Arc::clone(engine);
    apply_fn_factory(http, move |(stream, peer): (T, Option<SocketAddr>), http: &_| {
        let lane = direct.then(|| Box::new(Lane::new(Arc::clone(&engine))));
        let ((stream, home), engine) = (Loan::new(stream, lane), Arc::clone(&engine));
        // Not in one block, which would hold the large future twice.
        http.call((stream, Protocol::Http1, peer)).then(move |_| async move {
            if let Some(stream) = home.take() {
                linger.close(&engine, stream).await;
            }
            Ok(())
        })
    })
}

/// An `App` that is created once and shared by requests and by upgrades of other services.
#[derive(Clone)]
pub(super) struct OneApp {
    factory: Rc<BoxServiceFactory<(), Request, Response<BoxBody>, actix_web::Error, ()>>,
    made: Rc<RefCell<Option<Rc<AppService>>>>,
}

impl ServiceFactory<Request> for OneApp {
    type Response = Response<BoxBody>;
    type Error = actix_web::Error;
    type Config = ();
    type Service = Rc<AppService>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let this = self.clone();
        // The check has to run in the future: both callers run it before either is answered.
        async move {
            let made = this.made.borrow().clone();
            match made {
                Some(app) => Ok(app),
                None => {
                    let app = Rc::new(this.factory.new_service(()).await?);
                    *this.made.borrow_mut() = Some(Rc::clone(&app));
                    Ok(app)
                }
            }
        }
        .boxed_local()
    }
}

/// Returns the service for requests that ask for an upgrade.
fn upgrade_service<T>(engine: Arc<EngineState>, app: OneApp, linger: Linger) -> UpgradeFactory<Loan<T>>
where
    T: ActixStream + Into<Stream> + 'static,
{
    boxed::factory(fn_factory(move || {
        let (engine, app) = (Arc::clone(&engine), app.clone());
        async move {
            // Requests of other services are served as without this engine.
            let engines = app.new_service(()).await?;
            let rest = HttpService::<Rewind<Loan<T>>, _, _>::build()
                .on_connect_ext(|loan: &Rewind<Loan<T>>, data| drop(data.insert(loan.stream().line())))
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(REQUEST_TIMEOUT)
                .h1_allow_half_closed(false)
                .finish(app)
                .new_service(())
                .await?;
            let rest = Rc::new(rest);
            Ok(fn_service(move |(request, framed): UpgradeRequest<Loan<T>>| {
                let (engine, engines, rest) = (Arc::clone(&engine), Rc::clone(&engines), Rc::clone(&rest));
                async move {
                    let parts = framed.into_parts();
                    if wants_websocket(request.head()) && request.path().starts_with(&engine.config.path) {
                        if let Some(stream) = parts.io.keep() {
                            accept(&engine, &engines, request, stream.into(), parts.read_buf, linger).await;
                        }
                    } else {
                        let home = parts.io.home();
                        let stream = Rewind::request(&request, &parts.read_buf, parts.io);
                        // The future of this connection is detached; the other service has its own.
                        actix_rt::spawn(rest.call((stream, Protocol::Http1, request.peer_addr())).then(move |_| async move {
                            if let Some(stream) = home.take() {
                                linger.close(&engine, stream).await;
                            }
                        }));
                    }
                    Ok(())
                }
            }))
        }
    }))
}

/// Makes the `App` answer a request for a WebSocket of the engine. If the `App` admits it, the stream goes to the session.
async fn accept(engine: &Arc<EngineState>, app: &AppService, request: Request, mut stream: Stream, early: BytesMut, linger: Linger) {
    let handover = Handover::default();
    request.extensions_mut().insert(handover.clone());
    let response = match app.call(request).await {
        Ok(response) => response,
        Err(error) => error.error_response().into(),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(admission) = handover.take_admission()
    {
        let head = write_head(&response, "Upgrade");
        let early = (!early.is_empty()).then(|| early[..].into());
        upgrade::start(engine, admission, stream, Some(head.into()), early);
        return;
    }
    // A client that does not take its refusal is dropped without it.
    let written = async {
        let mut bytes = write_head(&response, "close");
        let body = to_bytes_limited(response.into_body(), MAX_REFUSAL).await.ok().and_then(Result::ok).unwrap_or_default();
        let length = format!("content-length: {}\r\n\r\n", body.len());
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(length.as_bytes());
        bytes.extend_from_slice(&body);
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    if let Ok(Ok(())) = tokio::time::timeout(REQUEST_TIMEOUT, written).await {
        linger.close(engine, stream).await;
    }
}

/// Returns the status line, the headers and the empty line after them.
fn write_head(response: &Response<BoxBody>, connection: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(format!("HTTP/1.1 {}\r\nConnection: {connection}\r\n", response.status()).as_bytes());
    let framing = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    for (name, value) in response.headers().iter().filter(|(name, _)| !framing.contains(name)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}
