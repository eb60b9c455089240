//! The thread that looks for nodes: it runs the sources and the probes, and gives out tables.

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
pub use self::config::{Discovery, Probing};
pub use self::counters::{Counter, DiscoveryCounters};
pub use self::error::DiscoveryError;
pub use self::evidence::{Answer, ProbeError, Report, Sighting, SourceId};
pub use self::probe::probe;
pub use self::registry::{NodeView, Overview, Registry, Rules, SourceView};
pub use self::reports::Reports;
pub use self::sources::nats::{NatsAuth, NatsSource};

use self::probe::Probers;
use crate::table::Table;

/// How many sightings may wait. Who has more waits with it.
const MAX_SIGHTINGS: usize = 1024;
/// How many sightings are taken before conclusions are drawn.
const AT_ONCE: usize = 4096;
/// How often conclusions are drawn if nothing is seen.
const LOOK: Duration = Duration::from_millis(250);
/// The pause behind each judgement, which takes all nodes into account: what is seen meanwhile is judged together.
const GATHER: Duration = Duration::from_millis(10);

/// The newest table, for workers: reading it takes no lock.
pub type Tables = Arc<ArcSwap<Table>>;

/// Looks for nodes, on a thread of its own, until it is dropped.
///
/// ```no_run
/// # fn start() -> Result<(), sociable_balancer::DiscoveryError> {
/// use sociable_balancer::{Discovery, Lookout};
///
/// let lookout = Lookout::start(Discovery { nodes: vec!["127.0.0.1:3000".parse()?], ..Discovery::default() })?;
/// let tables = lookout.tables();
/// println!("{} nodes", tables.load().nodes().len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Lookout {
    tables: Tables,
    reports: Reports,
    counters: Arc<DiscoveryCounters>,
    discovery: watch::Sender<Discovery>,
    questions: mpsc::Sender<oneshot::Sender<Overview>>,
}

impl Lookout {
    /// Starts to look. That nobody is found, or that NATS can't be reached, is no error: it goes on trying.
    ///
    /// # Errors
    ///
    /// The configuration can't work, or the thread can't be started.
    pub fn start(discovery: Discovery) -> Result<Self, DiscoveryError> {
        discovery.check()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DiscoveryError::Thread)?;
        let (tables, counters) = (Tables::default(), Arc::new(DiscoveryCounters::default()));
        let (reports, told) = Reports::new(Arc::clone(&counters));
        let (discovery, wanted) = watch::channel(discovery);
        let (questions, asked) = mpsc::channel(16);
        let thread = Thread { tables: Arc::clone(&tables), counters: Arc::clone(&counters), wanted, told, asked };
        let run = move || thread.run(runtime);
        std::thread::Builder::new().name("sociable-lookout".into()).spawn(run).map_err(DiscoveryError::Thread)?;
        Ok(Self { tables, reports, counters, discovery, questions })
    }

    /// Where the newest table is.
    pub fn tables(&self) -> Tables {
        Arc::clone(&self.tables)
    }

    /// Takes what workers tell of nodes.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Arc<DiscoveryCounters> {
        Arc::clone(&self.counters)
    }

    /// Looks elsewhere from now on. Nodes that were known stay until all sources of the new configuration have spoken; if one never does,
    /// they stay as long as they live.
    ///
    /// # Errors
    ///
    /// The configuration can't work, and the one before stays; or the thread has ended.
    pub fn reload(&self, discovery: Discovery) -> Result<(), DiscoveryError> {
        discovery.check()?;
        if self.discovery.is_closed() {
            return Err(DiscoveryError::Ended);
        }
        // What stays as it was goes on: a link is not broken for it.
        self.discovery.send_if_modified(|before| {
            let changed = *before != discovery;
            *before = discovery;
            changed
        });
        Ok(())
    }

    /// All that is known, for a status page.
    ///
    /// # Errors
    ///
    /// The thread has ended.
    pub async fn overview(&self) -> Result<Overview, DiscoveryError> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(answer).await.map_err(|_| DiscoveryError::Ended)?;
        answered.await.map_err(|_| DiscoveryError::Ended)
    }
}

/// What the thread has of it.
struct Thread {
    tables: Tables,
    counters: Arc<DiscoveryCounters>,
    wanted: watch::Receiver<Discovery>,
    told: mpsc::Receiver<Report>,
    asked: mpsc::Receiver<oneshot::Sender<Overview>>,
}

impl Thread {
    fn run(mut self, runtime: Runtime) {
        runtime.block_on(self.look());
        // Lookups that wait for a system that does not answer are not waited for.
        runtime.shutdown_background();
    }

    async fn look(&mut self) {
        let (sightings, mut seen) = mpsc::channel(MAX_SIGHTINGS);
        let discovery = self.wanted.borrow_and_update().clone();
        let mut registry = Registry::new(discovery.rules.clone(), Arc::clone(&self.counters));
        let mut probers = Probers::new(discovery.probe.clone(), sightings.clone());
        // Those before end when others are put in their place.
        let mut _sources = sources::begin(&discovery, &mut registry, &sightings, &self.counters);
        let mut round = time::interval(LOOK);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                changed = self.wanted.changed() => {
                    // The handle is dropped.
                    if changed.is_err() {
                        return;
                    }
                    let discovery = self.wanted.borrow_and_update().clone();
                    tracing::info!(
                        target: "sociable::balancer", nodes = discovery.nodes.len(), names = discovery.dns.len(), nats = discovery.nats.is_some(),
                        "nodes are looked for by another configuration"
                    );
                    registry.set_rules(discovery.rules.clone());
                    probers.change(discovery.probe.clone());
                    _sources = sources::begin(&discovery, &mut registry, &sightings, &self.counters);
                }
                _ = seen.recv_many(&mut batch, AT_ONCE) => {}
                Some(report) = self.told.recv() => batch.push(Sighting::Reported(report)),
                Some(answer) = self.asked.recv() => {
                    // Who asked may have gone.
                    drop(answer.send(registry.overview(now())));
                    continue;
                }
                _ = round.tick() => {}
            }
            while let Ok(report) = self.told.try_recv() {
                batch.push(Sighting::Reported(report));
            }
            for sighting in batch.drain(..) {
                registry.see(sighting, now());
            }
            if let Some(table) = registry.judge(now()) {
                self.tables.store(table);
            }
            let urgent = registry.take_urgent();
            probers.follow(registry.addresses(), urgent);
            time::sleep(GATHER).await;
        }
    }
}

/// By the clock of the runtime, which tests may stop.
fn now() -> Instant {
    time::Instant::now().into_std()
}
