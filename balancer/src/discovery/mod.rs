//! Discovery: a thread runs sources and probes, evaluates what they observe, and publishes tables of nodes.
//!
//! # Layout
//!
//! * `config`, `address`, `error`: what the configuration says, and why it can't work.
//! * `evidence`: what sources, probes and workers observe.
//! * `sources`: lists, DNS and NATS, which name nodes. `probe`: health checks of their addresses. `reports`: what workers report.
//! * `registry`: the state machine that makes tables of the evidence.
//! * `counters`: what is counted.

mod address;
mod config;
mod counters;
mod error;
mod evidence;
mod probe;
mod registry;
mod reports;
mod sources;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{self, MissedTickBehavior};

pub use self::address::{DnsTarget, HostPort};
pub use self::config::{DiscoveryConfig, Probing};
pub use self::counters::{Counter, DiscoveryCounters};
pub use self::error::DiscoveryError;
pub use self::evidence::{Answer, Observation, ProbeError, Report, SourceId};
pub use self::probe::probe;
pub use self::registry::{NodeView, Overview, Registry, Rules, SourceView};
pub use self::reports::Reports;
pub use sociable_nats::{NatsAuth, NatsConfigError};

/// The NATS servers where nodes announce themselves.
///
/// The balancer needs the permission to subscribe to `sociable.CLUSTER.members`, and should have no other. If this
/// process may publish to `sociable.CLUSTER.who`, nodes announce themselves as soon as it is connected. Otherwise it
/// waits until they speak by themselves, at most 5 s.
#[doc(inline)]
pub use sociable_nats::NatsConfig as NatsSource;

use self::probe::Probers;
use crate::table::Table;

/// The most observations that wait. A source or probe that has more waits too.
const MAX_OBSERVATIONS: usize = 1024;
/// The most observations that are taken before the registry evaluates them.
const AT_ONCE: usize = 4096;
/// The interval of evaluations while nothing is observed.
const EVALUATE_EVERY: Duration = Duration::from_millis(250);
/// The pause behind each evaluation, which visits all nodes. The next one covers all that is observed meanwhile.
const GATHER: Duration = Duration::from_millis(10);

/// The newest table, for workers: reading it takes no lock.
pub type Tables = Arc<ArcSwap<Table>>;

/// The handle to a thread that looks for nodes until this is dropped.
///
/// ```no_run
/// # fn start() -> Result<(), sociable_balancer_core::DiscoveryError> {
/// use sociable_balancer_core::{Discovery, DiscoveryConfig};
///
/// let discovery = Discovery::start(DiscoveryConfig { nodes: vec!["127.0.0.1:3000".parse()?], ..DiscoveryConfig::default() })?;
/// let tables = discovery.tables();
/// println!("{} nodes", tables.load().nodes().len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Discovery {
    tables: Tables,
    reports: Reports,
    counters: Arc<DiscoveryCounters>,
    config: watch::Sender<DiscoveryConfig>,
    overviews: mpsc::Sender<OverviewRequest>,
}

type OverviewRequest = oneshot::Sender<Overview>;

impl Discovery {
    /// Starts the thread. Discovery keeps trying while no node is found or NATS is unreachable: neither is an error.
    ///
    /// # Errors
    ///
    /// The configuration is invalid, or the thread can't be started.
    pub fn start(config: DiscoveryConfig) -> Result<Self, DiscoveryError> {
        config.check()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DiscoveryError::Thread)?;
        let (tables, counters) = (Tables::default(), Arc::new(DiscoveryCounters::default()));
        let (reports, received_reports) = Reports::new(Arc::clone(&counters));
        let (config, received_config) = watch::channel(config);
        let (overviews, received_overviews) = mpsc::channel(16);
        let thread = DiscoveryThread {
            tables: Arc::clone(&tables),
            counters: Arc::clone(&counters),
            config: received_config,
            reports: received_reports,
            overviews: received_overviews,
        };
        let run = move || thread.run(runtime);
        std::thread::Builder::new().name("sociable-discovery".into()).spawn(run).map_err(DiscoveryError::Thread)?;
        Ok(Self { tables, reports, counters, config, overviews })
    }

    /// Returns the place of the newest table.
    pub fn tables(&self) -> Tables {
        Arc::clone(&self.tables)
    }

    /// Returns the sender by which workers report on nodes.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Returns the counters since the start.
    pub fn counters(&self) -> Arc<DiscoveryCounters> {
        Arc::clone(&self.counters)
    }

    /// Changes the configuration. Known nodes stay until all of its sources have spoken. If a source never does, they
    /// stay while they are alive.
    ///
    /// # Errors
    ///
    /// The configuration is invalid, and the former one stays; or the thread has ended.
    pub fn reload(&self, config: DiscoveryConfig) -> Result<(), DiscoveryError> {
        config.check()?;
        if self.config.is_closed() {
            return Err(DiscoveryError::Ended);
        }
        // An equal configuration changes nothing: links to NATS stay open.
        self.config.send_if_modified(|before| {
            let changed = *before != config;
            *before = config;
            changed
        });
        Ok(())
    }

    /// Returns all that is known, for a status page.
    ///
    /// # Errors
    ///
    /// The thread has ended.
    pub async fn overview(&self) -> Result<Overview, DiscoveryError> {
        let (reply, overview) = oneshot::channel();
        self.overviews.send(reply).await.map_err(|_| DiscoveryError::Ended)?;
        overview.await.map_err(|_| DiscoveryError::Ended)
    }
}

/// The state of the thread.
struct DiscoveryThread {
    tables: Tables,
    counters: Arc<DiscoveryCounters>,
    config: watch::Receiver<DiscoveryConfig>,
    reports: mpsc::Receiver<Report>,
    overviews: mpsc::Receiver<OverviewRequest>,
}

impl DiscoveryThread {
    fn run(mut self, runtime: Runtime) {
        runtime.block_on(self.evaluate_until_dropped());
        // The shutdown does not wait for lookups that the system never answers.
        runtime.shutdown_background();
    }

    async fn evaluate_until_dropped(&mut self) {
        let (observations, mut observed) = mpsc::channel(MAX_OBSERVATIONS);
        let config = self.config.borrow_and_update().clone();
        let mut registry = Registry::new(config.rules.clone(), Arc::clone(&self.counters));
        let mut probers = Probers::new(config.probe.clone(), observations.clone());
        // A new set of sources ends the one that it replaces.
        let mut _sources = sources::start(&config, &mut registry, &observations, &self.counters);
        let mut round = time::interval(EVALUATE_EVERY);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                changed = self.config.changed() => {
                    // The handle is dropped.
                    if changed.is_err() {
                        return;
                    }
                    let config = self.config.borrow_and_update().clone();
                    tracing::info!(
                        target: "sociable::balancer", nodes = config.nodes.len(), names = config.dns.len(), nats = config.nats.is_some(),
                        "nodes are looked for by another configuration"
                    );
                    registry.set_rules(config.rules.clone());
                    probers.set_probing(config.probe.clone());
                    _sources = sources::start(&config, &mut registry, &observations, &self.counters);
                }
                _ = observed.recv_many(&mut batch, AT_ONCE) => {}
                Some(report) = self.reports.recv() => batch.push(Observation::Reported(report)),
                Some(reply) = self.overviews.recv() => {
                    // The caller may have stopped waiting.
                    drop(reply.send(registry.overview(now())));
                    continue;
                }
                _ = round.tick() => {}
            }
            while let Ok(report) = self.reports.try_recv() {
                batch.push(Observation::Reported(report));
            }
            for observation in batch.drain(..) {
                registry.observe(observation, now());
            }
            if let Some(table) = registry.evaluate(now()) {
                self.tables.store(table);
            }
            let urgent = registry.drain_urgent();
            probers.set_addresses(registry.addresses(), urgent);
            time::sleep(GATHER).await;
        }
    }
}

/// Returns the time by the clock of the runtime, which tests may stop.
fn now() -> Instant {
    time::Instant::now().into_std()
}
