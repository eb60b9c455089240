//! The connection of the API to the NATS servers of its cluster.

use std::fmt;
use std::time::Duration;

use async_nats::{Client, connection::State};
use sociable_nats::{LinkEvent, LogThrottle, NatsConfig, NatsConnectError, Role};

/// The pause between two logged refusals of the server.
const REFUSALS: Duration = Duration::from_secs(1);
/// The messages that one subscription holds. Beyond it the client drops them.
const SUBSCRIPTION: usize = 256;

/// A connection to the NATS servers of a cluster. Clones share it.
///
/// The adapter of the node has connections of its own.
#[derive(Clone)]
pub struct NatsLink {
    client: Client,
    cluster: String,
}

impl fmt::Debug for NatsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsLink").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl NatsLink {
    /// Connects to the NATS servers of a cluster. The connection is restored whenever it is lost.
    ///
    /// # Errors
    ///
    /// A setting is invalid, no server answers, or none accepts the credentials.
    pub async fn connect(config: &NatsConfig) -> Result<Self, NatsConnectError> {
        let role = Role { name: "api", subscription_capacity: SUBSCRIPTION, retry_on_initial_connect: false };
        let throttle = LogThrottle::new(REFUSALS);
        let client = config.connect(role, move |event| observe(event, &throttle)).await?;
        Ok(Self { client, cluster: config.cluster.clone() })
    }

    /// Returns whether the connection is up.
    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }
}

fn observe(event: LinkEvent, throttle: &LogThrottle) {
    match event {
        LinkEvent::Up => tracing::info!(target: "sociable::gateway", "NATS connection up"),
        LinkEvent::Down => tracing::warn!(target: "sociable::gateway", "NATS connection down"),
        LinkEvent::SlowConsumer => tracing::warn!(target: "sociable::gateway", "slow consumer; NATS messages were dropped"),
        LinkEvent::Refused(event) => {
            if throttle.permits() {
                tracing::error!(target: "sociable::gateway", %event, "refused by the NATS server; check the permissions of this node");
            }
        }
        LinkEvent::Other(event) => tracing::debug!(target: "sociable::gateway", %event, "NATS client event"),
    }
}
