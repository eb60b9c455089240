//! One connection, and how it is opened.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::Address;

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
    pub(super) stream: TcpStream,
    pub(super) state: State,
    pub(super) is_http: bool,
    /// The beginning of a message whose end has not arrived.
    pub(super) input: Vec<u8>,
    /// The bytes that the kernel has not taken.
    pub(super) output: Vec<u8>,
    /// True while the connection is in the list of those to be written.
    pub(super) is_listed: bool,
}

impl Connection {
    /// Starts to connect. The bytes of `output` leave first.
    pub(super) fn start(server: &Address, source: Option<Ipv4Addr>, is_http: bool, output: Vec<u8>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddrV4::new(source, 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&server.socket().into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
            _ => {}
        }
        let state = if is_http { State::Ready } else { State::Upgrading };
        Ok(Self { stream: TcpStream::from_std(socket.into()), state, is_http, input: vec![], output, is_listed: false })
    }

    /// Writes as much as the kernel takes.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.output.len() {
            match self.stream.write(&self.output[written..]) {
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
