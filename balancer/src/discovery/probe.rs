//! Probes nodes for their health and tag, and checks the way to them.
//!
//! Each probe opens a connection, as a new session would. An open connection would not show that a node accepts no
//! more.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sociable_protocol::Health;
use sociable_protocol::maps::{Map, Set};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time;

use super::config::Probing;
use super::evidence::{Answer, Observation, ProbeError};

/// The longest answer that is read, and the longest head.
const MAX_ANSWER: usize = 16 << 10;
/// The most probes at a time, to spare file descriptors. Beyond it, unresponsive addresses are probed less often.
/// Responsive ones are not taken for dead by that.
const MAX_AT_A_TIME: usize = 256;

/// Probes an address once.
///
/// # Errors
///
/// No process answers at the address, or its answer is no success.
pub async fn probe(address: SocketAddr, probing: &Probing) -> Result<Answer, ProbeError> {
    time::timeout(probing.timeout, request_health(address, &probing.path)).await.unwrap_or(Err(ProbeError::Timeout))
}

async fn request_health(address: SocketAddr, path: &str) -> Result<Answer, ProbeError> {
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, concat!("sociable-balancer/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let stream = TcpStream::connect(address).await.map_err(ProbeError::Connect)?;
    let shake = http1::Builder::new().max_buf_size(MAX_ANSWER).handshake(TokioIo::new(stream));
    let (mut sender, connection) = shake.await.map_err(ProbeError::Http)?;
    let mut exchange = pin!(async move {
        let response = sender.send_request(request).await.map_err(ProbeError::Http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        read_answer(status, body.map(|body| body.to_bytes()))
    });
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // An answer that came before the end can still be read.
        _ = connection => exchange.await,
    }
}

fn read_answer(status: StatusCode, body: Result<Bytes, Box<dyn Error + Send + Sync>>) -> Result<Answer, ProbeError> {
    match body {
        // A draining or cut-off node may answer with an error status. The node's health says more.
        Ok(body) => match serde_json::from_slice::<Health>(&body) {
            Ok(health) => Ok(Answer::Health(Box::new(health))),
            Err(_) if status.is_success() => Ok(Answer::Untagged),
            Err(_) => Err(ProbeError::Status(status)),
        },
        Err(error) if error.is::<LengthLimitError>() => Err(ProbeError::Body(format!("longer than {MAX_ANSWER} bytes").into())),
        Err(error) => Err(ProbeError::Body(error)),
    }
}

/// The tasks that probe, one for each address.
#[derive(Debug)]
pub(crate) struct Probers {
    probing: Arc<Probing>,
    running: Map<SocketAddr, Prober>,
    permits: Arc<Semaphore>,
    observations: mpsc::Sender<Observation>,
}

#[derive(Debug)]
struct Prober {
    task: AbortHandle,
    /// Ends the pause between two probes.
    probe_now: Arc<Notify>,
}

impl Probers {
    pub(crate) fn new(probing: Probing, observations: mpsc::Sender<Observation>) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_AT_A_TIME));
        Self { probing: Arc::new(probing), running: Map::default(), permits, observations }
    }

    /// Probes these addresses from now on, and no others. New ones and urgent ones are probed at once.
    pub(crate) fn set_addresses(&mut self, addresses: impl ExactSizeIterator<Item = SocketAddr>, urgent: Vec<SocketAddr>) {
        let addresses: Set<_> = addresses.collect();
        self.running.retain(|address, prober| {
            let stays = addresses.contains(address);
            if !stays {
                prober.task.abort();
            }
            stays
        });
        for address in urgent {
            if let Some(prober) = self.running.get(&address) {
                prober.probe_now.notify_one();
            }
        }
        for address in addresses {
            self.running.entry(address).or_insert_with(|| {
                let probe_now = Arc::new(Notify::new());
                let (probing, permits, observations) = (Arc::clone(&self.probing), Arc::clone(&self.permits), self.observations.clone());
                let task = tokio::spawn(run(address, probing, permits, Arc::clone(&probe_now), observations)).abort_handle();
                Prober { task, probe_now }
            });
        }
    }

    /// Probes otherwise from now on.
    pub(crate) fn set_probing(&mut self, probing: Probing) {
        self.probing = Arc::new(probing);
        self.running.drain().for_each(|(_, prober)| prober.task.abort());
    }
}

async fn run(
    address: SocketAddr,
    probing: Arc<Probing>,
    permits: Arc<Semaphore>,
    probe_now: Arc<Notify>,
    observations: mpsc::Sender<Observation>,
) {
    loop {
        let (begun, outcome) = {
            let Ok(_permit) = permits.acquire().await else { return };
            (time::Instant::now().into_std(), probe(address, &probing).await)
        };
        // As long as what was seen is not taken, nothing more has to be seen.
        if observations.send(Observation::Probed { address, begun, outcome }).await.is_err() {
            return;
        }
        tokio::select! {
            () = time::sleep(probing.interval) => {}
            () = probe_now.notified() => {}
        }
    }
}
