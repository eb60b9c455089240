//! A node that answers as the path says, and remembers what reached it byte for byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::node::health;

/// Lives as long as the process: its threads end with their connections.
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    gone: usize,
    released: bool,
    taken: usize,
}

impl Script {
    pub(crate) fn start(tag: &'static str) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), tag)
    }

    pub(crate) fn at(address: SocketAddr, tag: &'static str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Seen::default())));
        let remembers = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&remembers);
                std::thread::spawn(move || serve(stream, tag, &seen));
            }
        });
        Self { address, seen }
    }

    /// Returns the requests, without probes.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// Returns the number of connections that ended while the node was silent, or would not end itself.
    pub(crate) fn gone(&self) -> usize {
        self.seen.lock().unwrap().gone
    }

    /// Has it answer what was asked for by `/held`, all of it.
    pub(crate) fn release(&self) {
        self.seen.lock().unwrap().released = true;
    }

    /// Returns the number of bytes that the other side accepted.
    pub(crate) fn taken(&self) -> usize {
        self.seen.lock().unwrap().taken
    }
}

/// Serves one connection.
fn serve(mut stream: TcpStream, tag: &str, seen: &Mutex<Seen>) {
    let mut read = vec![];
    while let Some(head) = take_until(&mut stream, &mut read, b"\r\n\r\n") {
        let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        if path == "/healthz" {
            let _ = stream.write_all(health(tag, "").as_bytes());
            continue;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
        let body = match path.as_str() {
            "/early" => String::new(),
            _ if head.contains("transfer-encoding: chunked") => take_until(&mut stream, &mut read, b"0\r\n\r\n").unwrap_or_default(),
            _ => take(&mut stream, &mut read, length).unwrap_or_default(),
        };
        seen.lock().unwrap().requests.push(format!("{head}{body}"));
        let answer: &[u8] = match path.as_str() {
            "/broken" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            "/extra" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen",
            "/both" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "/chunks" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "/broken-chunks" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nd",
            "/until-close" => b"HTTP/1.1 200 OK\r\n\r\nabcde",
            "/switch" => b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
            "/interim" => b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "/ws-no" => b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
            "/ws-wrong" => b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n",
            "/ws" | "/ws-pours" | "/ws-answers" | "/ws-talks" | "/ws-ends" => b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "/large" => {
                // More than all buffers between here and a client that does not read.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n");
                pour(&mut stream, seen, 64 << 20);
                seen.lock().unwrap().gone += 1;
                return;
            }
            "/pattern" => {
                let length = head.split_once("?bytes=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap();
                let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes());
                let _ = stream.write_all(&pattern(length));
                continue;
            }
            // The session is unknown to this node.
            "/stranger/" => b"HTTP/1.1 400 Bad Request\r\ncontent-length: 41\r\n\r\n{\"code\":1,\"message\":\"Session ID unknown\"}",
            "/held" => {
                while !seen.lock().unwrap().released {
                    std::thread::sleep(Duration::from_millis(2));
                }
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            }
            "/silent" => {
                let _ = stream.read(&mut [0; 64]);
                seen.lock().unwrap().gone += 1;
                return;
            }
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        if stream.write_all(answer).is_err() || matches!(path.as_str(), "/broken" | "/broken-chunks" | "/until-close" | "/early") {
            return;
        }
        match path.as_str() {
            "/ws" => return echo(stream, read),
            "/ws-pours" => pour(&mut stream, seen, usize::MAX),
            "/ws-answers" => {
                let _ = stream.read(&mut [0; 4096]);
                pour(&mut stream, seen, usize::MAX);
            }
            // The node sends, whatever the other side does.
            "/ws-talks" => {
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            "/ws-ends" => {
                let _ = stream.shutdown(Shutdown::Write);
                while let Ok(1..) = stream.read(&mut [0; 4096]) {}
            }
            _ => continue,
        }
        seen.lock().unwrap().gone += 1;
        return;
    }
}

/// Bytes of which none can be missing, or be in another place, without being missed.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

/// Writes so many bytes, as long as they are taken, and counts them.
fn pour(stream: &mut TcpStream, seen: &Mutex<Seen>, mut left: usize) {
    let piece = [0; 16 * 1024];
    while left > 0 {
        let Ok(taken @ 1..) = stream.write(&piece[..left.min(piece.len())]) else { return };
        left -= taken;
        seen.lock().unwrap().taken += taken;
    }
}

/// Echoes all bytes until the sender ends.
fn echo(mut stream: TcpStream, read: Vec<u8>) {
    let _ = stream.write_all(&read);
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Returns the bytes up to and including these.
fn take_until(stream: &mut TcpStream, read: &mut Vec<u8>, end: &[u8]) -> Option<String> {
    loop {
        if let Some(at) = read.windows(end.len()).position(|window| window == end) {
            return take(stream, read, at + end.len());
        }
        more(stream, read)?;
    }
}

fn take(stream: &mut TcpStream, read: &mut Vec<u8>, length: usize) -> Option<String> {
    while read.len() < length {
        more(stream, read)?;
    }
    Some(read.drain(..length).map(char::from).collect())
}

fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
    read.extend_from_slice(&buffer[..length]);
    Some(())
}
