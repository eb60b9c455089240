//! The flags by which this node meets others over NATS.

use std::path::PathBuf;

use clap::Args;
use sociable::{JetStreamOptions, NatsAdapter, NatsAuth, NatsError, NatsOptions};

#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// The NATS servers by which this node meets the others of its cluster, with commas between them; it is alone if not given
    #[arg(long, env = "SOCIABLE_NATS", value_name = "URLS")]
    nats: Option<String>,

    /// The name of the cluster: nodes of different names share nothing
    #[arg(long, env = "SOCIABLE_CLUSTER", value_name = "NAME", default_value = "sociable")]
    cluster: String,

    /// Where a balancer reaches this node, HOST:PORT; it is announced to the cluster
    #[arg(long, env = "SOCIABLE_ADVERTISE", value_name = "ADDRESS")]
    advertise: Option<String>,

    /// Has JetStream keep events and sessions, so that clients may come back to another node; all nodes of the cluster have to agree
    #[arg(long, env = "SOCIABLE_JETSTREAM", requires_all = ["nats", "recovery"])]
    jetstream: bool,

    /// On how many NATS servers JetStream keeps them: three by default, or one where there is one
    #[arg(long, env = "SOCIABLE_JETSTREAM_REPLICAS", value_name = "N", requires = "jetstream", value_parser = clap::value_parser!(u8).range(1..=5))]
    jetstream_replicas: Option<u8>,

    /// The name of this node for NATS
    #[arg(long, env = "SOCIABLE_NATS_USER", value_name = "NAME", requires = "nats_password", conflicts_with_all = ["nats_token", "nats_nkey", "nats_credentials"])]
    nats_user: Option<String>,

    /// The password of this node for NATS; by the environment, so that it is not in the list of processes
    #[arg(long, env = "SOCIABLE_NATS_PASSWORD", value_name = "PASSWORD", hide_env_values = true, requires = "nats_user")]
    nats_password: Option<String>,

    /// A token for NATS; by the environment, so that it is not in the list of processes
    #[arg(long, env = "SOCIABLE_NATS_TOKEN", value_name = "TOKEN", hide_env_values = true, conflicts_with_all = ["nats_nkey", "nats_credentials"])]
    nats_token: Option<String>,

    /// The seed of an nkey for NATS; by the environment, so that it is not in the list of processes
    #[arg(long, env = "SOCIABLE_NATS_NKEY", value_name = "SEED", hide_env_values = true, conflicts_with = "nats_credentials")]
    nats_nkey: Option<String>,

    /// A file with a JWT and an nkey for NATS, as nsc writes it
    #[arg(long, env = "SOCIABLE_NATS_CREDENTIALS", value_name = "FILE")]
    nats_credentials: Option<PathBuf>,

    /// A file with the certificates (PEM) of those who may vouch for the NATS servers; with it, only servers with TLS will do
    #[arg(long, env = "SOCIABLE_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,

    /// A file with the certificate (PEM) by which this node shows NATS who it is
    #[arg(long, env = "SOCIABLE_NATS_CERT", value_name = "FILE", requires = "nats_key")]
    nats_cert: Option<PathBuf>,

    /// A file with the key (PEM) of that certificate
    #[arg(long, env = "SOCIABLE_NATS_KEY", value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
}

impl ClusterFlags {
    /// Meets the others, if there may be any.
    pub(crate) async fn connect(&self, node_name: &str) -> Result<Option<NatsAdapter>, NatsError> {
        let Some(servers) = &self.nats else { return Ok(None) };
        let mut options = NatsOptions::new(&**servers).cluster(&*self.cluster).node_name(node_name).auth(self.auth());
        if let Some(address) = &self.advertise {
            options = options.address(&**address);
        }
        if let Some(file) = &self.nats_ca {
            options = options.root_certificates(file).require_tls();
        }
        if let (Some(certificate), Some(key)) = (&self.nats_cert, &self.nats_key) {
            options = options.client_certificate(certificate, key);
        }
        if self.jetstream {
            let kept = JetStreamOptions::default();
            options = options.jetstream(self.jetstream_replicas.map_or(kept.clone(), |replicas| kept.replicas(replicas.into())));
        }
        NatsAdapter::connect(options).await.map(Some)
    }

    fn auth(&self) -> NatsAuth {
        match self {
            Self { nats_user: Some(name), nats_password: Some(password), .. } => NatsAuth::User(name.clone(), password.clone()),
            Self { nats_token: Some(token), .. } => NatsAuth::Token(token.clone()),
            Self { nats_nkey: Some(seed), .. } => NatsAuth::Nkey(seed.clone()),
            Self { nats_credentials: Some(file), .. } => NatsAuth::Credentials(file.clone()),
            _ => NatsAuth::None,
        }
    }
}
