//! Settings of the NATS adapter.

use std::path::PathBuf;
use std::time::Duration;

use sociable_nats::{NatsAuth, NatsConfig};

use super::error::NatsError;
use super::jetstream::options::JetStreamOptions;

/// Settings of the NATS adapter.
///
/// ```
/// use std::time::Duration;
/// use sociable_adapter::{NatsAuth, NatsOptions};
///
/// let options = NatsOptions::new("nats://10.0.0.1:4222,nats://10.0.0.2:4222")
///     .cluster("shop")
///     .auth(NatsAuth::User("node".into(), "secret".into()))
///     .heartbeat(Duration::from_secs(2), Duration::from_secs(6));
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct NatsOptions {
    pub(crate) connection: NatsConfig,
    pub(crate) name: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) queue_bytes: usize,
    pub(crate) publish_deadline: Duration,
    pub(crate) jetstream: Option<JetStreamOptions>,
}

impl From<NatsConfig> for NatsOptions {
    /// Returns settings with these servers, cluster and credentials, and defaults for the rest.
    fn from(connection: NatsConfig) -> Self {
        Self {
            connection,
            name: None,
            address: None,
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(10),
            queue_bytes: 64 << 20,
            publish_deadline: Duration::from_secs(5),
            jetstream: None,
        }
    }
}

impl NatsOptions {
    /// Returns settings for these NATS servers, whose addresses are separated by commas. Credentials in one address
    /// apply to all servers, unless [`auth`](Self::auth) has some.
    pub fn new(servers: impl Into<String>) -> Self {
        NatsConfig::new(servers).into()
    }

    /// Sets the name of the cluster, `sociable` by default. Nodes of different clusters share nothing.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.connection.cluster = name.into();
        self
    }

    /// Sets the name of this node in logs and in lists of nodes that did not answer. The default is its tag.
    #[must_use]
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the address, `HOST:PORT`, by which a balancer reaches this node. The node announces it.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Sets the credentials for the NATS servers.
    #[must_use]
    pub fn auth(mut self, auth: NatsAuth) -> Self {
        self.connection.auth = auth;
        self
    }

    /// Refuses servers that do not speak TLS. Addresses with `tls://` imply it.
    #[must_use]
    pub fn require_tls(mut self) -> Self {
        self.connection.require_tls = true;
        self
    }

    /// Sets a file with root certificates (PEM) for the servers. The default is the system's roots.
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.connection.root_certificates = Some(file.into());
        self
    }

    /// Sets the files with the client certificate and its key (PEM).
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.connection.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the interval of announcements (5 s by default), and the silence after which a node is taken for dead
    /// (10 s).
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration, timeout: Duration) -> Self {
        (self.heartbeat_interval, self.heartbeat_timeout) = (interval, timeout);
        self
    }

    /// Sets the interval of pings to the NATS server, 2 s by default. A silent link is noticed after about three
    /// intervals.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.connection.ping_interval = interval;
        self
    }

    /// Sets the most bytes that wait to be sent, 64 MiB by default. Beyond it emitting fails with
    /// [`AdapterError::Full`](crate::AdapterError::Full).
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Sets the time that a message may wait for the NATS server, 5 s by default. A later message is dropped and
    /// counted. At most 128 envelopes that the client holds when the link breaks are sent after the reconnection.
    #[must_use]
    pub fn publish_deadline(mut self, deadline: Duration) -> Self {
        self.publish_deadline = deadline;
        self
    }

    /// Makes JetStream persist events and sessions, if recovery is on. A client can then resume its session on another
    /// node, even if its own was killed. All nodes of a cluster need the same setting, and so do its
    /// [emitters](crate::Emitter).
    #[must_use]
    pub fn jetstream(mut self, options: JetStreamOptions) -> Self {
        self.jetstream = Some(options);
        self
    }

    /// Checks the options before [connecting](crate::NatsAdapter::connect). Files are read and parsed, on the calling
    /// thread.
    ///
    /// # Errors
    ///
    /// The first invalid option.
    pub fn check(&self) -> Result<(), NatsError> {
        self.connection.check()?;
        if self.heartbeat_interval.is_zero() || self.heartbeat_timeout < self.heartbeat_interval * 2 {
            return Err(NatsError::Heartbeat);
        }
        match &self.address {
            Some(address) if !is_reachable(address) => Err(NatsError::Advertised(address.clone())),
            _ => Ok(()),
        }
    }
}

/// Returns true for `HOST:PORT`, with a port that something can listen on.
fn is_reachable(address: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let host = |host: &str| !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
    address.rsplit_once(':').is_some_and(|(before, behind)| host(before) && port(behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_refuses_invalid_options() {
        let error = |options: NatsOptions| options.check().unwrap_err().to_string();
        let options = || NatsOptions::new("nats://127.0.0.1:4222");
        assert!(error(options().cluster("a.b")).contains("\"a.b\""));
        assert!(error(options().heartbeat(Duration::from_secs(5), Duration::from_secs(6))).contains("twice"));
        assert!(error(options().ping_interval(Duration::ZERO)).contains("above zero"));
        assert!(error(NatsOptions::new("nats://127.0.0.1:no")).contains("nats://HOST:PORT"));
        for address in ["10.0.0.1", ":3000", "10.0.0.1:0", "::1:3000", "http://node:3000"] {
            assert!(error(options().address(address)).contains("write HOST:PORT"), "{address}");
        }
        for address in ["10.0.0.1:3000", "node-1:80", "[::1]:3000"] {
            options().address(address).check().unwrap();
        }
        for options in [
            options().auth(NatsAuth::Credentials("/no/such.creds".into())),
            options().root_certificates("/no/such.pem"),
            options().client_certificate("/no/such.pem", "/no/such.key"),
        ] {
            assert!(matches!(options.check(), Err(NatsError::Credentials { path, .. }) if path.starts_with("/no/")));
        }
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let options = NatsOptions::new("nats://me:secret@host:4222").auth(NatsAuth::User("me".into(), "secret".into()));
        let shown = format!("{options:?}");
        assert!(shown.contains("nats://…@host:4222") && !shown.contains("secret"), "{shown}");
        let seed = NatsOptions::new("nats://host").auth(NatsAuth::Nkey("SUsecret".into()));
        for options in [NatsOptions::new("nats://me:secret,secret@host"), NatsOptions::new("nats://me:secret@ho st"), seed] {
            let error = options.check().unwrap_err();
            let shown = format!("{error} {error:?} {options:?}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
