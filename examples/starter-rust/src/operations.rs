//! The routes for load balancers and operators.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use actix_web::dev::Server as HttpService;
use actix_web::web::{self, Data, Json, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer};
use sociable::{Health, MetricsFormat, Server};

/// The time that a probe waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most connections of operators.
const MAX_CONNECTIONS: usize = 32;

/// The node, as operators see it.
#[derive(Clone)]
pub struct Operations(Data<Node>);

struct Node {
    name: String,
    io: Server,
}

impl Operations {
    pub(crate) fn new(name: &str, io: &Server) -> Self {
        Self(Data::new(Node { name: name.to_owned(), io: io.clone() }))
    }

    /// Adds `/healthz`, which balancers poll, and `/readyz`.
    pub(crate) fn add_health(&self, app: &mut ServiceConfig) {
        app.app_data(self.0.clone()).route("/healthz", web::get().to(health)).route("/readyz", web::get().to(readiness));
    }

    /// Returns the server of the operators, which listens on an address of its own.
    ///
    /// # Errors
    ///
    /// The address is in use, or not of this machine.
    pub fn serve(&self, address: SocketAddr) -> io::Result<HttpService> {
        let operations = self.clone();
        let app = move || App::new().configure(|app| operations.add_health(app)).route("/metrics", web::get().to(metrics));
        Ok(HttpServer::new(app).workers(1).max_connections(MAX_CONNECTIONS).disable_signals().bind(address)?.run())
    }
}

async fn health(node: Data<Node>) -> Json<Health> {
    Json(Health { name: node.name.clone(), ..node.io.health() })
}

/// A node that drains or is cut off serves its own clients, and gets no new ones.
async fn readiness(node: Data<Node>) -> HttpResponse {
    match node.io.health() {
        Health { draining: true, .. } => HttpResponse::ServiceUnavailable().body("the node is draining"),
        Health { cut_off: true, .. } => HttpResponse::ServiceUnavailable().body("the node is cut off from the cluster"),
        Health { store_refuses: true, .. } => HttpResponse::ServiceUnavailable().body("JetStream refuses to store events"),
        _ => HttpResponse::Ok().body("ready"),
    }
}

async fn metrics(node: Data<Node>) -> HttpResponse {
    let format = MetricsFormat::negotiate(None);
    HttpResponse::Ok().content_type(format.content_type()).body(format.render(node.io.metrics().await))
}

/// Returns whether the process at this address is healthy: the health check of the image.
///
/// # Errors
///
/// No process answers within three seconds.
pub fn probe(host: &str, port: u16) -> io::Result<bool> {
    let host = if host == "0.0.0.0" { "127.0.0.1" } else { host };
    let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut status = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
