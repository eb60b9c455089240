//! HTTP/1.1 as bytes, and whatever else a hostile client writes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::websocket::{Io, upgrade_request};
use crate::within;

/// A response, all of it.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header. A header that comes more than once is a fault unless it is asked for by [`all`](Self::all).
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| &**value).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Status and body, for comparisons.
    pub fn brief(&self) -> (u16, &str) {
        (self.status, self.text())
    }
}

/// A connection on which one request follows the other.
pub struct Connection {
    stream: Box<dyn Io>,
    read: Vec<u8>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(Box::new(stream))
    }

    /// Opens a connection for which the system holds few bytes that are not read yet.
    pub async fn open_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        Self::over(Box::new(socket.connect(addr).await.unwrap()))
    }

    pub fn over(stream: Box<dyn Io>) -> Self {
        Self { stream, read: vec![] }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends bytes. Fails when the other side has reset the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Reads up to these bytes, or to the end of the connection. Fails on a reset.
    pub async fn try_read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|part| part == end) {
                return Ok(self.read.drain(..at + end.len()).collect());
            }
            self.read.reserve(4 * 1024);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(std::mem::take(&mut self.read));
            }
        }
    }

    /// Sends a request; a body is announced by its length.
    pub async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.send(format!("{request}\r\n{body}")).await;
    }

    /// The next response. `None` if the connection ends instead.
    pub async fn response(&mut self) -> Option<Response> {
        within("a response", self.read_response(false)).await
    }

    /// The next response, to a HEAD request: it has no body.
    pub async fn response_to_head(&mut self) -> Option<Response> {
        within("a response", self.read_response(true)).await
    }

    async fn read_response(&mut self, bodiless: bool) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.more().await {
                return None;
            }
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status, headers, body: vec![] };
        if bodiless || matches!(status, 101 | 204 | 304) {
            return Some(response);
        }
        match response.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => {
                while self.read.len() < length {
                    assert!(self.more().await, "the connection ends within a body");
                }
                response.body = self.read.drain(..length).collect();
            }
            None => {
                assert_eq!(response.header("transfer-encoding"), None, "no response of the engine is sent in chunks");
                while self.more().await {}
                response.body = std::mem::take(&mut self.read);
            }
        }
        Some(response)
    }

    /// Reads some more. Returns false at the end.
    async fn more(&mut self) -> bool {
        self.read.reserve(4 * 1024);
        self.stream.read_buf(&mut self.read).await.is_ok_and(|length| length > 0)
    }

    /// Waits for the end, and returns the bytes before it.
    pub async fn rest(mut self) -> Vec<u8> {
        within("the end of the connection", async { while self.more().await {} }).await;
        self.read
    }

    /// The stream, and what was read from it.
    pub fn into_parts(self) -> (Box<dyn Io>, Vec<u8>) {
        (self.stream, self.read)
    }
}

/// Sends one request on a connection of its own, so that the next worker gets it.
pub async fn request(addr: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut connection = Connection::open(addr).await;
    connection.ask(method, target, headers, body).await;
    let response = if method == "HEAD" { connection.response_to_head().await } else { connection.response().await };
    response.unwrap_or_else(|| panic!("no response to {method} {target}"))
}

/// Asks for a WebSocket on a connection of its own. Returns the response, which may be a refusal.
pub async fn upgrade(addr: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut connection = Connection::open(addr).await;
    connection.send(upgrade_request(target, headers)).await;
    connection.response().await.unwrap_or_else(|| panic!("no response to an upgrade at {target}"))
}

pub async fn get(addr: SocketAddr, target: &str) -> Response {
    request(addr, "GET", target, &[], "").await
}

pub async fn post(addr: SocketAddr, target: &str, body: &str) -> Response {
    request(addr, "POST", target, &[("Content-Type", "text/plain;charset=UTF-8")], body).await
}
