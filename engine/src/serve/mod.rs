//! A server that hands WebSockets over as raw streams, beside the user's own `App`.
//!
//! actix-web keeps a connection's dispatcher and buffers for as long as a WebSocket lives. This server takes the stream away from it: an
//! idle WebSocket costs a task of a few hundred bytes, writes go straight to the socket, and a client that does not read can be cut off.

mod admission;
mod app_config;
mod incoming;
mod linger;
pub(crate) mod loan;
mod rewind;
pub(crate) mod stop;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service};
#[cfg(feature = "rustls")]
use actix_tls::accept::rustls_0_23::{Acceptor, reexports::ServerConfig};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use tokio::net::TcpStream;

use self::admission::admit;
use self::linger::Linger;
use self::stop::Stop;
use crate::connections::backlog;
use crate::state::EngineState;
use crate::transport::stream::MovableTcp;

const BACKLOG: usize = 4096;

/// A server for an [`Engine`](crate::Engine) and the `App` beside it.
///
/// The `App` has to have the engine's service. All requests go through the `App` and its middleware, those for WebSockets too: headers that
/// a middleware adds to the response get to the client, and one that answers by itself keeps the WebSocket from being opened.
///
/// ```no_run
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use actix_web::{App, HttpResponse, web};
///
/// # use sociable_engine::{CloseReason, Connection, Engine};
/// # struct Echo;
/// # impl Connection for Echo {
/// #     fn text(&self, _: bytestring::ByteString) {}
/// #     fn binary(&self, _: bytes::Bytes) {}
/// #     fn closed(&self, _: CloseReason) {}
/// # }
/// let engine = Engine::builder().build(|_| Echo)?;
/// let service = engine.service();
/// let app = move || App::new().service(service.clone()).route("/", web::get().to(HttpResponse::Ok));
/// engine.serve(app).bind("127.0.0.1:3000")?.run().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server serves only while `run` is awaited"]
pub struct Serve<F> {
    engine: Arc<EngineState>,
    app: F,
    listeners: Vec<(TcpListener, Security)>,
    workers: Option<usize>,
    max_connections: usize,
    linger: Linger,
    stop: Stop,
}

/// The encryption of the connections of a listener.
enum Security {
    Plain,
    #[cfg(feature = "rustls")]
    Tls(ServerConfig),
}

impl<F> fmt::Debug for Serve<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("addrs", &self.addrs()).finish_non_exhaustive()
    }
}

impl<F> Serve<F> {
    pub(crate) fn new(engine: Arc<EngineState>, app: F) -> Self {
        let stop = Stop { drain: Duration::ZERO, timeout: Duration::from_secs(10), signals: true };
        Self { engine, app, listeners: vec![], workers: None, max_connections: usize::MAX, linger: Linger::default(), stop }
    }

    /// How many worker threads serve: as many as the machine has cores by default.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }

    /// How many connections are served at a time: by default as many as the limit on open files (`RLIMIT_NOFILE`) allows, less a reserve of a
    /// twentieth, and 96 at least, for all else that the process opens. Further connections are answered by 503 and closed. When a sixteenth is
    /// left, no new sessions are taken, so that living ones have room for their requests.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Sets for how long, and for how many bytes, a connection goes on that has ended while its client was sending: 10 s and 16 MiB by
    /// default. What the client sends then is dropped. Without that time the connection is reset, and the client may lose its answer, such as
    /// 413. A connection that is cut off at a bound is counted (`lingers_cut`).
    pub fn linger(mut self, time: Duration, bytes: usize) -> Self {
        self.linger = Linger { time, bytes };
        self
    }

    /// How long a stop may take until the connections that are left are cut off: 10 s by default.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.stop.timeout = timeout;
        self
    }

    /// Over how long a time clients are sent elsewhere before the stop, a few at a time: not at all by default, so that all are closed at
    /// once. See [`Engine::drain`](crate::Engine::drain). A second signal ends it, and cuts off what is left,
    /// within two seconds.
    pub fn drain(mut self, time: Duration) -> Self {
        self.stop.drain = time;
        self
    }

    /// Leaves SIGINT and SIGTERM to the application, which then stops the server by dropping the future of [`run`](Self::run).
    pub fn disable_signals(mut self) -> Self {
        self.stop.signals = false;
        self
    }

    /// Listens on these addresses.
    ///
    /// # Errors
    ///
    /// None of them can be listened on.
    pub fn bind(mut self, addrs: impl ToSocketAddrs) -> io::Result<Self> {
        for listener in listen(addrs)? {
            self.listeners.push((listener, Security::Plain));
        }
        Ok(self)
    }

    /// Listens on these addresses with TLS. It needs the feature `rustls`.
    ///
    /// # Errors
    ///
    /// None of them can be listened on.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn bind_rustls(mut self, addrs: impl ToSocketAddrs, config: ServerConfig) -> io::Result<Self> {
        for listener in listen(addrs)? {
            self.listeners.push((listener, Security::Tls(config.clone())));
        }
        Ok(self)
    }

    /// Serves on a socket that listens already.
    ///
    /// # Errors
    ///
    /// The socket can't be made non-blocking.
    pub fn listen(mut self, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        self.listeners.push((listener, Security::Plain));
        Ok(self)
    }

    /// The addresses that are listened on: for a port of 0, the port that was given.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// Serves until SIGINT or SIGTERM. Then every client gets a clean close, at once or during the [`drain`](Self::drain), and connections that are left
    /// after the shutdown timeout are cut off.
    ///
    /// # Errors
    ///
    /// A worker can't be started.
    pub async fn run<I, S, B>(self) -> io::Result<()>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request> + 'static,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error>,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        let Self { engine, app, listeners, workers, max_connections, linger, stop } = self;
        let limit = engine.connections.limit_to(max_connections);
        // What is accepted and not yet served is no more than the reserve bears.
        let backlog = backlog(limit).min(BACKLOG);
        // actix-server does not see the connections that were handed over: its own stop would wait for nothing or cut them off.
        let mut builder = actix_server::Server::build()
            .disable_signals()
            .shutdown_timeout(stop.timeout.as_secs().max(1))
            .max_concurrent_connections(limit.saturating_add(backlog));
        if let Some(workers) = workers {
            builder = builder.workers(workers);
        }
        for (listener, security) in listeners {
            let (engine, app) = (Arc::clone(&engine), app.clone());
            let addr = listener.local_addr()?;
            socket2::SockRef::from(&listener).listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
            builder = match security {
                Security::Plain => builder.listen("sociable", listener, move || {
                    let http = incoming::service(&engine, &app, addr, false, linger);
                    let engine = Arc::clone(&engine);
                    fn_service(move |stream: TcpStream| admit(Arc::clone(&engine), stream, true))
                        .and_then(|stream: MovableTcp| async move {
                            let peer = stream.peer_addr();
                            Ok::<_, ()>((stream, peer))
                        })
                        .and_then(http)
                })?,
                #[cfg(feature = "rustls")]
                Security::Tls(mut tls) => {
                    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                    builder.listen("sociable-tls", listener, move || {
                        let http = incoming::service(&engine, &app, addr, true, linger);
                        let engine = Arc::clone(&engine);
                        // The finisher of actix-http would wrap a stream that can't leave its thread.
                        fn_service(move |stream: TcpStream| admit(Arc::clone(&engine), stream, false))
                            .and_then(Acceptor::new(tls.clone()).map_err(|_| ()).map_init_err(|_| ()))
                            .and_then(|stream: actix_tls::accept::rustls_0_23::TlsStream<MovableTcp>| async move {
                                let peer = stream.get_ref().0.peer_addr();
                                Ok::<_, ()>((stream, peer))
                            })
                            .and_then(http)
                    })?
                }
            };
        }
        stop::run(&engine, builder.run(), stop).await
    }
}

fn listen(addrs: impl ToSocketAddrs) -> io::Result<Vec<TcpListener>> {
    let mut listeners = vec![];
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
    for addr in addrs.to_socket_addrs()? {
        match listen_on(addr) {
            Ok(listener) => listeners.push(listener),
            Err(error) => failed = error,
        }
    }
    if listeners.is_empty() { Err(failed) } else { Ok(listeners) }
}

fn listen_on(addr: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG as i32)?;
    Ok(socket.into())
}
