//! One connection, and how it is opened.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// The bytes of a segment to a slow client. On loopback they would be 65,483, and the kernel would buffer megabytes for each connection.
const NARROW_SEGMENT: u32 = 1_448;

/// The receive buffer of a slow client.
const NARROW_WINDOW: usize = 16 << 10;

/// The ends of a connection.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) server: SocketAddrV4,
    pub(super) source: Option<Ipv4Addr>,
    /// True if the kernel buffers no more than on a network, and little of it.
    pub(super) is_narrow: bool,
}

/// The way of a connection towards its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The TCP or WebSocket handshake is not complete.
    Upgrading,
    /// The Engine.IO session or the namespace is not open yet.
    Joining,
    Ready,
    Closed,
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Connection {
    /// Nothing once the connection is closed.
    pub(super) stream: Option<TcpStream>,
    pub(super) state: State,
    pub(super) is_http: bool,
    /// True for a slow client, which reads nothing.
    pub(super) is_muted: bool,
    /// The beginning of a message whose end has not arrived.
    pub(super) input: Vec<u8>,
    /// The bytes that the kernel has not taken.
    pub(super) output: Vec<u8>,
    /// True while the connection is in the list of those to be written.
    pub(super) is_listed: bool,
}

impl Connection {
    /// Starts to connect. The bytes of `output` leave first.
    pub(super) fn start(route: &Route, is_http: bool, output: Vec<u8>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if let Some(source) = route.source {
            socket.bind(&SocketAddrV4::new(source, 0).into())?;
        }
        if route.is_narrow {
            socket.set_tcp_mss(NARROW_SEGMENT)?;
            socket.set_recv_buffer_size(NARROW_WINDOW)?;
        }
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&route.server.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
            _ => {}
        }
        let state = if is_http { State::Ready } else { State::Upgrading };
        let stream = Some(TcpStream::from_std(socket.into()));
        Ok(Self { stream, state, is_http, is_muted: false, input: vec![], output, is_listed: false })
    }

    /// Writes as much as the kernel takes.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut written = 0;
        while written < self.output.len() {
            match stream.write(&self.output[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                // Before the handshake is complete a socket is not connected.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..written);
        Ok(())
    }
}
