//! Start, takeover, reload and stop of a balancer.
//!
//! SIGHUP reloads the settings. SIGUSR1 and SIGUSR2 switch the filter of the log. SIGTERM and SIGINT drain the balancer within its drain
//! time; a second one ends it at once.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use sociable_balancer_core::{
    Admin, Balancer, Discovery, DiscoveryConfig, DiscoveryError, Handle, Handover, HandoverError, HandoverServer, Options, OptionsError,
    Tables, Tls, TlsError, take_over,
};
use sociable_program::log::{Filter, FilterError};
use sociable_program::settings::{self, SettingsError};
use sociable_program::signals::{LogSignals, StopSignals};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::settings::{CheckError, Flags, Settings};

/// The longest wait for the first nodes. A balancer without a complete table would refuse live sessions.
const FIRST_NODES: Duration = Duration::from_secs(10);
/// The time without a new node after which the table counts as complete.
const SETTLED: Duration = Duration::from_millis(1500);
/// The interval of checks for changed certificates.
const CERTIFICATES: Duration = Duration::from_secs(5);

/// Why a balancer can't run.
#[derive(Debug, Error)]
pub(crate) enum LifeError {
    /// The names of options become those of settings.
    #[error("{}", .0.to_string().replace("engine_paths", "path").replace('_', "-"))]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot take over: {0}")]
    Handover(#[from] HandoverError),
    #[error("cannot listen on {address}: {error}. Stop the other program, or choose another address")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("{0}")]
    Io(io::Error),
}

/// Checked settings.
pub(crate) struct Plan {
    options: Options,
    discovery: DiscoveryConfig,
    tls: Option<Arc<Tls>>,
}

impl Plan {
    /// Checks settings, and reads the certificates.
    pub(crate) fn new(settings: &Settings) -> Result<Self, LifeError> {
        settings.check()?;
        let (options, config, pairs) = (settings.options(), settings.discovery()?, settings.pairs()?);
        options.check()?;
        let tls = if pairs.is_empty() { None } else { Some(Arc::new(Tls::load(pairs)?)) };
        Ok(Self { options, discovery: config, tls })
    }
}

/// Runs until it is stopped, or the next process has taken over.
pub(crate) async fn run(args: &[OsString], settings: &Settings, filter: &Filter) -> Result<(), LifeError> {
    let Plan { options, discovery, tls } = Plan::new(settings)?;
    let mut signals = Signals::new().map_err(LifeError::Io)?;
    tokio::spawn(LogSignals::new().map_err(LifeError::Io)?.follow(filter.clone()));
    tokio::spawn(filter.clone().report_dropped_lines());
    let discovery = Arc::new(Discovery::start(discovery)?);
    let tables = discovery.tables();
    tokio::select! {
        () = first_nodes(&tables) => {}
        () = signals.stop.recv() => return Ok(()),
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
        // The output may be closed.
        let _ = writeln!(io::stdout(), "listening on {address}");
    }
    if let Some(handover) = handover
        && let Err(error) = handover.ready().await
    {
        // This process serves already: to end now would cut off its connections.
        tracing::error!(target: "sociable::balancer", %error, "cannot confirm the takeover; the previous process may go on");
    }
    // In the order of their names.
    let listeners = running.listeners().iter().chain(admin.as_ref().map(Admin::listener));
    let listeners = listeners.map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>().map_err(LifeError::Io)?;
    let sockets: Vec<_> = names.into_iter().zip(listeners).collect();
    let administration = match admin {
        Some(admin) => Some(administer(admin, &running, &discovery, tls.clone()).map_err(LifeError::Io)?),
        None => None,
    };
    let reload = || reload(args, settings, filter, &running, &discovery, tls.as_ref());
    let handed = serve(settings, &mut signals, &sockets, reload).await;
    if handed && let Some(administration) = administration {
        // The next process answers there.
        administration.abort();
    }
    // Connections that wait there belong to the next process.
    drop(sockets);
    drain(running, handed, &mut signals).await;
    Ok(())
}

/// Listens at all addresses, on the sockets of the previous process where it handed over any. Returns them with their names.
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
        tracing::warn!(target: "sociable::balancer", name, "closing a handed-over socket that the settings do not name");
    }
    Ok((balancer, admin, names))
}

/// Handles signals until the process is to stop or the next one has taken over. Returns true for a takeover.
async fn serve(settings: &Settings, signals: &mut Signals, sockets: &[(String, TcpListener)], reload: impl Fn()) -> bool {
    let successor = async {
        match &settings.handover {
            Some(path) => HandoverServer::bind(path)?.wait(sockets).await,
            None => std::future::pending().await,
        }
    };
    let mut successor = Box::pin(successor);
    let mut waits = true;
    loop {
        tokio::select! {
            taken = &mut successor, if waits => match taken {
                Ok(()) => return true,
                Err(error) => {
                    waits = false;
                    tracing::error!(target: "sociable::balancer", %error, "handover failed; no process can take over from this one");
                }
            },
            _ = signals.reload.recv() => reload(),
            () = signals.stop.recv() => return false,
        }
    }
}

/// Drains the connections. A second stop signal cuts off the rest.
async fn drain(mut running: Handle, handed: bool, signals: &mut Signals) {
    let Options { drain_time, handover_time, .. } = running.options();
    let time = if handed { handover_time } else { drain_time };
    tracing::info!(target: "sociable::balancer", connections = running.connections(), seconds = time.as_secs(), handed, "draining");
    if handed {
        running.drain_after_handover(time)
    } else {
        running.drain(time)
    }
    let mut ends = !handed;
    loop {
        tokio::select! {
            () = running.ended() => break,
            () = signals.stop.recv() => {
                if ends {
                    tracing::warn!(target: "sociable::balancer", connections = running.connections(), "second stop signal; closing the remaining connections");
                    break;
                }
                ends = true;
                running.drain(drain_time);
            }
        }
    }
    tracing::info!(target: "sociable::balancer", "stopped");
}

/// Serves the administration until the process ends or the task is aborted.
fn administer(admin: Admin, running: &Handle, discovery: &Arc<Discovery>, tls: Option<Arc<Tls>>) -> io::Result<JoinHandle<()>> {
    let address = admin.listener().local_addr()?;
    let administration = tokio::spawn(admin.serve(running, Arc::clone(discovery), tls)?);
    tracing::info!(target: "sociable::balancer", "administration on http://{address}");
    let _ = writeln!(io::stdout(), "administration on http://{address}");
    Ok(administration)
}

/// Returns the socket that was handed over under this name, or a new one.
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

/// Waits until nodes are known and no more appear, for a limited time.
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
        0 => tracing::warn!(target: "sociable::balancer", "no usable node yet; refusing new sessions until there is one"),
        nodes => tracing::info!(target: "sociable::balancer", nodes, "discovery not settled; starting with known nodes"),
    }
}

/// Reloads the settings. A fault is logged, and nothing changes.
fn reload(args: &[OsString], started: &Settings, filter: &Filter, running: &Handle, discovery: &Discovery, tls: Option<&Arc<Tls>>) {
    let reloaded = (|| {
        let Flags { settings, .. } = settings::parse(args.to_vec())?;
        settings.check()?;
        let (options, config, pairs) = (settings.options(), settings.discovery()?, settings.pairs()?);
        options.check()?;
        let log = settings.filter()?;
        // Nothing below fails for a reason in the settings.
        if let Some(tls) = tls {
            tls.change(pairs)?;
        }
        running.reload(options)?;
        discovery.reload(config)?;
        filter.choose(&log).map_err(FilterError::Setting).map_err(CheckError::from)?;
        Ok::<_, LifeError>(started.settled(&settings))
    })();
    match reloaded {
        Ok(settled) if settled.is_empty() => tracing::info!(target: "sociable::balancer", "settings reloaded"),
        Ok(settled) => tracing::warn!(
            target: "sociable::balancer", ignored = settled.join(", "),
            "settings reloaded, except for some that need a new process; hand over to one"
        ),
        Err(error) => {
            running.reload_failed();
            tracing::error!(target: "sociable::balancer", %error, "cannot reload the settings; the previous ones stay in effect");
        }
    }
}

/// The signals of a balancer, but for those of its log.
struct Signals {
    reload: Signal,
    stop: StopSignals,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { reload: signal(SignalKind::hangup())?, stop: StopSignals::new()? })
    }
}
