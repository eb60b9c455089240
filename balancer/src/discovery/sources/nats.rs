//! NATS, where nodes announce themselves.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event, Subscriber};
use futures_util::StreamExt;
use parking_lot::Mutex;
use sociable_nats::{LinkEvent, LogThrottle, NatsConfig, NatsConnectError, Role};
use sociable_protocol::{Announcement, Occasion};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time;

use super::resolver::{LastAnswers, Resolver};
use crate::discovery::address::HostPort;
use crate::discovery::counters::DiscoveryCounters;
use crate::discovery::evidence::{Observation, SourceId};

/// The longest announcement that is read.
const MAX_ANNOUNCEMENT: usize = 16 << 10;
/// How many announcements may wait to be read. What is more is dropped by the client: nodes speak again.
const MAX_BEHIND: usize = 16_384;
/// How many announced names are looked up at a time. What is more is put off until the node speaks again.
const MAX_LOOKUPS: usize = 256;
/// How long after an attempt that failed for good another is made.
const PAUSE: Duration = Duration::from_secs(1);
/// After so long without a link it is told that there is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after an error of the server that was logged none is.
const QUIET: Duration = Duration::from_secs(60);

/// The role of the connection. Initial attempts are repeated: nodes may be known by other sources meanwhile.
const ROLE: Role = Role { name: "balancer", subscription_capacity: MAX_BEHIND, retry_on_initial_connect: true };

/// Why connecting can't even be begun.
#[derive(Debug, Error)]
enum ConnectError {
    #[error(transparent)]
    Connect(#[from] NatsConnectError),
    #[error(transparent)]
    Subscribe(#[from] async_nats::SubscribeError),
}

/// Hears what nodes announce. That no server can be reached is no reason to end.
pub(super) async fn run(
    source: SourceId,
    options: NatsConfig,
    resolver: Arc<Resolver>,
    observations: mpsc::Sender<Observation>,
    counters: Arc<DiscoveryCounters>,
) {
    let [subject, who] = ["members", "who"].map(|rest| format!("sociable.{}.{rest}", options.cluster));
    let mut told = false;
    loop {
        match Listener::connect(&options, &subject, &counters).await {
            Ok(listener) => return listener.run(source, who, resolver, observations, counters).await,
            // Files may come to be there.
            Err(error) if !told => {
                told = true;
                tracing::error!(target: "sociable::balancer", %error, "nodes can't be heard on NATS; it is tried again and again");
            }
            Err(_) => {}
        }
        time::sleep(PAUSE).await;
    }
}

/// A link to NATS that is up or will be.
struct Listener {
    client: Client,
    heard: Subscriber,
    is_up: watch::Receiver<bool>,
    /// Why the last attempt to connect failed.
    failure: Arc<Mutex<String>>,
}

impl Listener {
    async fn connect(options: &NatsConfig, subject: &str, counters: &Arc<DiscoveryCounters>) -> Result<Self, ConnectError> {
        let (up, is_up) = watch::channel(false);
        let (counters, throttle) = (Arc::clone(counters), LogThrottle::new(QUIET));
        let failure = Arc::new(Mutex::new(String::from("no server has answered")));
        let fails = Arc::clone(&failure);
        let on_event = move |event| match event {
            LinkEvent::Up => {
                tracing::info!(target: "sociable::balancer", "the link to NATS is up");
                up.send_replace(true);
            }
            LinkEvent::Down => {
                counters.nats_disconnects.increment();
                tracing::warn!(target: "sociable::balancer", "the link to NATS is down: the nodes that were heard are kept, and probes decide");
                up.send_replace(false);
            }
            LinkEvent::SlowConsumer => {
                tracing::warn!(target: "sociable::balancer", "announcements were dropped since this process is too slow to take them");
            }
            LinkEvent::Refused(event) if is_publish_violation(&event.to_string()) => {
                tracing::debug!(target: "sociable::balancer", "this process may only listen: nodes are known when they have spoken");
            }
            LinkEvent::Refused(event) => {
                counters.nats_errors.increment();
                if throttle.permits() {
                    tracing::error!(target: "sociable::balancer", %event, "the NATS server refuses something; has this process the permissions that it needs?");
                }
            }
            LinkEvent::Other(event) => {
                if let Event::ClientError(error) = &event {
                    *fails.lock() = error.to_string();
                }
                tracing::debug!(target: "sociable::balancer", %event, "NATS");
            }
        };
        let client = options.connect(ROLE, on_event).await?;
        let heard = client.subscribe(subject.to_owned()).await?;
        Ok(Self { client, heard, is_up, failure })
    }

    async fn run(
        mut self,
        source: SourceId,
        who: String,
        resolver: Arc<Resolver>,
        observations: mpsc::Sender<Observation>,
        counters: Arc<DiscoveryCounters>,
    ) {
        let mut lookups = JoinSet::new();
        let impatience = time::sleep(PATIENCE);
        tokio::pin!(impatience);
        let mut patient = true;
        loop {
            let observation = tokio::select! {
                biased;
                changed = self.is_up.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let up = *self.is_up.borrow_and_update();
                    if up {
                        patient = false;
                        self.request_announcements(&who).await;
                    }
                    Observation::Link { source, up }
                }
                message = self.heard.next() => {
                    // The client has ended for good.
                    let Some(message) = message else { return };
                    let Some(announcement) = decode(&message.payload) else {
                        counters.announcements_malformed.increment();
                        continue;
                    };
                    counters.announcements.increment();
                    resolve_address(&announcement, &resolver, &mut lookups, &counters);
                    Observation::Announced { source, announcement }
                }
                Some(located) = lookups.join_next() => match located {
                    Ok(Some(observation)) => observation,
                    Ok(None) | Err(_) => continue,
                },
                () = &mut impatience, if patient => {
                    patient = false;
                    let error = self.failure.lock().clone();
                    tracing::warn!(target: "sociable::balancer", error, "no NATS server lets this process in yet; it is tried again and again");
                    continue;
                }
            };
            if observations.send(observation).await.is_err() {
                return;
            }
        }
    }

    /// Has all members say that they live. A server that does not let it through changes nothing.
    async fn request_announcements(&self, who: &str) {
        drop(time::timeout(PAUSE, self.client.publish(who.to_owned(), bytes::Bytes::new())).await);
    }
}

/// Looks the announced address up, if it is a name.
fn resolve_address(
    announcement: &Announcement,
    resolver: &Arc<Resolver>,
    lookups: &mut JoinSet<Option<Observation>>,
    counters: &DiscoveryCounters,
) {
    let tag = announcement.tag;
    let Some(announced) = announcement.address.clone().filter(|_| matches!(announcement.occasion, Occasion::Hello | Occasion::Alive))
    else {
        return;
    };
    let Some(name) = announced.parse::<HostPort>().ok().filter(|name| name.socket_addr().is_none()) else { return };
    if lookups.len() >= MAX_LOOKUPS {
        counters.lookups_deferred.increment();
        return;
    }
    let resolver = Arc::clone(resolver);
    lookups.spawn(async move {
        let found = resolver.resolve(&name, &mut LastAnswers::default()).await;
        if let Some(failure) = found.failure {
            tracing::debug!(target: "sociable::balancer", %tag, announced, %failure, "the name that a node announced can't be looked up");
        }
        (!found.all.is_empty()).then_some(Observation::Resolved { tag, announced, addresses: found.all })
    });
}

/// True if this process may not publish: all it ever publishes is a question that may be refused.
fn is_publish_violation(error: &str) -> bool {
    error.to_ascii_lowercase().contains("permissions violation for publish")
}

fn decode(payload: &[u8]) -> Option<Announcement> {
    if payload.len() > MAX_ANNOUNCEMENT {
        return None;
    }
    serde_json::from_slice(payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::DiscoveryConfig;

    #[test]
    fn discovery_shows_no_credentials_of_nats() {
        let discovery = |servers: &str| DiscoveryConfig { nats: Some(NatsConfig::new(servers)), ..DiscoveryConfig::default() };
        let shown = format!("{:?}", discovery("nats://me:secret@host:4222"));
        assert!(shown.contains("nats://…@host:4222") && !shown.contains("secret"), "{shown}");
        for servers in ["nats://me:secret,secret@host", "nats://me:secret", "me:secret", "nats://me:secret@ho st"] {
            let error = discovery(servers).check().unwrap_err();
            assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"), "{error}");
        }
    }
}
