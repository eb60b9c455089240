//! A test server on a free port of this machine, on its own thread.

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

/// A running [`Server`]. Dropping this stops the server.
#[derive(Debug)]
pub struct TestServer {
    addr: SocketAddr,
    path: String,
    /// Dropping this ends the server.
    _stop: oneshot::Sender<()>,
}

impl TestServer {
    /// Serves `io` by an `App` with nothing else, on two worker threads.
    ///
    /// # Errors
    ///
    /// No port or no thread is available.
    pub fn start(io: &Server) -> io::Result<Self> {
        let service = io.service();
        Self::start_with(io, move || App::new().service(service.clone()))
    }

    /// Serves an `App`, which has to contain the service of `io`.
    ///
    /// # Errors
    ///
    /// No port or no thread is available.
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
                    ended = serve.run() => drop(ended.inspect_err(|error| tracing::error!(target: "sociable::serve", %error, "test server failed"))),
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { addr, path: io.path().to_owned(), _stop: stop })
    }

    /// Returns the address of the server.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the address as a URL, `http://127.0.0.1:…`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Connects a client to the main namespace.
    ///
    /// # Errors
    ///
    /// The namespace refuses the client.
    pub async fn connect(&self) -> Result<TestClient, TestError> {
        self.client().connect().await
    }

    /// Returns the builder of a client.
    pub fn client(&self) -> TestClientBuilder {
        TestClientBuilder::new(self.addr, &self.path)
    }
}
