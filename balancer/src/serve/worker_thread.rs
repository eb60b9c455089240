//! The life of a worker: it takes connections, checks them once a second, and ends after a drain.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::client::proxy_protocol::{self, MAX_HEADER};
use crate::proxy::connection::Connection;
use crate::proxy::h2;
use crate::proxy::stream::Stream;
use crate::serve::accept::Accepted;
use crate::state::BalancerState;
use crate::worker::Worker;
use crate::worker::deadlines::Pace;

/// The number of tasks that run between two polls of the system. Under load many are ready at once, and to ask in
/// between costs more than it brings: they are short.
const EVENT_INTERVAL: u32 = 512;
/// The interval at which a partial header is read again. Nearly all headers come at once.
const LOOK: Duration = Duration::from_millis(20);

/// The order to drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainOrder {
    /// The time of the drain.
    pub(crate) time: Duration,
    pub(crate) pace: Pace,
}

/// Starts a worker. The worker ends with its drain, or with its last connection after all senders are dropped.
pub(crate) fn start(
    index: usize,
    state: Arc<BalancerState>,
    accepted: mpsc::Receiver<Accepted>,
    drain: watch::Receiver<Option<DrainOrder>>,
) -> io::Result<JoinHandle<()>> {
    let (begun, begins) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(format!("balancer-{index}")).spawn(move || {
        // The runtime never leaves its thread, so it is made here.
        let runtime = Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build_local(LocalOptions::default());
        let started = runtime.as_ref().map(|_| ()).map_err(|error| io::Error::from(error.kind()));
        let _ = begun.send(started);
        if let Ok(runtime) = runtime {
            runtime.block_on(run(Worker::new(state), accepted, drain));
        }
    })?;
    begins.recv().map_err(io::Error::other)??;
    Ok(thread)
}

async fn run(worker: Rc<Worker>, mut accepted: mpsc::Receiver<Accepted>, mut drain: watch::Receiver<Option<DrainOrder>>) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // A worker that must end at once may still have waiting connections.
    let (mut accepts, mut changes, mut ends) = (true, true, None);
    loop {
        tokio::select! {
            next = accepted.recv(), if accepts => match next {
                Some(accepted) => drop(spawn_local(handshake(Handshaking::new(&worker), accepted))),
                None => accepts = false,
            },
            _ = second.tick() => {
                worker.tick(worker.state.options().pool_idle);
                if let Some((ends, pace)) = ends {
                    worker.deadlines.begin_drain(left(ends).as_secs(), pace);
                }
            }
            changed = drain.changed(), if changes => {
                changes = changed.is_ok();
                // The handle was dropped.
                let order = if changes { *drain.borrow_and_update() } else { Some(DrainOrder { time: Duration::ZERO, pace: Pace::Early }) };
                ends = order.map(|order| (Instant::now() + order.time, order.pace));
                worker.draining.set(ends.is_some());
            }
        }
        if let Some((ends, _)) = ends
            && (!accepts && worker.is_empty() || left(ends).is_zero())
        {
            break;
        }
    }
}

fn left(ends: Instant) -> Duration {
    ends.saturating_duration_since(Instant::now())
}

/// A connection before its first HTTP. The worker outlives it.
struct Handshaking(Rc<Worker>);

impl Handshaking {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.handshaking.set(worker.handshaking.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.0.handshaking.set(self.0.handshaking.get() - 1);
    }
}

/// Handles the layers before HTTP, and serves the connection.
async fn handshake(handshaking: Handshaking, accepted: Accepted) {
    let Accepted { stream, mut peer, tls, proxied, mut permit } = accepted;
    let worker = Rc::clone(&handshaking.0);
    let metrics = &worker.state.metrics;
    let Ok(mut stream) = TcpStream::from_std(stream) else {
        metrics.accept_errors.inc();
        return;
    };
    let limit = worker.state.options().header_timeout;
    if proxied {
        match in_time(timeout(limit, proxy_header(&worker, &mut stream, peer)).await) {
            Ok(client) => peer = client,
            Err(why) => {
                metrics.proxy_headers_refused.inc();
                return tracing::debug!(target: "sociable::balancer", %peer, why, "invalid PROXY header");
            }
        }
    }
    if proxied && let Err(refusal) = permit.count_for(peer.ip()) {
        // The client may not have sent its request yet, so it only sees the end of its connection.
        metrics.refused(refusal);
        return;
    }
    let Some(config) = tls else {
        drop(handshaking);
        return Connection::serve(worker, Stream::Plain(stream), peer, permit).await;
    };
    match in_time(timeout(limit, TlsAcceptor::from(config).accept(stream)).await) {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            drop(handshaking);
            // Boxed, since it is large, and a connection of HTTP/1.1 is not to be.
            Box::pin(h2::serve(worker, stream, peer, permit)).await;
        }
        Ok(stream) => {
            drop(handshaking);
            Connection::serve(worker, Stream::Tls(Box::new(stream)), peer, permit).await;
        }
        Err(why) => {
            metrics.tls_handshake_failures.inc();
            tracing::debug!(target: "sociable::balancer", %peer, why, "TLS handshake failed");
        }
    }
}

/// Returns the result of a peer in time, or the reason of its failure.
fn in_time<T>(came: Result<io::Result<T>, Elapsed>) -> Result<T, String> {
    match came {
        Ok(came) => came.map_err(|error| error.to_string()),
        Err(_) => Err("timed out".into()),
    }
}

/// Reads the header of the PROXY protocol, and nothing behind it. Returns the client's address.
async fn proxy_header(worker: &Worker, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    if !worker.state.options().trusts(peer.ip()) {
        return Err(io::Error::other("only trusted networks may send one"));
    }
    let mut bytes = [0; MAX_HEADER];
    loop {
        let seen = stream.peek(&mut bytes).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(header) = proxy_protocol::parse(&bytes[..seen]).map_err(io::Error::other)? {
            stream.read_exact(&mut bytes[..header.length]).await?;
            return Ok(header.addresses.map_or(peer, |addresses| addresses.source));
        }
        // Peeked bytes stay, so the socket signals nothing when more come.
        sleep(LOOK).await;
    }
}
