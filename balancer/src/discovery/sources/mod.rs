//! The sources of nodes.
//!
//! * `resolver`: how names become addresses.
//! * `fixed`: a list in the configuration. `dns`: names that stand for all nodes. Both are looked up again and again.
//! * `nats`: what nodes announce of themselves.
//!
//! Each source is a task that sends observations. The registry draws the conclusions.

mod dns;
mod fixed;
pub(super) mod nats;
mod resolver;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time;

use self::resolver::Resolver;
use super::config::DiscoveryConfig;
use super::counters::DiscoveryCounters;
use super::evidence::Observation;
use super::registry::Registry;

/// The pause before a dead task is restarted.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the sources of a configuration. They run until the returned set is dropped.
pub(super) fn start(
    config: &DiscoveryConfig,
    registry: &mut Registry,
    observations: &mpsc::Sender<Observation>,
    counters: &Arc<DiscoveryCounters>,
) -> JoinSet<()> {
    let resolver = Arc::new(Resolver::new(&config.nameservers));
    let every = config.resolve_every;
    let mut labels: Vec<_> = config.dns.iter().map(ToString::to_string).collect();
    if !config.nodes.is_empty() {
        labels.push("nodes".into());
    }
    let (mut lists, nats) = registry.set_sources(labels, config.nats.as_ref().map(|nats| format!("nats {}", nats.cluster)));
    let mut tasks = JoinSet::new();
    if let Some(source) = (!config.nodes.is_empty()).then(|| lists.pop()).flatten() {
        let (nodes, resolver, observations) = (config.nodes.clone(), Arc::clone(&resolver), observations.clone());
        tasks.spawn(restart_on_exit("nodes", Arc::clone(counters), move || {
            fixed::run(source, nodes.clone(), every, Arc::clone(&resolver), observations.clone())
        }));
    }
    for (source, target) in lists.into_iter().zip(config.dns.clone()) {
        let (resolver, observations) = (Arc::clone(&resolver), observations.clone());
        tasks.spawn(restart_on_exit("dns", Arc::clone(counters), move || {
            dns::run(source, target.clone(), every, Arc::clone(&resolver), observations.clone())
        }));
    }
    if let Some((source, options)) = nats.zip(config.nats.clone()) {
        let (resolver, observations, counters) = (Arc::clone(&resolver), observations.clone(), Arc::clone(counters));
        tasks.spawn(restart_on_exit("nats", Arc::clone(&counters), move || {
            nats::run(source, options.clone(), Arc::clone(&resolver), observations.clone(), Arc::clone(&counters))
        }));
    }
    tasks
}

/// Starts a task again whenever it ends, also by a panic.
async fn restart_on_exit<F: Future<Output = ()> + Send + 'static>(
    task: &'static str,
    counters: Arc<DiscoveryCounters>,
    start: impl Fn() -> F,
) {
    loop {
        let mut only = JoinSet::new();
        only.spawn(start());
        let died = matches!(only.join_next().await, Some(Err(error)) if error.is_panic());
        counters.task_restarts.increment();
        tracing::error!(target: "sociable::balancer", task, died, "source of nodes ended; restarting");
        time::sleep(PAUSE).await;
    }
}
