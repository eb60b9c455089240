//! Something that answers probes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Answers every request with the same bytes, on a thread of its own.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Returns a whole answer with this tag, and more fields of JSON.
pub(crate) fn health(tag: &str, more: &str) -> String {
    let body = format!(r#"{{"tag":"{tag}"{more}}}"#);
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

impl Node {
    pub(crate) fn start(answer: impl Into<Vec<u8>>) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), answer)
    }

    pub(crate) fn at(address: SocketAddr, answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, asked, ends) = (Arc::new(Mutex::new(answer.into())), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (says, counts, is_over) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (mut head, mut buffer) = (vec![], [0; 1024]);
                while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
                        _ => break,
                    }
                }
                counts.fetch_add(1, Ordering::SeqCst);
                // The client may have closed its connection.
                let _ = stream.write_all(&says.lock().unwrap().clone());
            }
        });
        Self { address, answer, asked, ends, thread: Some(thread) }
    }

    /// Says something else from now on.
    pub(crate) fn says(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer.into();
    }

    /// Returns the number of requests.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes it.
        drop(std::net::TcpStream::connect(self.address));
        self.thread.take().map(JoinHandle::join);
    }
}
