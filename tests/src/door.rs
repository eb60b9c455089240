//! An HTTP server with one answer, as balancers probe it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A server that gives each request the same answer until it is dropped.
#[derive(Debug)]
pub struct Door {
    pub address: SocketAddr,
    answered: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Door {
    pub async fn open(body: &str) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), body)
    }

    /// Answers what has come to a listener, and what will.
    pub fn at(listener: TcpListener, body: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let answered = Arc::<AtomicU64>::default();
        let count = Arc::clone(&answered);
        let serve = async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                // The prober may have disconnected. A probe's request comes in one piece.
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        Self { address, answered, task: tokio::spawn(serve).abort_handle() }
    }

    /// The number of requests that it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Gives no answer from now on.
    pub fn shut(&self) {
        self.task.abort();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
    }
}
