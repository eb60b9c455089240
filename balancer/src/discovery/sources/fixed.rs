//! Nodes that the configuration names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use super::resolver::{LastAnswers, Resolved, Resolver};
use crate::discovery::address::HostPort;
use crate::discovery::evidence::{Observation, SourceId};

/// Reports the configured addresses, and again periodically if there are names among them.
pub(super) async fn run(
    source: SourceId,
    nodes: Vec<HostPort>,
    every: Duration,
    resolver: Arc<Resolver>,
    observations: mpsc::Sender<Observation>,
) {
    let mut last = LastAnswers::default();
    let mut round = time::interval(every);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        let (addresses, trouble) = resolve_all(&nodes, &resolver, &mut last).await;
        last.sweep();
        if observations.send(Observation::Listed { source, addresses, trouble }).await.is_err() {
            return;
        }
    }
}

/// The addresses of all of them. A name without an answer keeps its last addresses.
pub(super) async fn resolve_all(nodes: &[HostPort], resolver: &Resolver, last: &mut LastAnswers) -> (Vec<SocketAddr>, Option<String>) {
    let (mut addresses, mut trouble) = (vec![], None);
    for node in nodes {
        let Resolved { all, failure } = resolver.resolve(node, last).await;
        addresses.extend(all);
        trouble = trouble.or(failure.map(|failure| failure.to_string()));
    }
    (addresses, trouble)
}
