//! The flags with the credentials of a NATS client.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use sociable_nats::{NatsAuth, NatsConfig};

#[derive(Clone, Default, PartialEq, Eq, Args)]
#[allow(missing_docs, reason = "`--help` would show the lines")]
pub struct NatsFlags {
    /// NATS user
    #[arg(long, env = "SOCIABLE_NATS_USER", value_name = "NAME", requires = "nats_password", conflicts_with_all = ["nats_token", "nats_nkey", "nats_credentials"])]
    nats_user: Option<String>,

    /// NATS password; set the variable, so that the list of processes does not show it
    #[arg(long, env = "SOCIABLE_NATS_PASSWORD", value_name = "PASSWORD", hide_env_values = true, requires = "nats_user")]
    nats_password: Option<String>,

    /// NATS token; set the variable, so that the list of processes does not show it
    #[arg(long, env = "SOCIABLE_NATS_TOKEN", value_name = "TOKEN", hide_env_values = true, conflicts_with_all = ["nats_nkey", "nats_credentials"])]
    nats_token: Option<String>,

    /// Seed of a NATS nkey; set the variable, so that the list of processes does not show it
    #[arg(long, env = "SOCIABLE_NATS_NKEY", value_name = "SEED", hide_env_values = true, conflicts_with = "nats_credentials")]
    nats_nkey: Option<String>,

    /// File with the NATS credentials (JWT and nkey), as nsc writes it
    #[arg(long, env = "SOCIABLE_NATS_CREDENTIALS", value_name = "FILE")]
    nats_credentials: Option<PathBuf>,

    /// File with root certificates (PEM) for the NATS servers; it requires TLS
    #[arg(long, env = "SOCIABLE_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,

    /// File with the client certificate (PEM) for NATS
    #[arg(long, env = "SOCIABLE_NATS_CERT", value_name = "FILE", requires = "nats_key")]
    nats_cert: Option<PathBuf>,

    /// File with the key (PEM) of the client certificate for NATS
    #[arg(long, env = "SOCIABLE_NATS_KEY", value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
}

impl fmt::Debug for NatsFlags {
    /// Writes the kind of the credentials, never a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsFlags").field("auth", &self.auth()).finish_non_exhaustive()
    }
}

impl NatsFlags {
    /// Returns the settings of a connection to these servers with these credentials.
    pub fn config(&self, servers: &str) -> NatsConfig {
        let mut config = NatsConfig::new(servers);
        config.auth = self.auth();
        config.require_tls = self.nats_ca.is_some();
        config.root_certificates.clone_from(&self.nats_ca);
        config.client_certificate = self.nats_cert.clone().zip(self.nats_key.clone());
        config
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
