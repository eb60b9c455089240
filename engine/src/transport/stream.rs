//! The byte streams of WebSockets, and their moves between worker threads.
//!
//! A TCP stream is registered with the reactor of its thread. Before a move it is parked: removed from its reactor. The first use on the new thread
//! registers it there.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_rt::net::{ActixStream, Ready};
#[cfg(feature = "rustls")]
use actix_tls::accept::rustls_0_23::TlsStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

use crate::connections::Held;

/// A TCP stream that can leave its reactor and join another.
#[derive(Debug)]
pub(crate) struct MovableTcp {
    state: State,
    /// The stream's share of the process's connections.
    _held: Held,
}

#[derive(Debug)]
enum State {
    Registered(TcpStream),
    Parked(std::net::TcpStream),
    /// The stream could not be removed from its reactor.
    Lost,
}

impl MovableTcp {
    /// Returns an accepted connection. Nagle's algorithm is off (`TCP_NODELAY`), because each write is a batch already.
    pub(crate) fn new(stream: TcpStream, held: Held) -> Self {
        // A connection that refuses this is slower, and most likely broken: its first read shows it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(target: "sociable::serve", %error, "TCP_NODELAY not set");
        }
        Self { state: State::Registered(stream), _held: held }
    }

    /// Returns the peer's address, if it is connected.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Registered(stream) => stream.peer_addr().ok(),
            _ => None,
        }
    }

    pub(crate) fn park(&mut self) -> io::Result<()> {
        if let State::Registered(stream) = std::mem::replace(&mut self.state, State::Lost) {
            self.state = State::Parked(stream.into_std()?);
        }
        Ok(())
    }

    pub(crate) fn unpark(&mut self) -> io::Result<()> {
        if let State::Parked(stream) = std::mem::replace(&mut self.state, State::Lost) {
            self.state = State::Registered(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    fn registered(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.get_mut().state {
            State::Registered(stream) => Ok(Pin::new(stream)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for MovableTcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.registered()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for MovableTcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.registered()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.registered()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.registered()?.poll_shutdown(cx)
    }
}

impl ActixStream for MovableTcp {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match &self.state {
            State::Registered(stream) => ActixStream::poll_read_ready(stream, cx),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match &self.state {
            State::Registered(stream) => ActixStream::poll_write_ready(stream, cx),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// The stream under a WebSocket.
pub(crate) enum Stream {
    Plain(MovableTcp),
    #[cfg(feature = "rustls")]
    Tls(Box<TlsStream<MovableTcp>>),
    /// A response body of a plain `HttpServer`.
    Bridge(Bridge),
}

impl From<MovableTcp> for Stream {
    fn from(stream: MovableTcp) -> Self {
        Self::Plain(stream)
    }
}

#[cfg(feature = "rustls")]
impl From<TlsStream<MovableTcp>> for Stream {
    fn from(stream: TlsStream<MovableTcp>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Stream {
    /// Prepares the stream for another thread.
    pub(crate) fn park(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.park(),
            #[cfg(feature = "rustls")]
            Self::Tls(stream) => stream.get_mut().0.park(),
            Self::Bridge(_) => Ok(()),
        }
    }

    /// Resumes the stream on this thread.
    pub(crate) fn unpark(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.unpark(),
            #[cfg(feature = "rustls")]
            Self::Tls(stream) => stream.get_mut().0.unpark(),
            Self::Bridge(_) => Ok(()),
        }
    }

    /// Makes the next drop cut the connection, whatever still waits in it.
    pub(crate) fn cut(&mut self) {
        if let Self::Bridge(bridge) = self {
            bridge.cut = true;
        }
    }
}

macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "rustls")]
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Bridge(bridge) => {
                let $stream = Pin::new(&mut bridge.pipe);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }
}

/// The session's end of the pipe to a response body.
#[derive(Debug)]
pub(crate) struct Bridge {
    pipe: DuplexStream,
    /// The connection under the body, if the application's server reported it. Only this can end a body that is not polled.
    connection: Option<ConnectionHandle>,
    cut: bool,
}

impl Bridge {
    pub(crate) fn new(pipe: DuplexStream, connection: Option<ConnectionHandle>) -> Self {
        Self { pipe, connection, cut: false }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.as_ref().filter(|_| self.cut) {
            connection.cut();
        }
    }
}

/// A second handle to a connection, which can cut it off when the server above is stuck.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionHandle(Arc<socket2::Socket>);

impl ConnectionHandle {
    pub(crate) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(Arc::new(SockRef::from(stream).try_clone()?)))
    }

    fn cut(&self) {
        // An error means that it is closed already.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}
