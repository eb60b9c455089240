//! Who says which nodes there are.
//!
//! * `names`: how names become addresses.
//! * `fixed`: a list in the configuration. `dns`: names that stand for all nodes. Both are looked up again and again.
//! * `nats`: what nodes announce of themselves.
//!
//! Each source is a task that tells what it sees, and never what follows.

mod dns;
mod fixed;
mod names;
mod nats;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time;

pub use self::dns::DnsTarget;
pub use self::names::HostPort;
pub use sociable_nats::{NatsAuth, NatsConfigError};

/// The NATS servers where nodes announce themselves.
///
/// The balancer needs the permission to subscribe to `sociable.CLUSTER.members`, and should have no other. If it may publish to
/// `sociable.CLUSTER.who`, nodes speak as soon as its link is up. Otherwise it waits until they speak by themselves, at most 5 s.
#[doc(inline)]
pub use sociable_nats::NatsConfig as NatsSource;

use self::names::Names;
use crate::discovery::Discovery;
use crate::lookout::DiscoveryCounters;
use crate::registry::{Registry, Sighting};

/// How long a task that died is not begun anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Begins the sources of this configuration: they run until what is given is dropped.
pub(crate) fn begin(
    discovery: &Discovery,
    registry: &mut Registry,
    sightings: &mpsc::Sender<Sighting>,
    counters: &Arc<DiscoveryCounters>,
) -> JoinSet<()> {
    let names = Arc::new(Names::new(&discovery.nameservers));
    let every = discovery.resolve_every;
    let mut labels: Vec<_> = discovery.dns.iter().map(ToString::to_string).collect();
    if !discovery.nodes.is_empty() {
        labels.push("nodes".into());
    }
    let (mut lists, nats) = registry.begin(labels, discovery.nats.as_ref().map(|nats| format!("nats {}", nats.cluster)));
    let mut tasks = JoinSet::new();
    if let Some(source) = (!discovery.nodes.is_empty()).then(|| lists.pop()).flatten() {
        let (nodes, names, sightings) = (discovery.nodes.clone(), Arc::clone(&names), sightings.clone());
        tasks.spawn(supervised("nodes", Arc::clone(counters), move || {
            fixed::run(source, nodes.clone(), every, Arc::clone(&names), sightings.clone())
        }));
    }
    for (source, target) in lists.into_iter().zip(discovery.dns.clone()) {
        let (names, sightings) = (Arc::clone(&names), sightings.clone());
        tasks.spawn(supervised("dns", Arc::clone(counters), move || {
            dns::run(source, target.clone(), every, Arc::clone(&names), sightings.clone())
        }));
    }
    if let Some((source, options)) = nats.zip(discovery.nats.clone()) {
        let (names, sightings, counters) = (Arc::clone(&names), sightings.clone(), Arc::clone(counters));
        tasks.spawn(supervised("nats", Arc::clone(&counters), move || {
            nats::run(source, options.clone(), Arc::clone(&names), sightings.clone(), Arc::clone(&counters))
        }));
    }
    tasks
}

/// Begins a task anew when it dies, and when it ends.
async fn supervised<F: Future<Output = ()> + Send + 'static>(task: &'static str, counters: Arc<DiscoveryCounters>, begin: impl Fn() -> F) {
    loop {
        let mut only = JoinSet::new();
        only.spawn(begin());
        let died = matches!(only.join_next().await, Some(Err(error)) if error.is_panic());
        counters.restarted.one();
        tracing::error!(target: "sociable::balancer", task, died, "a source of nodes has ended, and is begun anew");
        time::sleep(PAUSE).await;
    }
}
