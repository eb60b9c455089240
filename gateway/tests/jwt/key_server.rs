//! A server of keys, by raw HTTP, so that it can break every rule.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;

/// The behaviour of the server towards a request.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Answers with these keys.
    Keys(String),
    /// Answers with this status line and these headers.
    Status(&'static str),
    /// Sends bytes without an end.
    Huge,
    /// Keeps the connection, and answers nothing.
    Silent,
    /// Closes the connection in the middle of the answer.
    Broken,
}

/// A server of keys.
pub(crate) struct KeyServer {
    pub(crate) addr: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<AtomicU64>,
}

impl KeyServer {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { addr: listener.local_addr().unwrap(), behaviour: Arc::new(Mutex::new(behaviour)), requests: Arc::default() };
        let (behaviour, requests) = (Arc::clone(&server.behaviour), Arc::clone(&server.requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behaviour, requests) = (behaviour.lock().clone(), Arc::clone(&requests));
                thread::spawn(move || drop(answer(stream, &behaviour, &requests)));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json?key=value", self.addr)
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, behaviour: &Behaviour, requests: &AtomicU64) -> std::io::Result<()> {
    let mut head = vec![];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"GET /jwks.json?key=value HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    requests.fetch_add(1, Ordering::SeqCst);
    match behaviour {
        Behaviour::Keys(keys) => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len()),
        Behaviour::Status(head) => write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Huge => {
            write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "1000\r\n{}\r\n", "x".repeat(0x1000))?;
            }
        }
        Behaviour::Silent => stream.read_exact(&mut byte),
        Behaviour::Broken => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{{\"keys\":"),
    }
}
