//! How a node meets the others over NATS.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use thiserror::Error;

use super::JetStreamOptions;

/// How many messages the queue of one subscription takes. Beyond it the client drops what comes, which is counted and seen as a gap. It has to hold what
/// the client reads in one go, before anybody else gets a turn on its thread: 128 times its buffer of 64 KiB, which is as many messages if
/// each is of 128 bytes, about the shortest that a node sends. Its memory is bounded by that too (see `Backlog`), and taken only while messages wait.
pub(crate) const MAX_BEHIND: usize = 65_536;

/// The same for what the server keeps, whose messages are longer, up to 256 KiB. What the client drops of them is read from the stream.
pub(crate) const MAX_KEPT_BEHIND: usize = 1024;

/// How many envelopes the client may hold that it has not written: they are sent after a break, however late.
const MAX_HANDED_OVER: usize = 128;

/// Why a node can't meet the others.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The address of a NATS server can't be read. Write it as `nats://HOST:PORT` or `tls://HOST:PORT`.
    #[error("{address:?} is no address of a NATS server ({error}); write nats://HOST:PORT")]
    Address {
        /// What was given.
        address: String,
        /// Why it can't be read.
        error: String,
    },
    /// The address of this node can't be read. Write it as `HOST:PORT`, as a balancer would reach it.
    #[error("{0:?} is no address at which a balancer reaches this node; write HOST:PORT")]
    Advertised(String),
    /// The name of the cluster is part of subjects: give it 1 to 64 characters of `[A-Za-z0-9_-]`.
    #[error("{0:?} can't be the name of a cluster: give it 1 to 64 characters of [A-Za-z0-9_-]")]
    ClusterName(String),
    /// Other nodes would take this one for dead: let `heartbeat_timeout` be at least twice `heartbeat_interval`, and this above zero.
    #[error("heartbeat_timeout has to be at least twice heartbeat_interval, and this above zero")]
    Heartbeat,
    /// None of the NATS servers can be reached. Are they running?
    #[error("no NATS server at {servers} can be reached: {error}")]
    Connect {
        /// The servers that were tried.
        servers: String,
        /// What the last said.
        error: String,
    },
    /// The NATS servers do not let this process in. Are the credentials right?
    #[error("no NATS server at {servers} lets this process in with these credentials: {error}")]
    Refused {
        /// The servers that were tried.
        servers: String,
        /// What the last said.
        error: String,
    },
    /// The seed of an nkey can't be read. It begins with `SU`.
    #[error("the nkey can't be read: {0}; give the seed, which begins with SU")]
    Nkey(String),
    /// A file with credentials, certificates or a key can't be read.
    #[error("{path}: {error}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why it can't be read.
        error: std::io::Error,
    },
    /// The server can't keep events and sessions. Is JetStream enabled (`nats-server -js`), and is this process allowed to use it?
    #[error("JetStream can't be used: {0}; it has to be enabled (`nats-server -js`), and this process allowed to use it")]
    JetStream(String),
    /// No tag was free in several tries, or the thread of the adapter could not be started.
    #[error("the adapter can't be started: {0}")]
    Start(String),
}

/// How a process shows a NATS server who it is.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum NatsAuth {
    /// It does not, but by what the address holds.
    #[default]
    None,
    /// By a name and a password.
    User(String, String),
    /// By a token.
    Token(String),
    /// By the seed of an nkey, which begins with `SU`.
    Nkey(String),
    /// By a file with a JWT and an nkey, as `nsc` writes it.
    Credentials(PathBuf),
}

impl std::fmt::Debug for NatsAuth {
    /// Tells the kind, never a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::User(..) => "User",
            Self::Token(_) => "Token",
            Self::Nkey(_) => "Nkey",
            Self::Credentials(_) => "Credentials",
        })
    }
}

/// How a node meets the others over NATS.
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
    pub(crate) servers: String,
    pub(crate) cluster: String,
    pub(crate) name: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) auth: NatsAuth,
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) queue_bytes: usize,
    pub(crate) publish_deadline: Duration,
    pub(crate) jetstream: Option<JetStreamOptions>,
}

impl NatsOptions {
    /// The addresses of the NATS servers, with commas between them. A name and a password in one of them,
    /// or a token, are taken for all, if there is no other [`auth`](Self::auth).
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            cluster: "sociable".into(),
            name: None,
            address: None,
            auth: NatsAuth::None,
            tls: false,
            ca: None,
            client_certificate: None,
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(2),
            queue_bytes: 64 << 20,
            publish_deadline: Duration::from_secs(5),
            jetstream: None,
        }
    }

    /// The name of the cluster, `sociable` by default: nodes of different names share nothing.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The name of this node, for people: in logs, and in the lists of nodes that did not answer. Its tag by default.
    #[must_use]
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The address, `HOST:PORT`, by which a balancer reaches this node. It is part of what the node announces.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// How the NATS server is shown who this is.
    #[must_use]
    pub fn auth(mut self, auth: NatsAuth) -> Self {
        self.auth = auth;
        self
    }

    /// Refuses servers that do not speak TLS. Addresses with `tls://` do so by themselves.
    #[must_use]
    pub fn require_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A file with the certificates (PEM) of those who may vouch for the server, besides those whom the system trusts.
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Files with the certificate and the key (PEM) by which this process shows who it is.
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// How often a node says that it lives, and after how long a silence the others take it for dead: 5 s and 10 s by default.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration, timeout: Duration) -> Self {
        (self.heartbeat_interval, self.heartbeat_timeout) = (interval, timeout);
        self
    }

    /// How often the NATS server is asked for a sign of life: 2 s by default. A link that swallows everything is noticed after about three times that.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// How many bytes may wait to be sent, 64 MiB by default. Beyond it emitting fails with [`AdapterError::Full`](crate::AdapterError::Full).
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How long a message may wait for the NATS server, 5 s by default. What has waited longer is dropped and counted: the others would get it too
    /// late. What the client had taken over when the link broke, 128 envelopes at most, is sent when the link is back.
    #[must_use]
    pub fn publish_deadline(mut self, deadline: Duration) -> Self {
        self.publish_deadline = deadline;
        self
    }

    /// Has JetStream keep events and sessions, if the nodes let clients come back: then they may come back to another node than the one that they
    /// were on, though it was killed. All nodes of a cluster have to agree on it, and its [emitters](crate::Emitter) too.
    #[must_use]
    pub fn jetstream(mut self, options: JetStreamOptions) -> Self {
        self.jetstream = Some(options);
        self
    }

    /// Checks what can be checked before [connecting](crate::NatsAdapter::connect). Files are read, on the thread that asks.
    ///
    /// # Errors
    ///
    /// What can't work.
    pub fn check(&self) -> Result<(), NatsError> {
        self.addresses()?;
        let credentials = match &self.auth {
            NatsAuth::Credentials(path) => Some(path),
            NatsAuth::Nkey(seed) => {
                nkeys::KeyPair::from_seed(seed).map_err(|error| NatsError::Nkey(error.to_string()))?;
                None
            }
            _ => None,
        };
        let (certificate, key) = self.client_certificate.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
        for path in [credentials, self.ca.as_ref(), certificate, key].into_iter().flatten() {
            std::fs::read(path).map_err(|error| NatsError::Credentials { path: path.clone(), error })?;
        }
        Ok(())
    }

    /// The addresses of the servers, if the options can work.
    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, NatsError> {
        let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        if self.cluster.is_empty() || self.cluster.len() > 64 || !self.cluster.chars().all(fits) {
            return Err(NatsError::ClusterName(self.cluster.clone()));
        }
        if self.heartbeat_interval.is_zero() || self.heartbeat_timeout < self.heartbeat_interval * 2 {
            return Err(NatsError::Heartbeat);
        }
        if let Some(address) = self.address.as_deref().filter(|address| !is_reachable(address)) {
            return Err(NatsError::Advertised(address.to_owned()));
        }
        let read = |address: &str| {
            address
                .trim()
                .parse()
                .map_err(|error: std::io::Error| NatsError::Address { address: redact(address), error: error.to_string() })
        };
        self.servers.split(',').map(read).collect()
    }

    /// Opens one connection. `role` is what the server shows of it, `capacity` the number of messages that one subscription may hold; `on_event` is told of its ups and downs.
    pub(crate) async fn connect(
        &self,
        role: &str,
        capacity: usize,
        on_event: impl Fn(async_nats::Event) + Clone + Send + Sync + 'static,
    ) -> Result<Client, NatsError> {
        let servers = self.addresses()?;
        let mut options = ConnectOptions::new()
            .name(format!("sociable {} {role}", self.cluster))
            .no_echo()
            .subscription_capacity(capacity)
            .client_capacity(MAX_HANDED_OVER)
            .ping_interval(self.ping_interval)
            .connection_timeout(Duration::from_secs(5))
            .require_tls(self.tls)
            .event_callback(move |event| {
                on_event(event);
                std::future::ready(())
            });
        let in_address = servers.iter().find_map(|server| Some((server.username()?.to_owned(), server.password().map(str::to_owned))));
        options = match &self.auth {
            NatsAuth::None => match in_address {
                Some((name, Some(password))) => options.user_and_password(name, password),
                Some((token, None)) => options.token(token),
                None => options,
            },
            NatsAuth::User(name, password) => options.user_and_password(name.clone(), password.clone()),
            NatsAuth::Token(token) => options.token(token.clone()),
            NatsAuth::Nkey(seed) => options.nkey(seed.clone()),
            NatsAuth::Credentials(path) => {
                let read = options.credentials_file(path).await;
                read.map_err(|error| NatsError::Credentials { path: path.clone(), error })?
            }
        };
        if let Some(file) = &self.ca {
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        options.connect(servers).await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &async_nats::ConnectError) -> NatsError {
        let (servers, text) = (self.shown_servers(), error.to_string());
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => NatsError::Refused { servers, error: text },
            _ => NatsError::Connect { servers, error: text },
        }
    }

    fn shown_servers(&self) -> String {
        self.servers.split(',').map(redact).collect::<Vec<_>>().join(", ")
    }
}

/// True for `HOST:PORT`, with a port that something can listen on.
fn is_reachable(address: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let host = |host: &str| !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
    address.rsplit_once(':').is_some_and(|(before, behind)| host(before) && port(behind))
}

/// An address without the secrets in it.
fn redact(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => format!("{}…@{host}", before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"))),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_told() {
        let error = |options: NatsOptions| options.check().unwrap_err().to_string();
        let options = || NatsOptions::new("nats://127.0.0.1:4222");
        assert!(error(options().cluster("a.b")).contains("\"a.b\""));
        assert!(error(options().cluster("")).contains("name of a cluster"));
        assert!(error(options().heartbeat(Duration::from_secs(5), Duration::from_secs(6))).contains("twice"));
        assert!(error(NatsOptions::new("nats://127.0.0.1:no")).contains("nats://HOST:PORT"));
        for address in ["10.0.0.1", ":3000", "10.0.0.1:0", "::1:3000", "http://node:3000"] {
            assert!(error(options().address(address)).contains("write HOST:PORT"), "{address}");
        }
        for address in ["10.0.0.1:3000", "node-1:80", "[::1]:3000"] {
            options().address(address).check().unwrap();
        }
        assert_eq!(NatsOptions::new("nats://a:1, nats://b:2").addresses().unwrap().len(), 2);
        assert!(error(options().auth(NatsAuth::Nkey("SUsesame".into()))).contains("begins with SU"));
        assert!(!error(options().auth(NatsAuth::Nkey("SUsesame".into()))).contains("sesame"));
        for options in [
            options().auth(NatsAuth::Credentials("/no/such.creds".into())),
            options().root_certificates("/no/such.pem"),
            options().client_certificate("/no/such.pem", "/no/such.key"),
        ] {
            assert!(error(options).starts_with("/no/such."));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(redact("nats://me:secret@host:4222"), "nats://…@host:4222");
        let auth = format!("{:?}", NatsAuth::User("me".into(), "secret".into()));
        assert_eq!(auth, "User");
    }
}
