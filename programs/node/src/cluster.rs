//! The flags of the cluster.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::BoolishValueParser;
use sociable::{JetStreamOptions, NatsAdapter, NatsError, NatsOptions};
use sociable_gateway::api::link::NatsLink;
use sociable_program::nats::NatsFlags;

/// The time that a start waits for a NATS server, and that between two attempts.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// NATS servers of the cluster, separated by commas; a single node if unset
    #[arg(long, env = "SOCIABLE_NATS", value_name = "URLS", hide_env_values = true)]
    nats: Option<String>,

    /// Name of the cluster; nodes of different names share nothing
    #[arg(long, env = "SOCIABLE_CLUSTER", value_name = "NAME", default_value = "sociable")]
    cluster: String,

    /// Address at which balancers reach this node, HOST:PORT; the node announces it
    #[arg(long, env = "SOCIABLE_ADVERTISE", value_name = "ADDRESS")]
    advertise: Option<String>,

    /// Persist events and sessions with JetStream, so that clients resume on any node; set it on all nodes alike
    #[arg(long, env = "SOCIABLE_JETSTREAM", value_parser = BoolishValueParser::new(), requires_all = ["nats", "recovery"])]
    jetstream: bool,

    /// Replicas of the streams: three by default, or one with a single NATS server
    #[arg(long, env = "SOCIABLE_JETSTREAM_REPLICAS", value_name = "N", requires = "jetstream", value_parser = clap::value_parser!(u8).range(1..=5))]
    jetstream_replicas: Option<u8>,

    /// MiB of persisted events, reserved on each NATS server; the oldest are dropped first
    #[arg(long, env = "SOCIABLE_JETSTREAM_EVENTS", value_name = "N", requires = "jetstream", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    jetstream_events: u32,

    /// MiB of persisted sessions, reserved on each NATS server; the oldest are dropped first
    #[arg(long, env = "SOCIABLE_JETSTREAM_SESSIONS", value_name = "N", requires = "jetstream", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    jetstream_sessions: u32,

    /// Most KiB of one persisted session (rooms and data); a longer one cannot be resumed
    #[arg(long, env = "SOCIABLE_JETSTREAM_MAX_SESSION", value_name = "N", requires = "jetstream", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    jetstream_max_session: u32,

    #[command(flatten)]
    credentials: NatsFlags,
}

impl ClusterFlags {
    /// Returns the name of the cluster.
    pub(crate) fn name(&self) -> &str {
        &self.cluster
    }

    /// Returns whether there may be other nodes.
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.nats.is_some()
    }

    /// Connects to the cluster, if there is one.
    pub(crate) async fn connect(&self, node_name: &str) -> Result<Option<NatsAdapter>, NatsError> {
        let Some(options) = self.options(node_name) else { return Ok(None) };
        options.check()?;
        patiently(async || NatsAdapter::connect(options.clone()).await).await.map(Some)
    }

    /// Connects the API to the cluster, if there is one.
    pub(crate) async fn link(&self) -> Result<Option<NatsLink>, NatsError> {
        let Some(servers) = &self.nats else { return Ok(None) };
        let mut config = self.credentials.config(servers);
        config.cluster.clone_from(&self.cluster);
        patiently(async || NatsLink::connect(&config).await.map_err(NatsError::from)).await.map(Some)
    }

    /// Returns whether the nodes share what JetStream persists.
    pub(crate) fn has_jetstream(&self) -> bool {
        self.jetstream
    }

    /// Returns the settings of the cluster, if there is one.
    pub(crate) fn options(&self, node_name: &str) -> Option<NatsOptions> {
        let servers = self.nats.as_ref()?;
        let mut options = NatsOptions::from(self.credentials.config(servers)).cluster(&*self.cluster).node_name(node_name);
        if let Some(address) = &self.advertise {
            options = options.address(&**address);
        }
        if self.jetstream {
            let kept = JetStreamOptions::default()
                .max_bytes(i64::from(self.jetstream_events) << 20)
                .sessions_bytes(i64::from(self.jetstream_sessions) << 20)
                .max_session((self.jetstream_max_session as usize) << 10);
            options = options.jetstream(self.jetstream_replicas.map_or(kept.clone(), |replicas| kept.replicas(replicas.into())));
        }
        Some(options)
    }
}

/// Connects, and tries again for a while: node and NATS server may have started together.
async fn patiently<T>(connect: impl AsyncFn() -> Result<T, NatsError>) -> Result<T, NatsError> {
    let begun = Instant::now();
    loop {
        match connect().await {
            Err(error @ NatsError::Connect { .. }) if begun.elapsed() < PATIENCE => {
                tracing::warn!(%error, "cannot reach the cluster yet; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}
