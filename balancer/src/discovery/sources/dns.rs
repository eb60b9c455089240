//! Names in DNS that stand for all nodes: a headless service, a name with an address for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use super::fixed::resolve_all;
use super::resolver::{LastAnswers, Resolver};
use crate::discovery::address::DnsTarget;
use crate::discovery::evidence::{Observation, SourceId};

/// The pause between questions before the first answer.
const IMPATIENT: Duration = Duration::from_secs(1);

/// Looks it up, again and again.
pub(super) async fn run(
    source: SourceId,
    target: DnsTarget,
    every: Duration,
    resolver: Arc<Resolver>,
    observations: mpsc::Sender<Observation>,
) {
    let mut last = LastAnswers::default();
    let mut round = time::interval(every.min(IMPATIENT));
    let mut is_known = false;
    loop {
        round.tick().await;
        let (addresses, trouble) = resolve(&target, &resolver, &mut last).await;
        last.sweep();
        if !is_known && !addresses.is_empty() {
            is_known = true;
            round = time::interval_at(time::Instant::now() + every, every);
            round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        if observations.send(Observation::Listed { source, addresses, trouble }).await.is_err() {
            return;
        }
    }
}

async fn resolve(target: &DnsTarget, resolver: &Resolver, last: &mut LastAnswers) -> (Vec<SocketAddr>, Option<String>) {
    match target {
        DnsTarget::Addresses(name) => resolve_all(std::slice::from_ref(name), resolver, last).await,
        DnsTarget::Service(name) => match resolver.services(name).await {
            Ok(hosts) => resolve_all(&hosts, resolver, last).await,
            Err(error) => (vec![], Some(error.to_string())),
        },
    }
}
