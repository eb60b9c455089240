//! A server in this process, on a thread and a runtime of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use actix_web::{App, HttpServer, web};
use sociable::engine::Engine;
use sociable::{EngineService, Serve, Server};
use tokio::sync::oneshot;

/// A server of a test: a Socket.IO server or the Engine.IO layer alone.
pub trait Serves: Clone + Send + 'static {
    fn service(&self) -> EngineService;
    fn serve<F>(&self, app: F) -> Serve<F>;
}

impl Serves for Server {
    fn service(&self) -> EngineService {
        self.service()
    }

    fn serve<F>(&self, app: F) -> Serve<F> {
        self.serve(app)
    }
}

impl Serves for Engine {
    fn service(&self) -> EngineService {
        self.service()
    }

    fn serve<F>(&self, app: F) -> Serve<F> {
        self.serve(app)
    }
}

/// The channel for the address on which a server listens.
pub type Tell = mpsc::Sender<SocketAddr>;

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Node {
    pub addr: SocketAddr,
    /// Dropped, it ends the server.
    _stop: oneshot::Sender<()>,
}

impl Node {
    /// The raw way, with two workers.
    pub fn start(server: &impl Serves) -> Self {
        Self::raw(server, 2)
    }

    /// WebSockets as raw streams.
    pub fn raw(server: &impl Serves, workers: usize) -> Self {
        let server = server.clone();
        Self::run(async move |tell| {
            let service = server.service();
            let serve = server.serve(move || App::new().service(service.clone())).workers(workers).disable_signals().bind("127.0.0.1:0")?;
            tell.send(serve.addrs()[0]).unwrap();
            serve.run().await
        })
    }

    /// WebSockets as raw streams, and `GET /healthz` for balancers.
    pub fn with_health(server: &Server, workers: usize) -> Self {
        let server = server.clone();
        Self::run(async move |tell| {
            let asked = server.clone();
            let app = move || {
                let service = asked.service();
                let io = asked.clone();
                let health = move || std::future::ready(web::Json(io.health()));
                App::new().service(service).route("/healthz", web::get().to(health))
            };
            let serve = server.serve(app).workers(workers).disable_signals().bind("127.0.0.1:0")?;
            tell.send(serve.addrs()[0]).unwrap();
            serve.run().await
        })
    }

    /// A plain `HttpServer`, which can cut off those who do not read.
    pub fn plain(server: &impl Serves, workers: usize) -> Self {
        let server = server.clone();
        Self::run(async move |tell| {
            let http = HttpServer::new(move || App::new().service(server.service())).on_connect(sociable::on_connect);
            // Without it a poll that was given up shows only when it is answered.
            let http = http.h1_allow_half_closed(false).workers(workers).disable_signals().bind("127.0.0.1:0")?;
            tell.send(http.addrs()[0]).unwrap();
            http.run().await
        })
    }

    /// Both ways, one after the other, for what has to be the same.
    pub fn both(server: impl Fn() -> Server) -> [(Server, Self); 2] {
        let (a, b) = (server(), server());
        let nodes = (Self::raw(&a, 2), Self::plain(&b, 2));
        [(a, nodes.0), (b, nodes.1)]
    }

    /// Runs any server: `serve` sends its address, then serves.
    pub fn run<F>(serve: F) -> Self
    where
        F: AsyncFnOnce(Tell) -> io::Result<()> + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                tokio::select! {
                    ended = serve(tell) => ended.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { addr: told.recv().unwrap(), _stop: stop }
    }
}
