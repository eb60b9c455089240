//! A balancer: threads that serve what listeners accept, and the handle by which it is changed and stopped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::discovery::{Reports, Tables};
use crate::options::{Options, OptionsError};
use crate::serve::accept::{self, Accepted, Source};
use crate::serve::worker_thread::{self, DrainOrder};
use crate::state::BalancerState;
use crate::tcp;
use crate::worker::deadlines::Pace;

/// Connections that wait for one worker. Beyond it, accepting pauses.
const WAITING: usize = 1024;

/// The interval of the check whether all threads have ended.
const LOOK: Duration = Duration::from_millis(50);

/// A balancer that does not run yet.
#[derive(Debug)]
pub struct Balancer {
    state: Arc<BalancerState>,
    sources: Vec<Source>,
    workers: usize,
}

impl Balancer {
    /// A balancer for the nodes of this table, which reports what it sees of them.
    ///
    /// # Errors
    ///
    /// The options make no sense.
    pub fn new(options: Options, table: Tables, reports: Reports) -> Result<Self, OptionsError> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { state: Arc::new(BalancerState::new(options, table, reports)?), sources: vec![], workers })
    }

    /// Sets the number of worker threads: one for each core by default.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Returns a socket that listens on this address, with the options that a balancer needs.
    ///
    /// # Errors
    ///
    /// The address can't be bound.
    pub fn listener(address: SocketAddr) -> io::Result<TcpListener> {
        tcp::listen(address)
    }

    /// Listens on this address.
    ///
    /// # Errors
    ///
    /// The address can't be bound.
    pub fn bind(self, address: SocketAddr, tls: Option<Arc<ServerConfig>>, proxied: bool) -> io::Result<Self> {
        Ok(self.listen(Self::listener(address)?, tls, proxied))
    }

    /// Serves the connections of this listener: with TLS if given, and with a header of the PROXY protocol if
    /// `proxied`.
    #[must_use]
    pub fn listen(mut self, listener: TcpListener, tls: Option<Arc<ServerConfig>>, proxied: bool) -> Self {
        self.sources.push(Source { listener, tls, proxied });
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// A thread can't be started.
    pub fn start(self) -> io::Result<Handle> {
        let (drain, _) = watch::channel(None);
        let (mut threads, mut senders) = (vec![], vec![]);
        for index in 0..self.workers {
            let (sender, accepted) = mpsc::channel::<Accepted>(WAITING);
            threads.push(worker_thread::start(index, Arc::clone(&self.state), accepted, drain.subscribe())?);
            senders.push(sender);
        }
        let listeners = self.sources.iter().map(|source| source.listener.try_clone()).collect::<io::Result<Vec<_>>>()?;
        let (accepts, mut stop) = watch::channel(true);
        let (state, sources) = (Arc::clone(&self.state), self.sources);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        threads.push(thread::Builder::new().name("balancer-accept".into()).spawn(move || {
            runtime.block_on(async move {
                let mut accepting = JoinSet::new();
                for source in sources {
                    accepting.spawn(accept::accept(source, Arc::clone(&state), senders.clone()));
                }
                drop(senders);
                // The task ends at the signal, or when the sender is dropped.
                let _ = stop.wait_for(|accepts| !accepts).await;
            });
        })?);
        Ok(Handle { state: self.state, listeners, drain, accepts, threads })
    }
}

/// A running balancer. Dropping it ends it at once; [`stop`](Self::stop) drains it.
#[derive(Debug)]
pub struct Handle {
    pub(crate) state: Arc<BalancerState>,
    listeners: Vec<TcpListener>,
    drain: watch::Sender<Option<DrainOrder>>,
    accepts: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Handle {
    /// The addresses that it listens on: for a port of 0, the one that was given.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The sockets that it listens on, in the order in which they were added: to be handed to another process.
    pub fn listeners(&self) -> &[TcpListener] {
        &self.listeners
    }

    /// Takes other options, without touching any connection.
    ///
    /// # Errors
    ///
    /// They make no sense: the old ones hold.
    pub fn reload(&self, options: Options) -> Result<(), OptionsError> {
        let changed = self.state.reload(options);
        let metrics = &self.state.metrics;
        if changed.is_ok() {
            metrics.reloads.inc()
        } else {
            metrics.reload_failures.inc()
        };
        changed
    }

    /// Counts a reload whose options were invalid before they reached the balancer.
    pub fn reload_failed(&self) {
        self.state.metrics.reload_failures.inc();
    }

    /// Accepts no more, and closes the connections within this time, some each second; what is left then is cut off. Said again, the new time
    /// counts from now.
    ///
    /// Connections end behind the answer that they wait for, WebSockets when it is their turn.
    pub fn drain(&mut self, time: Duration) {
        self.begin_drain(DrainOrder { time, pace: Pace::Early });
    }

    /// The same, after another process has taken the sockets: the connections stay as long as they may.
    pub fn drain_after_handover(&mut self, time: Duration) {
        self.begin_drain(DrainOrder { time, pace: Pace::Late });
    }

    fn begin_drain(&mut self, order: DrainOrder) {
        self.state.begin_drain(order.time);
        self.listeners.clear();
        self.accepts.send_replace(false);
        self.drain.send_replace(Some(order));
    }

    /// The options of now.
    pub fn options(&self) -> Options {
        self.state.options().options().clone()
    }

    /// Returns the number of connections of clients.
    pub fn connections(&self) -> usize {
        usize::try_from(self.state.metrics.connections.get()).unwrap_or_default()
    }

    /// Waits until all threads have ended after a [`drain`](Self::drain).
    pub async fn ended(&mut self) {
        while !self.threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// [Drains](Self::drain), and waits until all threads have [ended](Self::ended).
    pub async fn stop(mut self, time: Duration) {
        self.drain(time);
        self.ended().await;
    }
}
