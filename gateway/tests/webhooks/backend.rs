//! Backends: an HTTP server that notes its requests, and raw TCP.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use futures_util::future::{FutureExt, LocalBoxFuture};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

/// The longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A request to a backend.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Returns the type without its prefix; empty for a batch.
    pub(crate) fn kind(&self) -> &str {
        self.header("ce-type").strip_prefix("io.sociable.").unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the name of the event.
    pub(crate) fn event(&self) -> String {
        self.json()["event"].as_str().unwrap_or_default().to_owned()
    }
}

/// The answer of a backend.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Returns an answer with the status 204.
pub(crate) fn nothing() -> Answer {
    status(204)
}

pub(crate) fn status(status: u16) -> Answer {
    Answer { status, body: String::new(), headers: vec![] }
}

/// Returns an answer with JSON.
pub(crate) fn json(value: &Value) -> Answer {
    Answer { status: 200, body: value.to_string(), headers: vec![] }
}

type Handle = Arc<dyn Fn(Request) -> LocalBoxFuture<'static, Answer> + Send + Sync>;

struct State {
    handle: Handle,
    seen: Mutex<Vec<Request>>,
    changed: Notify,
    running: AtomicUsize,
    most: AtomicUsize,
}

/// An HTTP server that notes its requests. Dropping this stops it.
pub(crate) struct Backend {
    addr: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Backend {
    pub(crate) fn start<F, Fut>(handle: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), handle)
    }

    /// Starts a backend that answers each request with nothing.
    pub(crate) fn quiet() -> Self {
        Self::start(async |_| nothing())
    }

    pub(crate) fn start_at<F, Fut>(addr: SocketAddr, handle: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + 'static,
    {
        let handle: Handle = Arc::new(move |request| handle(request).boxed_local());
        let state = Arc::new(State {
            handle,
            seen: Mutex::default(),
            changed: Notify::new(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let (bound, addr_of) = std::sync::mpsc::channel();
        let shared = Data::from(Arc::clone(&state));
        let thread = thread::spawn(move || {
            rt::System::new().block_on(async move {
                let app =
                    move || App::new().app_data(shared.clone()).app_data(web::PayloadConfig::new(64 << 20)).default_service(web::to(serve));
                let server = HttpServer::new(app).workers(1).disable_signals().bind(addr).unwrap();
                bound.send(server.addrs()[0]).unwrap();
                let server = server.run();
                let handle = server.handle();
                rt::spawn(async move {
                    let _ = stopped.await;
                    handle.stop(false).await;
                });
                server.await.unwrap();
            });
        });
        Self { addr: addr_of.recv().unwrap(), state, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.addr)
    }

    /// Stops the backend: its port refuses connections afterwards.
    pub(crate) fn stop(mut self) -> SocketAddr {
        self.end();
        self.addr
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.state.seen.lock().clone()
    }

    /// Returns the most requests that were handled at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.most.load(Ordering::Relaxed)
    }

    /// Waits until the requests satisfy a condition, and returns them.
    pub(crate) async fn wait(&self, what: &str, done: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let waiting = async {
            loop {
                let changed = self.state.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if done(&self.state.seen.lock()) {
                    return self.seen();
                }
                changed.await;
            }
        };
        let kinds = || self.seen().iter().map(|request| request.kind().to_owned()).collect::<Vec<_>>();
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no {what}: {:?}", kinds()))
    }

    pub(crate) async fn wait_for(&self, number: usize) -> Vec<Request> {
        self.wait(&format!("{number} requests"), |seen| seen.len() >= number).await
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let headers = request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned())).collect();
    let request = Request { headers, body: body.to_vec() };
    state.seen.lock().push(request.clone());
    state.changed.notify_waiters();
    let running = state.running.fetch_add(1, Ordering::Relaxed) + 1;
    state.most.fetch_max(running, Ordering::Relaxed);
    let answer = (state.handle)(request).await;
    state.running.fetch_sub(1, Ordering::Relaxed);
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap());
    for (name, value) in answer.headers {
        response.insert_header((name, value));
    }
    response.body(answer.body)
}

/// A TCP server that treats each connection in its own way. It runs until the end of the tests.
pub(crate) fn raw(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle(stream));
        }
    });
    url
}

/// Reads the head of a request, and what came with it.
pub(crate) fn read_request(stream: &mut TcpStream) {
    let mut buffer = [0; 16 * 1024];
    let _ = stream.read(&mut buffer);
}

/// Writes as much as the peer takes. Returns the number of bytes.
pub(crate) fn write_all(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => written += more,
        }
    }
    written
}
