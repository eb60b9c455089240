//! What becomes of a connection: requests go to the `App`, WebSockets of the engine to their session, all other upgrades to the `App`.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::header::HeaderMap;
use actix_http::{HttpService, Protocol, Request, Response, h1};
use actix_rt::net::ActixStream;
use actix_service::boxed::{self, BoxService, BoxServiceFactory};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::AppConfig;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::io::AsyncWriteExt;

use super::app_config::app_config;
use super::rewind::Rewind;
use crate::engine::Shared;
use crate::handshake::Handshake;
use crate::http::{Refused, Target, decorate};
use crate::transport::stream::{MovableTcp, Stream};
use crate::transport::upgrade;

/// Long enough for the pools of proxies, which keep idle connections for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long the head of a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

type AppService = BoxService<Request, Response<BoxBody>, actix_web::Error>;
type UpgradeRequest<T> = (Request, Framed<T, h1::Codec>);
type UpgradeFactory<T> = BoxServiceFactory<(), UpgradeRequest<T>, (), actix_web::Error, ()>;

/// The peer's address of a stream, if it is connected.
pub(super) fn peer_addr(stream: &MovableTcp) -> Option<SocketAddr> {
    match stream {
        MovableTcp::Registered(stream) => stream.peer_addr().ok(),
        _ => None,
    }
}

/// The service for the connections of one listener on one worker.
pub(super) fn service<T, F, I, S, B>(
    engine: &Arc<Shared>,
    app: &F,
    addr: SocketAddr,
    secure: bool,
) -> HttpService<T, OneApp, BoxBody, h1::ExpectHandler, UpgradeFactory<T>>
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
    let config = app_config(secure, addr);
    let app = map_config(app().into_factory(), move |()| config.clone())
        .map(|response: S::Response| response.into().map_into_boxed_body())
        .map_err(Into::into)
        .map_init_err(|error| tracing::error!(target: "sociable::serve", ?error, "the App can't be made"));
    let app = OneApp { factory: Rc::new(boxed::factory(app)), made: Rc::default() };
    let upgrade = upgrade_service(Arc::clone(engine), app.clone(), secure);
    HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        // A poll that its client has given up shows by this alone.
        .h1_allow_half_closed(false)
        .upgrade(upgrade)
        .finish(app)
}

/// Makes the `App` once and shares it: requests and the upgrades that are not the engine's meet the same one.
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
        // The look has to come when the future runs: both who ask do so before either is answered.
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

/// Gets every request that wants its connection to become something else.
fn upgrade_service<T>(engine: Arc<Shared>, app: OneApp, secure: bool) -> UpgradeFactory<T>
where
    T: ActixStream + Into<Stream> + 'static,
{
    boxed::factory(fn_factory(move || {
        let (engine, app) = (Arc::clone(&engine), app.clone());
        async move {
            // What is not the engine's is served as if nobody had looked at it.
            let rest = HttpService::<Rewind<T>, _, _>::build()
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(REQUEST_TIMEOUT)
                .h1_allow_half_closed(false)
                .finish(app)
                .new_service(())
                .await?;
            let rest = Rc::new(rest);
            Ok(fn_service(move |(request, framed): UpgradeRequest<T>| {
                let (engine, rest) = (Arc::clone(&engine), Rc::clone(&rest));
                async move {
                    let target = Target::of(request.head());
                    let parts = framed.into_parts();
                    if target.upgrade && request.path().starts_with(&engine.config.path) {
                        accept(&engine, &request, &target, parts.io.into(), parts.read_buf, secure).await;
                    } else {
                        let stream = Rewind::request(&request, &parts.read_buf, parts.io);
                        // The future of this connection is let go; the other service has one of its own.
                        actix_rt::spawn(rest.call((stream, Protocol::Http1, request.peer_addr())).map(drop));
                    }
                    Ok(())
                }
            }))
        }
    }))
}

/// Answers a request for a WebSocket of the engine.
async fn accept(engine: &Arc<Shared>, request: &Request, target: &Target, mut stream: Stream, early: BytesMut, secure: bool) {
    let handshake = Handshake::new(request.head(), request.peer_addr(), secure);
    match upgrade::admit(engine, request.head(), target, handshake.clone()).await {
        Ok(admission) => {
            let mut headers = HeaderMap::new();
            decorate(engine, request.head(), || handshake, &mut headers, admission.opens_session());
            let mut head = Vec::with_capacity(256);
            head.extend_from_slice(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
            );
            head.extend_from_slice(admission.accept.as_bytes());
            head.extend_from_slice(b"\r\n");
            write_headers(&mut head, &headers);
            let early = (!early.is_empty()).then(|| early[..].into());
            upgrade::start(engine, admission, stream, Some(head.into()), early);
        }
        Err(refused) => {
            let refused = refused.report(engine, handshake.clone());
            let mut headers = HeaderMap::new();
            decorate(engine, request.head(), || handshake, &mut headers, false);
            let response = refusal(&refused, &headers);
            // A client that does not take its refusal is dropped without it.
            let written = async {
                stream.write_all(&response).await?;
                stream.shutdown().await
            };
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, written).await;
        }
    }
}

fn refusal(refused: &Refused, headers: &HeaderMap) -> Bytes {
    let (status, text) = refused.text();
    let mut response =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: {}\r\n", text.len()).into_bytes();
    if text.contains("Sec-WebSocket-Version") {
        response.extend_from_slice(b"Sec-WebSocket-Version: 13, 8\r\n");
    }
    write_headers(&mut response, headers);
    response.extend_from_slice(text.as_bytes());
    response.into()
}

/// Writes headers and the empty line behind them.
fn write_headers(head: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
}
