//! The flags by which a process shows NATS who it is: those of `sociable-node` and `sociable-emit`.

use std::path::PathBuf;

use clap::Args;
use sociable::{NatsAuth, NatsOptions};

#[derive(Debug, Args)]
pub(crate) struct NatsFlags {
    /// The name of this process for NATS
    #[arg(long, env = "SOCIABLE_NATS_USER", value_name = "NAME", requires = "nats_password", conflicts_with_all = ["nats_token", "nats_nkey", "nats_credentials"])]
    nats_user: Option<String>,

    /// The password of this process for NATS; by the environment, so that it is not in the list of processes
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

    /// A file with the certificate (PEM) by which this process shows NATS who it is
    #[arg(long, env = "SOCIABLE_NATS_CERT", value_name = "FILE", requires = "nats_key")]
    nats_cert: Option<PathBuf>,

    /// A file with the key (PEM) of that certificate
    #[arg(long, env = "SOCIABLE_NATS_KEY", value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
}

impl NatsFlags {
    /// Options with these credentials.
    pub(crate) fn apply(&self, options: NatsOptions) -> NatsOptions {
        let mut options = options.auth(self.auth());
        if let Some(file) = &self.nats_ca {
            options = options.root_certificates(file).require_tls();
        }
        if let (Some(certificate), Some(key)) = (&self.nats_cert, &self.nats_key) {
            options = options.client_certificate(certificate, key);
        }
        options
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
