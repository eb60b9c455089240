//! Flags and variables. `--help` lists them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use actix_web::cookie::Key;
use clap::Parser;
use clap::builder::BoolishValueParser;
use sociable::{JetStreamOptions, NatsAdapter, NatsAuth, NatsError, NatsOptions, Recovery, Server, ServerBuilder};

use crate::login::Logins;

/// The time that a start waits for a NATS server, and that between two attempts.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// The fewest characters of a key for cookies.
const KEY_LENGTH: usize = 64;

/// A team chat with Socket.IO.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Settings {
    /// Exit with 0 if the process that runs with these settings on this machine is healthy
    #[arg(long)]
    pub probe: bool,

    /// Address to listen on
    #[arg(long, env = "SOCIABLE_HOST", default_value = "127.0.0.1")]
    pub host: String,

    /// Port to listen on
    #[arg(long, env = "SOCIABLE_PORT", default_value_t = 3000)]
    pub port: u16,

    /// Address of /metrics, /healthz and /readyz for operators; off if unset
    #[arg(long, env = "SOCIABLE_ADMIN_ADDR")]
    pub admin_addr: Option<std::net::SocketAddr>,

    /// Address of the HTTP API for other programs; off if unset. It has no TLS
    #[cfg(feature = "api")]
    #[arg(long, env = "SOCIABLE_API_ADDR", requires = "api_keys")]
    pub api_addr: Option<std::net::SocketAddr>,

    /// File with the keys of the API (TOML)
    #[cfg(feature = "api")]
    #[arg(long, env = "SOCIABLE_API_KEYS", requires = "api_addr")]
    pub api_keys: Option<PathBuf>,

    /// Worker threads; one per core if unset
    #[arg(long, env = "SOCIABLE_WORKERS", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,

    /// Secret of at least 64 characters that signs tokens; all nodes need the same. Random if unset, without NATS
    #[arg(long, env = "STARTER_KEY", hide_env_values = true)]
    key: Option<String>,

    /// Hours for which a login is valid
    #[arg(long, env = "STARTER_LOGIN_HOURS", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=8760))]
    login_hours: u64,

    /// Send the cookie over HTTPS alone; set it in production
    #[arg(long, env = "STARTER_SECURE_COOKIE", value_parser = BoolishValueParser::new())]
    secure_cookie: bool,

    /// NATS servers of the cluster, separated by commas; a single node if unset
    #[arg(long, env = "SOCIABLE_NATS", hide_env_values = true)]
    nats: Option<String>,

    /// NATS user
    #[arg(long, env = "SOCIABLE_NATS_USER", requires = "nats_password")]
    nats_user: Option<String>,

    /// NATS password
    #[arg(long, env = "SOCIABLE_NATS_PASSWORD", hide_env_values = true, requires = "nats_user")]
    nats_password: Option<String>,

    /// File with root certificates (PEM) for the NATS servers; it requires TLS
    #[arg(long, env = "SOCIABLE_NATS_CA")]
    nats_ca: Option<PathBuf>,

    /// Name of the cluster
    #[arg(long, env = "SOCIABLE_CLUSTER", default_value = "sociable")]
    cluster: String,

    /// Address at which balancers reach this node, HOST:PORT
    #[arg(long, env = "SOCIABLE_ADVERTISE")]
    advertise: Option<String>,

    /// Name of this node
    #[arg(long, env = "SOCIABLE_NODE_NAME", default_value = "starter")]
    pub node_name: String,

    /// Persist events and sessions with JetStream; set it on all nodes alike
    #[arg(long, env = "SOCIABLE_JETSTREAM", value_parser = BoolishValueParser::new())]
    jetstream: bool,

    /// Seconds a disconnected client can resume its session; off if unset
    #[arg(long, env = "SOCIABLE_RECOVERY")]
    recovery: Option<u64>,

    /// Most sessions of this node
    #[arg(long, env = "SOCIABLE_MAX_SESSIONS")]
    max_sessions: Option<usize>,

    /// Most bytes of all sessions
    #[arg(long, env = "SOCIABLE_MAX_SESSION_MEMORY")]
    max_session_memory: Option<usize>,

    /// Most bytes that wait for slow clients
    #[arg(long, env = "SOCIABLE_MAX_UNREAD")]
    max_unread: Option<usize>,

    /// Seconds of the drain before a stop
    #[arg(long, env = "SOCIABLE_DRAIN_TIME", default_value_t = 0)]
    pub drain_time: u64,

    /// Seconds that a stop may take after the drain
    #[arg(long, env = "SOCIABLE_SHUTDOWN_TIMEOUT", default_value_t = 10)]
    pub shutdown_timeout: u64,

    /// Filter of the log
    #[arg(long, env = "SOCIABLE_LOG", default_value = "info")]
    pub log: String,
}

/// The reason why settings do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("the nodes of a cluster need one key: set STARTER_KEY to the output of `openssl rand -hex 64`")]
    NoKey,
    #[error("STARTER_KEY has less than {KEY_LENGTH} characters: set it to the output of `openssl rand -hex 64`")]
    ShortKey,
    #[error("JetStream needs a cluster and recovery: set SOCIABLE_NATS and SOCIABLE_RECOVERY too")]
    JetStream,
}

impl Settings {
    /// Checks what one setting requires of others.
    ///
    /// # Errors
    ///
    /// JetStream is on without NATS or recovery.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.jetstream && (self.nats.is_none() || self.recovery.is_none()) { Err(SettingsError::JetStream) } else { Ok(()) }
    }

    /// Returns the logins, which sign by the key.
    ///
    /// # Errors
    ///
    /// The key is too short, or there is none in a cluster.
    pub fn logins(&self) -> Result<Logins, SettingsError> {
        let key = match &self.key {
            Some(key) if key.len() < KEY_LENGTH => return Err(SettingsError::ShortKey),
            Some(key) => Key::try_from(key.as_bytes()).map_err(|_| SettingsError::ShortKey)?,
            None if self.nats.is_some() => return Err(SettingsError::NoKey),
            None => Key::generate(),
        };
        Ok(Logins::new(key, Duration::from_secs(self.login_hours * 3600)).secure(self.secure_cookie))
    }

    /// Returns a server builder with these options, connected to the cluster if there is one.
    ///
    /// # Errors
    ///
    /// The options of NATS are invalid, or no server answers within ten seconds.
    pub async fn builder(&self) -> Result<ServerBuilder, NatsError> {
        let mut builder = Server::builder();
        if let Some(sessions) = self.max_sessions {
            builder = builder.max_sessions(sessions);
        }
        if let Some(bytes) = self.max_session_memory {
            builder = builder.max_session_memory(bytes);
        }
        if let Some(bytes) = self.max_unread {
            builder = builder.max_unread(bytes);
        }
        if let Some(seconds) = self.recovery {
            builder = builder.recovery(Recovery::default().max_disconnection_duration(Duration::from_secs(seconds)));
        }
        match self.nats_options() {
            Some(options) => Ok(builder.adapter(connect(options).await?)),
            None => Ok(builder),
        }
    }

    fn nats_options(&self) -> Option<NatsOptions> {
        let mut options = NatsOptions::new(self.nats.as_deref()?).cluster(&*self.cluster).node_name(&*self.node_name);
        if let Some((user, password)) = self.nats_user.clone().zip(self.nats_password.clone()) {
            options = options.auth(NatsAuth::User(user, password));
        }
        if let Some(file) = &self.nats_ca {
            options = options.require_tls().root_certificates(file);
        }
        if let Some(address) = &self.advertise {
            options = options.address(&**address);
        }
        Some(if self.jetstream { options.jetstream(JetStreamOptions::default()) } else { options })
    }
}

/// Connects to NATS. Node and NATS server may have started together.
async fn connect(options: NatsOptions) -> Result<NatsAdapter, NatsError> {
    let begun = Instant::now();
    loop {
        match NatsAdapter::connect(options.clone()).await {
            Err(error @ NatsError::Connect { .. }) if begun.elapsed() < PATIENCE => {
                tracing::warn!(%error, "cannot reach the cluster yet; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Settings {
        Settings::parse_from([&["starter"], args].concat())
    }

    #[test]
    fn cluster_is_refused_without_a_key() {
        assert!(settings(&[]).logins().is_ok());
        assert!(matches!(settings(&["--nats", "nats://127.0.0.1"]).logins(), Err(SettingsError::NoKey)));
        assert!(matches!(settings(&["--key", "short"]).logins(), Err(SettingsError::ShortKey)));
        assert!(settings(&["--nats", "nats://127.0.0.1", "--key", &"k".repeat(KEY_LENGTH)]).logins().is_ok());
    }

    #[test]
    fn jetstream_is_refused_without_recovery() {
        let jetstream = ["--nats", "nats://127.0.0.1", "--jetstream"];
        assert_eq!(settings(&jetstream).check(), Err(SettingsError::JetStream));
        assert_eq!(settings(&[&jetstream[..], &["--recovery", "120"]].concat()).check(), Ok(()));
    }
}
