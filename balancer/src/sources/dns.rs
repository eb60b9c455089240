//! Names in DNS that stand for all nodes: a headless service, a name with an address for each.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use super::fixed::resolve_all;
use super::names::{HostPort, Memory, Names, is_name};
use crate::discovery::DiscoveryError;
use crate::registry::{Sighting, SourceId};

/// How soon is asked again as long as there never was an answer.
const IMPATIENT: Duration = Duration::from_secs(1);

/// A name that stands for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsTarget {
    /// All its IPv4 and IPv6 addresses are nodes, at this port: `dns://NAME:PORT`.
    Addresses(HostPort),
    /// All hosts of a service are nodes, at the ports that its records tell: `srv://_socketio._tcp.NAME`. Priorities and weights are not looked at.
    Service(String),
}

impl FromStr for DnsTarget {
    type Err = DiscoveryError;

    fn from_str(text: &str) -> Result<Self, DiscoveryError> {
        let wrong = || DiscoveryError::DnsTarget(text.to_owned());
        match text.split_once("://") {
            Some(("dns", name)) => {
                // An address needs no looking up.
                let name = name.parse::<HostPort>().ok().filter(|name| name.socket_addr().is_none());
                name.map(Self::Addresses).ok_or_else(wrong)
            }
            Some(("srv", name)) if is_name(name) => Ok(Self::Service(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for DnsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(name) => write!(f, "dns://{name}"),
            Self::Service(name) => write!(f, "srv://{name}"),
        }
    }
}

/// Looks it up, again and again.
pub(super) async fn run(source: SourceId, target: DnsTarget, every: Duration, names: Arc<Names>, sightings: mpsc::Sender<Sighting>) {
    let mut memory = Memory::default();
    let mut round = time::interval(every.min(IMPATIENT));
    let mut is_known = false;
    loop {
        round.tick().await;
        let (addresses, trouble) = look_up(&target, &names, &mut memory).await;
        memory.sweep();
        if !is_known && !addresses.is_empty() {
            is_known = true;
            round = time::interval_at(time::Instant::now() + every, every);
            round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        if sightings.send(Sighting::Listed { source, addresses, trouble }).await.is_err() {
            return;
        }
    }
}

async fn look_up(target: &DnsTarget, names: &Names, memory: &mut Memory) -> (Vec<SocketAddr>, Option<String>) {
    match target {
        DnsTarget::Addresses(name) => resolve_all(std::slice::from_ref(name), names, memory).await,
        DnsTarget::Service(name) => match names.services(name).await {
            Ok(hosts) => resolve_all(&hosts, names, memory).await,
            Err(error) => (vec![], Some(error.to_string())),
        },
    }
}
