//! A server that hands WebSockets over as raw streams, beside the user's own `App`.
//!
//! actix-web keeps a connection's dispatcher and buffers for as long as a WebSocket lives. This server takes the stream away from it. So an idle
//! WebSocket costs a task of a few hundred bytes, and writes go straight to the socket. A slow client can be cut off.

mod admission;
mod app_config;
mod incoming;
mod lane;
pub(crate) mod line;
mod linger;
mod loan;
mod measure;
mod response;
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
use self::incoming::Ways;
use self::linger::Linger;
use self::stop::Stop;
use crate::connections::backlog;
use crate::state::EngineState;
use crate::transport::stream::MovableTcp;

const BACKLOG: usize = 4096;

/// A server for an [`Engine`](crate::Engine) and the `App` beside it.
///
/// The `App` has to contain the engine's service. All requests go through the `App` and its middleware, WebSockets included. Headers that a
/// middleware adds reach the client. A middleware that answers by itself prevents the WebSocket.
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
    direct: bool,
    stop: Stop,
}

/// The encryption of the connections of a listener.
enum Security {
    Plain,
    #[cfg(feature = "rustls")]
    Tls(Box<ServerConfig>),
}

impl<F> fmt::Debug for Serve<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("addrs", &self.addrs()).finish_non_exhaustive()
    }
}

impl<F> Serve<F> {
    pub(crate) fn new(engine: Arc<EngineState>, app: F) -> Self {
        let stop = Stop { drain: Duration::ZERO, timeout: Duration::from_secs(10), signals: true };
        Self { engine, app, listeners: vec![], workers: None, max_connections: usize::MAX, linger: Linger::default(), direct: false, stop }
    }

    /// Sets the number of worker threads: as many as the machine has cores by default.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }

    /// Sets the limit of connections. Further connections are answered by 503 and closed.
    ///
    /// The default is the limit on open files (`RLIMIT_NOFILE`), less a reserve of a twentieth, and at least 96. The last sixteenth is reserved for
    /// existing sessions: no new ones are accepted.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Sets the bounds of a connection that ends while its client is sending: 10 s and 16 MiB by default.
    ///
    /// Input within the bounds is read and dropped. Without this, the connection would be reset, and the client could lose its answer, such as 413. A
    /// connection cut off at a bound is counted (`lingers_cut`).
    pub fn linger(mut self, time: Duration, bytes: usize) -> Self {
        self.linger = Linger { time, bytes };
        self
    }

    /// Answers the requests of open polling sessions without the `App`: no by default.
    ///
    /// Such a request then costs about half. The `App` and its middleware see the handshake of each session and all other requests, but no polls and no
    /// packets. Do not set this if a middleware has to see them, to log or to limit them for example.
    ///
    /// The option has no effect with [`engine_middleware`](crate::EngineBuilder::engine_middleware),
    /// [`allow_origins`](crate::EngineBuilder::allow_origins), [`on_headers`](crate::EngineBuilder::on_headers), or a ping interval over 75 s.
    pub fn direct_polls(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// Sets the deadline of a stop: 10 s by default. Then the remaining connections are cut off.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.stop.timeout = timeout;
        self
    }

    /// Sets the time over which a stop closes sessions in batches. By default all are closed at once.
    ///
    /// See [`Engine::drain`](crate::Engine::drain). A second signal ends the drain, and cuts off the rest within two seconds.
    pub fn drain(mut self, time: Duration) -> Self {
        self.stop.drain = time;
        self
    }

    /// Leaves SIGINT and SIGTERM to the application, which stops the server by dropping the future of [`run`](Self::run).
    pub fn disable_signals(mut self) -> Self {
        self.stop.signals = false;
        self
    }

    /// Listens on these addresses.
    ///
    /// # Errors
    ///
    /// No address is available.
    pub fn bind(mut self, addrs: impl ToSocketAddrs) -> io::Result<Self> {
        for listener in listen(addrs)? {
            self.listeners.push((listener, Security::Plain));
        }
        Ok(self)
    }

    /// Listens on these addresses with TLS, with the feature `rustls`.
    ///
    /// # Errors
    ///
    /// No address is available.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn bind_rustls(mut self, addrs: impl ToSocketAddrs, config: ServerConfig) -> io::Result<Self> {
        for listener in listen(addrs)? {
            self.listeners.push((listener, Security::Tls(Box::new(config.clone()))));
        }
        Ok(self)
    }

    /// Serves on a socket that is listening already.
    ///
    /// # Errors
    ///
    /// The socket cannot be made non-blocking.
    pub fn listen(mut self, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        self.listeners.push((listener, Security::Plain));
        Ok(self)
    }

    /// Returns the addresses that the server listens on. A port of 0 is replaced by the assigned one.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// Serves until SIGINT or SIGTERM.
    ///
    /// Then every client gets a clean close, at once or during the [`drain`](Self::drain). Connections that remain after the shutdown timeout are cut
    /// off.
    ///
    /// # Errors
    ///
    /// A worker cannot be started.
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
        let Self { engine, app, listeners, workers, max_connections, linger, direct, stop } = self;
        let ways = Ways { linger, direct: direct && incoming::may_pass_by(&engine) };
        let limit = engine.connections.limit_to(max_connections);
        // Accepted but unserved connections have to fit into the reserve.
        let backlog = backlog(limit).min(BACKLOG);
        // actix-server does not track the connections that were handed over. Its own stop would cut them off, or wait for nothing.
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
                    let http = incoming::service(&engine, &app, addr, false, ways);
                    let engine = Arc::clone(&engine);
                    fn_service(move |stream: TcpStream| admit(Arc::clone(&engine), stream, true))
                        .and_then(|stream: MovableTcp| async move {
                            let peer = stream.peer_addr();
                            Ok::<_, ()>((stream, peer))
                        })
                        .and_then(http)
                })?,
                #[cfg(feature = "rustls")]
                Security::Tls(tls) => {
                    let mut tls = *tls;
                    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                    builder.listen("sociable-tls", listener, move || {
                        let http = incoming::service(&engine, &app, addr, true, ways);
                        let engine = Arc::clone(&engine);
                        // The finisher of actix-http would wrap a stream that cannot leave its thread.
                        fn_service(move |stream: TcpStream| admit(Arc::clone(&engine), stream, false))
                            .and_then(Acceptor::new(ServerConfig::clone(&tls)).map_err(|_| ()).map_init_err(|_| ()))
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
