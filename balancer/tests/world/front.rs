//! A balancer before one node, connections to it byte by byte, and what it counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::ServerConfig;
use sociable_balancer_core::{Admin, Balancer, Discovery, DiscoveryConfig, Handle, Options};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::runtime::Runtime;

use super::{PATIENCE, Script, eventually};

/// The tag of the node.
pub(crate) const TAG: &str = "HoSt";
/// The header fields of a WebSocket request, without the version.
pub(crate) const KEY: &str = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// The smallest buffer that the system gives a socket.
const NARROW: usize = 4096;

/// A balancer before one node.
pub(crate) struct World {
    pub(crate) node: Script,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    _discovery: Arc<Discovery>,
    _balancer: Handle,
    _runtime: Runtime,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::behind(listener("127.0.0.1:0"), None, false, options)
    }

    /// Starts a balancer at this listener. The node and the administration have the same address.
    pub(crate) fn behind(listener: TcpListener, tls: Option<Arc<ServerConfig>>, proxied: bool, options: Options) -> Self {
        let mut any = listener.local_addr().unwrap();
        any.set_port(0);
        let node = Script::at(any, TAG);
        let discovery =
            Arc::new(Discovery::start(DiscoveryConfig { nodes: vec![node.address.into()], ..DiscoveryConfig::default() }).unwrap());
        eventually("the node is found", || discovery.tables().load().ready().len() == 1);
        let balancer = Balancer::new(options, discovery.tables(), discovery.reports()).unwrap().workers(1);
        let balancer = balancer.listen(listener, tls, proxied).start().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let operator = Admin::bind(any).unwrap();
        let admin = operator.listener().local_addr().unwrap();
        let entered = runtime.enter();
        runtime.spawn(operator.serve(&balancer, Arc::clone(&discovery), None).unwrap());
        drop(entered);
        Self { node, address: balancer.addrs()[0], admin, _discovery: discovery, _balancer: balancer, _runtime: runtime }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Connects with a tiny receive buffer.
    pub(crate) fn connect_narrow(&self) -> TcpStream {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(NARROW).unwrap();
        socket.connect(&self.address.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.into()
    }

    /// A WebSocket by this path.
    pub(crate) fn upgrade(&self, mut stream: TcpStream, path: &str) -> TcpStream {
        stream.write_all(websocket(path).as_bytes()).unwrap();
        assert!(until(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
        stream
    }

    /// Sends these bytes, and returns all bytes until the connection ends.
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // A refused client may be closed while it writes.
        let _ = stream.write_all(bytes.as_ref());
        until_end(&mut stream)
    }

    /// Another client is served, and gets its own.
    #[track_caller]
    pub(crate) fn serves_others(&self) {
        let answer = self.send("GET /fine HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }

    /// Returns the value of this series, named without the common prefix.
    #[track_caller]
    pub(crate) fn count(&self, series: &str) -> u64 {
        count(self.admin, series)
    }
}

/// A socket for a balancer to listen on.
pub(crate) fn listener(address: &str) -> TcpListener {
    Balancer::listener(address.parse().unwrap()).unwrap()
}

/// Returns a listener whose connections have tiny buffers. On the side of the client that is up to the client.
pub(crate) fn narrow_listener() -> TcpListener {
    let listener = listener("127.0.0.1:0");
    SockRef::from(&listener).set_send_buffer_size(NARROW).unwrap();
    listener
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A request for a WebSocket.
pub(crate) fn websocket(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{KEY}\r\n")
}

/// Returns the value of a series from an administration's address.
#[track_caller]
pub(crate) fn count(admin: SocketAddr, series: &str) -> u64 {
    let mut stream = connect(admin);
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let text = until_end(&mut stream);
    let name = format!("sociable_balancer_{series} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

#[track_caller]
pub(crate) fn until_end(stream: &mut impl Read) -> String {
    let mut answer = vec![];
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection stays open: {error}; so far {}", answer.escape_ascii()),
        }
    }
    answer.into_iter().map(char::from).collect()
}

#[track_caller]
pub(crate) fn until(stream: &mut impl Read, end: &str) -> String {
    let (mut answer, mut byte) = (String::new(), [0]);
    while !answer.ends_with(end) {
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {answer}"));
        answer.push(char::from(byte[0]));
    }
    answer
}
