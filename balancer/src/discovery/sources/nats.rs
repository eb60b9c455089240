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
/// The most unread announcements. The client drops further ones: nodes announce themselves again.
const MAX_BEHIND: usize = 16_384;
/// The most concurrent lookups of announced names. Further ones wait for the node's next announcement.
const MAX_LOOKUPS: usize = 256;
/// The pause after a failed attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// The time without a connection after which the log has it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause in the log after a logged error of the server.
const QUIET: Duration = Duration::from_secs(60);

/// The role of the connection. Initial attempts are repeated: nodes may be known by other sources meanwhile.
const ROLE: Role = Role { name: "balancer", subscription_capacity: MAX_BEHIND, retry_on_initial_connect: true };

/// An error before connecting.
#[derive(Debug, Error)]
enum ConnectError {
    #[error(transparent)]
    Connect(#[from] NatsConnectError),
    #[error(transparent)]
    Subscribe(#[from] async_nats::SubscribeError),
}

/// Receives the announcements of nodes. An unreachable server is retried.
pub(super) async fn run(
    source: SourceId,
    options: NatsConfig,
    resolver: Arc<Resolver>,
    observations: mpsc::Sender<Observation>,
    counters: Arc<DiscoveryCounters>,
) {
    let [subject, who] = ["members", "who"].map(|rest| format!("sociable.{}.{rest}", options.cluster));
    let mut logged = false;
    loop {
        match Listener::connect(&options, &subject, &counters).await {
            Ok(listener) => return listener.run(source, who, resolver, observations, counters).await,
            // Files may come to be there.
            Err(error) if !logged => {
                logged = true;
                tracing::error!(target: "sociable::balancer", %error, "receiving announcements on NATS failed; retrying");
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
    /// The error of the last attempt to connect.
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
                tracing::info!(target: "sociable::balancer", "NATS connection up");
                up.send_replace(true);
            }
            LinkEvent::Down => {
                counters.nats_disconnects.increment();
                tracing::warn!(target: "sociable::balancer", "NATS connection down; keeping known nodes, and probes decide");
                up.send_replace(false);
            }
            LinkEvent::SlowConsumer => {
                tracing::warn!(target: "sociable::balancer", "slow consumer; announcements were dropped");
            }
            LinkEvent::Refused(event) if is_publish_violation(&event.to_string()) => {
                tracing::debug!(target: "sociable::balancer", "no permission to ask for announcements; waiting for the next ones");
            }
            LinkEvent::Refused(event) => {
                counters.nats_errors.increment();
                if throttle.permits() {
                    tracing::error!(target: "sociable::balancer", %event, "refused by the NATS server; check the permissions of this process");
                }
            }
            LinkEvent::Other(event) => {
                if let Event::ClientError(error) = &event {
                    *fails.lock() = error.to_string();
                }
                tracing::debug!(target: "sociable::balancer", %event, "NATS client event");
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
                    tracing::warn!(target: "sociable::balancer", error, "connecting to NATS failed; retrying");
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
            tracing::debug!(target: "sociable::balancer", %tag, announced, %failure, "resolving an announced name failed");
        }
        (!found.all.is_empty()).then_some(Observation::Resolved { tag, announced, addresses: found.all })
    });
}

/// Returns true if the server refused a publication. This process publishes only a question, which may be refused.
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
