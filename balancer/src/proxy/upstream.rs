//! A connection to the node that a request is for.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::route::target::Route;
use crate::table::{LoadGuard, Node};
use crate::tcp;
use crate::worker::Worker;

/// The number of other nodes that are tried for a request without an owner.
const RETRIES: usize = 2;
/// The errors of a process or machine that has no room for another connection. They say nothing of the node.
const OURS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];

/// A connection to a node, which is counted as busy.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) node: Arc<Node>,
    pub(crate) stream: TcpStream,
    pub(crate) counted: LoadGuard,
}

impl Worker {
    /// Connects to the node that a request is for. Only a request that no node owns is tried at another, and only as long as nothing was sent.
    pub(crate) async fn connect_upstream(&self, request: &Request) -> Result<Upstream, Refusal> {
        let mut node = self.state.assign(request)?;
        self.retries.earn();
        let mut tried = vec![];
        loop {
            let counted = node.load.count_request();
            match self.connect_node(&node).await {
                Some(stream) => return Ok(Upstream { node, stream, counted }),
                None if matches!(request.route, Route::Session(_)) => return Err(Refusal::Unreachable),
                None if tried.len() == RETRIES || !self.may_retry() => return Err(Refusal::NoNode),
                None => {}
            }
            tried.push(node);
            node = self.state.choose_node(request, &tried).ok_or(Refusal::NoNode)?;
            if request.route == Route::Handshake {
                node.load.count_placement();
            }
            self.state.metrics.retries.inc();
        }
    }

    async fn connect_node(&self, node: &Node) -> Option<TcpStream> {
        if let Some(stream) = self.pool.checkout(node.address) {
            return Some(stream);
        }
        let metrics = &self.state.metrics;
        metrics.upstream_connects.inc();
        let limit = self.state.options().connect_timeout;
        let error = match timeout(limit, connect(node.address)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error,
            Err(_) => std::io::ErrorKind::TimedOut.into(),
        };
        metrics.upstream_connect_failures.inc();
        tracing::debug!(target: "sociable::balancer", node = node.name, address = %node.address, %error, "connecting to a node failed");
        if Errno::from_io_error(&error).is_some_and(|errno| OURS.contains(&errno)) {
            tracing::warn!(target: "sociable::balancer", %error, "no local resources for a connection to a node");
        } else {
            self.state.reports.connect_failed(node.tag);
        }
        None
    }

    fn may_retry(&self) -> bool {
        let may = self.retries.spend();
        if !may {
            self.state.metrics.retries_refused.inc();
        }
        may
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tcp::prepare(socket2::SockRef::from(&stream))?;
    Ok(stream)
}
