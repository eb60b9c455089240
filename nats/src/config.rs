//! Settings of a connection to the NATS servers of a cluster.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;

use crate::auth::NatsAuth;
use crate::certificates::{check_pair, check_roots};
use crate::error::NatsConfigError;
use crate::redact;

/// The longest name of a cluster.
const MAX_CLUSTER_NAME: usize = 64;

/// Settings of a connection to the NATS servers of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// The addresses of the NATS servers, with commas between them. Credentials in one address are used for all servers, unless `auth` has some.
    pub servers: String,
    /// The name of the cluster, `sociable` by default. All nodes and balancers of a cluster have the same.
    pub cluster: String,
    /// The credentials.
    pub auth: NatsAuth,
    /// True if servers without TLS are refused. Addresses with `tls://` do so by themselves.
    pub require_tls: bool,
    /// A file with root certificates (PEM) for the servers. The system's roots are used without it.
    pub root_certificates: Option<PathBuf>,
    /// Files with the client certificate and its key (PEM).
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The interval of pings to the server, 2 s by default. A link that swallows everything is noticed after about three of them.
    pub ping_interval: Duration,
}

impl NatsConfig {
    /// Settings for these servers, with defaults for the rest.
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            cluster: "sociable".into(),
            auth: NatsAuth::None,
            require_tls: false,
            root_certificates: None,
            client_certificate: None,
            ping_interval: Duration::from_secs(2),
        }
    }

    /// Checks the settings without connecting. Files are read and parsed, which blocks the thread.
    ///
    /// # Errors
    ///
    /// The first setting that can't work.
    pub fn check(&self) -> Result<(), NatsConfigError> {
        self.addresses()?;
        self.auth.check()?;
        if let Some(file) = &self.root_certificates {
            check_roots(file)?;
        }
        if let Some((certificate, key)) = &self.client_certificate {
            check_pair(certificate, key)?;
        }
        Ok(())
    }

    /// Returns the addresses of the servers, after the checks that read no file.
    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>, NatsConfigError> {
        let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        if self.cluster.is_empty() || self.cluster.len() > MAX_CLUSTER_NAME || !self.cluster.chars().all(fits) {
            return Err(NatsConfigError::ClusterName(self.cluster.clone()));
        }
        if self.ping_interval.is_zero() {
            return Err(NatsConfigError::PingInterval);
        }
        self.servers.split(',').map(parse_address).collect()
    }

    /// Returns the server addresses without credentials, for errors and logs.
    pub fn shown_servers(&self) -> String {
        redact::addresses(&self.servers)
    }
}

impl fmt::Debug for NatsConfig {
    /// Writes no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig")
            .field("servers", &self.shown_servers())
            .field("cluster", &self.cluster)
            .field("auth", &self.auth)
            .field("require_tls", &self.require_tls)
            .field("root_certificates", &self.root_certificates)
            .field("client_certificate", &self.client_certificate)
            .field("ping_interval", &self.ping_interval)
            .finish()
    }
}

fn parse_address(text: &str) -> Result<ServerAddr, NatsConfigError> {
    let wrong = |error| NatsConfigError::Address { address: redact::address(text.trim()), error };
    let parsed: ServerAddr = text.trim().parse().map_err(|error: std::io::Error| wrong(error.to_string()))?;
    if parsed.host().is_empty() { Err(wrong("no host".into())) } else { Ok(parsed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NatsConfig {
        NatsConfig::new("nats://127.0.0.1:4222")
    }

    #[test]
    fn check_accepts_several_servers() {
        NatsConfig::new("nats://a:1, tls://b:2").check().unwrap();
        assert_eq!(NatsConfig::new("nats://a:1, nats://b:2").addresses().unwrap().len(), 2);
    }

    #[test]
    fn check_refuses_invalid_settings() {
        let missing = PathBuf::from("/no/such.pem");
        for (config, expected) in [
            (NatsConfig { cluster: "a.b".into(), ..config() }, "\"a.b\""),
            (NatsConfig { cluster: String::new(), ..config() }, "invalid cluster name"),
            (NatsConfig { cluster: "a".repeat(65), ..config() }, "1 to 64 characters"),
            (NatsConfig { ping_interval: Duration::ZERO, ..config() }, "ping interval"),
            (NatsConfig::new("nats://127.0.0.1:no"), "nats://HOST:PORT"),
            (NatsConfig::new(""), "no host"),
            (NatsConfig::new("nats://127.0.0.1,"), "no host"),
            (NatsConfig { auth: NatsAuth::Nkey("SUsesame".into()), ..config() }, "starts with SU"),
            (NatsConfig { auth: NatsAuth::Credentials("/no/such.creds".into()), ..config() }, "/no/such.creds"),
            (NatsConfig { root_certificates: Some(missing.clone()), ..config() }, "reading /no/such.pem failed"),
            (NatsConfig { client_certificate: Some((missing, "/no/such.key".into())), ..config() }, "reading /no/such.pem failed"),
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("sesame"), "{expected}: {error}");
        }
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let auth = NatsAuth::User("me".into(), "secret".into());
        let shown = format!("{:?}", NatsConfig { auth, ..NatsConfig::new("nats://me:secret@host:4222,nats://secret@other") });
        assert!(shown.contains("nats://…@host:4222") && !shown.contains("secret"), "{shown}");
        // A comma in a password, a host that was forgotten, a space.
        for servers in ["nats://me:secret,secret@host", "nats://me:secret", "me:secret", "nats://me:secret@ho st"] {
            let config = NatsConfig::new(servers);
            let error = config.check().unwrap_err();
            let (shown, debug) = (error.to_string(), format!("{error:?} {config:?}"));
            assert!(!shown.contains("secret") && !debug.contains("secret"), "{shown} {debug}");
        }
    }
}
