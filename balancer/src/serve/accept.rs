//! Accepting connections, and dealing them to the workers.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use crate::http::refusal::Refusal;
use crate::proxy::permit::Permit;
use crate::state::BalancerState;

/// The pause after the system had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A source of connections.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// True if each connection starts with a header of the PROXY protocol.
    pub(crate) proxied: bool,
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) proxied: bool,
    pub(crate) permit: Permit,
}

/// Accepts for ever, and deals each connection to the next worker.
pub(crate) async fn accept(source: Source, state: Arc<BalancerState>, workers: Vec<Sender<Accepted>>) -> io::Result<()> {
    let Source { listener, tls, proxied } = source;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let metrics = &state.metrics;
    for worker in workers.iter().cycle() {
        while let Err(wait) = state.accepts.load().acquire(Instant::now()) {
            metrics.accept_pauses.inc();
            sleep(wait).await;
        }
        // Taken before a connection is accepted: those for which there is no descriptor wait in the system's queue.
        let held = state.descriptors.hold_when_it_fits().await;
        let (stream, peer) = loop {
            // The connection leaves the runtime of this thread for that of its worker.
            match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok(accepted) => break accepted,
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    metrics.accept_errors.inc();
                    tracing::warn!(target: "sociable::balancer", %error, "accepting a connection failed");
                    sleep(PAUSE).await;
                }
            }
        };
        metrics.connections_accepted.inc();
        let permit = match Permit::for_connection(&state, held, peer.ip()) {
            Ok(permit) => permit,
            Err(refusal) => {
                match refusal {
                    Refusal::Overloaded => drop(metrics.connections_shed.inc()),
                    refusal => metrics.refused(refusal),
                }
                if tls.is_none() {
                    refuse_overload(&stream, refusal, state.retry_after());
                }
                continue;
            }
        };
        // A worker with too many unserved connections blocks this task. Clients then wait in the system's queue.
        let accepted = Accepted { stream, peer, tls: tls.clone(), proxied, permit };
        if worker.send(accepted).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Returns true for an error of one connection alone.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

/// Answers an excess client. The write is tried once: a client that can't take the answer at once gets none.
fn refuse_overload(mut stream: &TcpStream, refusal: Refusal, retry_after: u32) {
    let mut answer = vec![];
    refusal.write(false, true, retry_after, &mut answer);
    let _ = stream.write(&answer);
}
