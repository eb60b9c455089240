//! How a balancer starts, takes over, is changed, and ends.
//!
//! SIGHUP: the settings are read again. SIGUSR1, SIGUSR2: the log tells more, or again what the settings say. SIGTERM, SIGINT: it leaves, within its drain time; a second one ends it at once.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use sociable_balancer::{
    Admin, Balancer, Discovery, DiscoveryConfig, DiscoveryError, Handle, Handover, HandoverError, HandoverServer, Options, OptionsError,
    Tables, Tls, TlsError, take_over,
};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::file::FileError;
use crate::log::{DEBUG, Filter, TRACE};
use crate::settings::{Flags, Settings, SettingsError};

/// How long a start waits for the first nodes at most, and how long no further one may have come: who has no complete table takes sessions
/// that live for lost.
const FIRST_NODES: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_millis(1500);
/// How often certificates are looked at.
const CERTIFICATES: Duration = Duration::from_secs(5);

/// Why a balancer can't run.
#[derive(Debug, Error)]
pub(crate) enum LifeError {
    #[error(transparent)]
    File(#[from] FileError),
    /// The options are named as the settings are.
    #[error("{}", .0.to_string().replace("engine_paths", "path").replace('_', "-"))]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("taking over: {0}")]
    Handover(#[from] HandoverError),
    #[error("{address} can't be listened on: {error}. Stop the program that listens there, or choose another address")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("{0}")]
    Io(io::Error),
}

/// Settings that make sense.
pub(crate) struct Plan {
    options: Options,
    discovery: DiscoveryConfig,
    tls: Option<Arc<Tls>>,
}

impl Plan {
    /// Checks settings. Certificates are read.
    pub(crate) fn new(settings: &Settings) -> Result<Self, LifeError> {
        settings.check()?;
        let (options, config, pairs) = (settings.options(), settings.discovery()?, settings.pairs()?);
        options.check()?;
        let tls = if pairs.is_empty() { None } else { Some(Arc::new(Tls::load(pairs)?)) };
        Ok(Self { options, discovery: config, tls })
    }
}

/// Runs until it is stopped, or the next process has taken over.
pub(crate) async fn run(flags: &Flags, settings: &Settings, filter: &Filter) -> Result<(), LifeError> {
    let Plan { options, discovery, tls } = Plan::new(settings)?;
    let mut signals = Signals::new().map_err(LifeError::Io)?;
    let discovery = Arc::new(Discovery::start(discovery)?);
    let tables = discovery.tables();
    tokio::select! {
        () = first_nodes(&tables) => {}
        _ = signals.end.recv() => return Ok(()),
    }
    let mut handover = match &settings.handover {
        Some(path) => take_over(path).await?,
        None => None,
    };
    let balancer = Balancer::new(options, discovery.tables(), discovery.reports())?;
    let (balancer, admin, names) = listen_everywhere(balancer, settings, tls.as_ref(), handover.as_mut())?;
    let running = balancer.start().map_err(LifeError::Io)?;
    for address in running.addrs() {
        tracing::info!(target: "sociable::balancer", "listening on {address}");
        // Whoever started it may have closed its output.
        let _ = writeln!(io::stdout(), "listening on {address}");
    }
    if let Some(handover) = handover
        && let Err(error) = handover.ready().await
    {
        // It serves already: to end now would cut off those who have come.
        tracing::error!(target: "sociable::balancer", %error, "the process before does not know that this one serves, and may go on");
    }
    // In the order of their names.
    let listeners = running.listeners().iter().chain(admin.as_ref().map(Admin::listener));
    let listeners = listeners.map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>().map_err(LifeError::Io)?;
    let sockets: Vec<_> = names.into_iter().zip(listeners).collect();
    let administration = match admin {
        Some(admin) => Some(administer(admin, &running, &discovery, tls.clone()).map_err(LifeError::Io)?),
        None => None,
    };
    let reload = || reload(flags, settings, filter, &running, &discovery, tls.as_ref());
    let handed = serve(settings, filter, &mut signals, &sockets, reload).await;
    if handed && let Some(administration) = administration {
        // Whoever asks there is to hear of the next process.
        administration.abort();
    }
    // No copy of the sockets is kept: what waits there is for the next process.
    drop(sockets);
    drain(running, handed, &mut signals).await;
    Ok(())
}

/// Listens at all addresses, by the sockets of the process before where it handed over any. Returns them with their names.
fn listen_everywhere(
    mut balancer: Balancer,
    settings: &Settings,
    tls: Option<&Arc<Tls>>,
    handover: Option<&mut Handover>,
) -> Result<(Balancer, Option<Admin>, Vec<String>), LifeError> {
    if let Some(workers) = settings.workers {
        balancer = balancer.workers(workers.get().into());
    }
    let proxied = settings.proxy_protocol == Some(true);
    let mut taken = handover.map(Handover::take_sockets).unwrap_or_default();
    let mut names = vec![];
    for address in settings.plain() {
        let listener = listen("plain", address, &mut taken, &mut names)?;
        balancer = balancer.listen(listener, None, proxied);
    }
    if let Some(tls) = tls {
        for address in settings.tls_listen.iter().flatten() {
            let listener = listen("tls", *address, &mut taken, &mut names)?;
            balancer = balancer.listen(listener, Some(tls.config()), proxied);
        }
        tokio::spawn(Arc::clone(tls).watch(CERTIFICATES));
    }
    let admin = settings.admin_addr.map(|address| listen("admin", address, &mut taken, &mut names).map(Admin::from)).transpose()?;
    for (name, _) in taken {
        tracing::warn!(target: "sociable::balancer", name, "a socket of the process before is closed: the settings do not name it");
    }
    Ok((balancer, admin, names))
}

/// Obeys signals until the process is to end, or the next one has taken over: true for the latter.
async fn serve(settings: &Settings, filter: &Filter, signals: &mut Signals, sockets: &[(String, TcpListener)], reload: impl Fn()) -> bool {
    let successor = async {
        match &settings.handover {
            Some(path) => HandoverServer::bind(path)?.wait(sockets).await,
            None => std::future::pending().await,
        }
    };
    let (mut dropped_lines, mut successor) = (Box::pin(filter.watch()), Box::pin(successor));
    let mut waits = true;
    loop {
        tokio::select! {
            taken = &mut successor, if waits => match taken {
                Ok(()) => return true,
                Err(error) => {
                    waits = false;
                    tracing::error!(target: "sociable::balancer", %error, "no other process can take over from this one");
                }
            },
            _ = signals.reload.recv() => reload(),
            _ = signals.debug.recv() => filter.switch(DEBUG),
            _ = signals.trace.recv() => filter.switch(TRACE),
            () = &mut dropped_lines => {}
            () = signals.end.recv() => return false,
        }
    }
}

/// Drains the connections. A second signal to end cuts off the rest.
async fn drain(mut running: Handle, handed: bool, signals: &mut Signals) {
    let Options { drain_time, handover_time, .. } = running.options();
    let time = if handed { handover_time } else { drain_time };
    tracing::info!(target: "sociable::balancer", connections = running.connections(), seconds = time.as_secs(), handed, "leaving");
    if handed {
        running.drain_after_handover(time)
    } else {
        running.drain(time)
    }
    let mut ends = !handed;
    loop {
        tokio::select! {
            () = running.ended() => break,
            () = signals.end.recv() => {
                if ends {
                    tracing::warn!(target: "sociable::balancer", connections = running.connections(), "told again to end: what is left is cut off");
                    break;
                }
                ends = true;
                running.drain(drain_time);
            }
        }
    }
    tracing::info!(target: "sociable::balancer", "stopped");
}

/// Answers operators from now on, until the process ends or the task is aborted.
fn administer(admin: Admin, running: &Handle, discovery: &Arc<Discovery>, tls: Option<Arc<Tls>>) -> io::Result<JoinHandle<()>> {
    let address = admin.listener().local_addr()?;
    let administration = tokio::spawn(admin.serve(running, Arc::clone(discovery), tls)?);
    tracing::info!(target: "sociable::balancer", "administration on http://{address}");
    let _ = writeln!(io::stdout(), "administration on http://{address}");
    Ok(administration)
}

/// What was handed over under this name, or a new listener.
fn listen(
    kind: &str,
    address: SocketAddr,
    taken: &mut Vec<(String, TcpListener)>,
    names: &mut Vec<String>,
) -> Result<TcpListener, LifeError> {
    let name = format!("{kind} {address}");
    let at = taken.iter().position(|(known, _)| *known == name);
    names.push(name);
    match at {
        Some(at) => Ok(taken.swap_remove(at).1),
        None => Balancer::listener(address).map_err(|error| LifeError::Listen { address, error }),
    }
}

/// Waits until there are nodes and no more come, but not for ever.
async fn first_nodes(tables: &Tables) {
    let begun = Instant::now();
    let mut last = (0, begun);
    while begun.elapsed() < FIRST_NODES {
        let nodes = tables.load().nodes().len();
        if nodes != last.0 {
            last = (nodes, Instant::now());
        }
        if nodes > 0 && last.1.elapsed() >= SETTLED {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    match last.0 {
        0 => tracing::warn!(target: "sociable::balancer", "no node was found yet: new sessions are refused until there is one"),
        nodes => tracing::info!(target: "sociable::balancer", nodes, "new nodes come all the while: it is begun with those that there are"),
    }
}

/// Reads the settings again: if anything is wrong with them, it is logged, and nothing changes.
fn reload(flags: &Flags, started: &Settings, filter: &Filter, running: &Handle, discovery: &Discovery, tls: Option<&Arc<Tls>>) {
    let reloaded = (|| {
        let settings = flags.settings()?;
        settings.check()?;
        let (options, config, pairs) = (settings.options(), settings.discovery()?, settings.pairs()?);
        options.check()?;
        let log = settings.filter()?;
        // The last that can fail.
        if let Some(tls) = tls {
            tls.change(pairs)?;
        }
        running.reload(options)?;
        discovery.reload(config)?;
        filter.change(log);
        Ok::<_, LifeError>(started.settled(&settings))
    })();
    match reloaded {
        Ok(settled) if settled.is_empty() => tracing::info!(target: "sociable::balancer", "the settings were read again"),
        Ok(settled) => tracing::warn!(
            target: "sociable::balancer", ignored = settled.join(", "),
            "the settings were read again, but for those that only a new process takes: hand over to one"
        ),
        Err(error) => {
            running.reload_failed();
            tracing::error!(target: "sociable::balancer", %error, "the settings can't be used: those before hold");
        }
    }
}

/// What a balancer is told while it runs.
struct Signals {
    reload: Signal,
    debug: Signal,
    trace: Signal,
    end: Ends,
}

/// SIGTERM and SIGINT.
struct Ends(Signal, Signal);

impl Ends {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

impl Signals {
    fn new() -> io::Result<Self> {
        let end = Ends(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (debug, trace) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        Ok(Self { reload: signal(SignalKind::hangup())?, debug, trace, end })
    }
}
