//! A server on a free port of this machine, on a thread of its own.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::{io, thread};

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::App;
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use tokio::sync::oneshot;

use super::{TestClient, TestClientBuilder, TestError};
use crate::server::Server;

/// A served [`Server`]. It stops when this is dropped.
#[derive(Debug)]
pub struct TestServer {
    addr: SocketAddr,
    path: String,
    /// Dropped, it ends the server.
    _stop: oneshot::Sender<()>,
}

impl TestServer {
    /// Serves it with an `App` that has nothing else, by two worker threads.
    ///
    /// # Errors
    ///
    /// No port or thread can be had.
    pub fn start(io: &Server) -> io::Result<Self> {
        let service = io.service();
        Self::start_with(io, move || App::new().service(service.clone()))
    }

    /// Serves it with this `App`, which has to have its service.
    ///
    /// # Errors
    ///
    /// No port or thread can be had.
    pub fn start_with<F, I, S, B>(io: &Server, app: F) -> io::Result<Self>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request> + 'static,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error>,
        S::InitError: Debug,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        let serve = io.serve(app).workers(2).disable_signals().bind("127.0.0.1:0")?;
        let addr = serve.addrs().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("test server".into()).spawn(move || {
            actix_rt::System::new().block_on(async move {
                tokio::select! {
                    ended = serve.run() => drop(ended.inspect_err(|error| tracing::error!(target: "sociable::serve", %error, "ended"))),
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { addr, path: io.path().to_owned(), _stop: stop })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:…`, for an HTTP client.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A client in the main namespace.
    ///
    /// # Errors
    ///
    /// It is not let in.
    pub async fn connect(&self) -> Result<TestClient, TestError> {
        self.client().connect().await
    }

    /// A client that is yet to be described.
    pub fn client(&self) -> TestClientBuilder {
        TestClientBuilder::new(self.addr, &self.path)
    }
}
