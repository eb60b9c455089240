//! NATS, where nodes announce themselves.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, Subscriber};
use futures_util::StreamExt;
use nkeys::KeyPair;
use parking_lot::Mutex;
use sociable_protocol::{Announcement, Occasion};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time;

use super::resolver::{LastAnswers, Resolver};
use crate::discovery::address::HostPort;
use crate::discovery::counters::DiscoveryCounters;
use crate::discovery::error::DiscoveryError;
use crate::discovery::evidence::{Observation, SourceId};
use crate::tls::{Pair, check_pair, check_roots};

/// The longest announcement that is read.
const MAX_ANNOUNCEMENT: usize = 16 << 10;
/// How many announcements may wait to be read. What is more is dropped by the client: nodes speak again.
const MAX_BEHIND: usize = 16_384;
/// How many announced names are looked up at a time. What is more is put off until the node speaks again.
const MAX_LOOKUPS: usize = 256;
/// How long after an attempt that failed for good another is made.
const PAUSE: Duration = Duration::from_secs(1);
/// After so long without a link it is told that there is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after an error of the server that was logged none is.
const QUIET: Duration = Duration::from_secs(60);

/// How this process shows a NATS server who it is.
#[derive(Clone, Default, PartialEq, Eq)]
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

impl fmt::Debug for NatsAuth {
    /// Tells the kind, never a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::User(..) => "User",
            Self::Token(_) => "Token",
            Self::Nkey(_) => "Nkey",
            Self::Credentials(_) => "Credentials",
        })
    }
}

/// Where nodes announce themselves.
///
/// This process needs the permission to subscribe to `sociable.CLUSTER.members`, and should have no other. If it may publish to
/// `sociable.CLUSTER.who`, nodes speak as soon as its link is up; else it waits until they speak by themselves, 5 s at most.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsSource {
    /// The addresses of the NATS servers, with commas between them. A name and a password in one of them, or a token, are taken for all, if
    /// there is no other `auth`.
    pub servers: String,
    /// The name of the cluster, as the nodes have it: `sociable` by default.
    pub cluster: String,
    /// How the server is shown who this is.
    pub auth: NatsAuth,
    /// True if servers have to speak TLS. Addresses with `tls://` say so by themselves.
    pub require_tls: bool,
    /// A file with the certificates (PEM) of those who may vouch for the server, besides those whom the system trusts.
    pub root_certificates: Option<PathBuf>,
    /// Files with the certificate and the key (PEM) by which this process shows who it is.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// How often the server is asked for a sign of life: 2 s by default. A link that swallows everything is noticed after about three times that.
    pub ping_interval: Duration,
}

impl NatsSource {
    /// With these servers, and all else by default.
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

    /// Checks what can be checked without connecting. Files are read: it waits for the disk.
    pub(crate) fn check(&self) -> Result<(), DiscoveryError> {
        self.addresses()?;
        match &self.auth {
            NatsAuth::Nkey(seed) => KeyPair::from_seed(seed).map(drop).map_err(|_| DiscoveryError::NatsNkey)?,
            NatsAuth::Credentials(path) => {
                let read = fs::read_to_string(path).and_then(|text| ConnectOptions::with_credentials(&text));
                read.map(drop).map_err(|error| DiscoveryError::NatsCredentials { path: path.clone(), error })?;
            }
            NatsAuth::None | NatsAuth::User(..) | NatsAuth::Token(_) => {}
        }
        if let Some(file) = &self.root_certificates {
            check_roots(file)?;
        }
        if let Some((certificate, key)) = &self.client_certificate {
            check_pair(&Pair { certificate: certificate.clone(), key: key.clone() })?;
        }
        Ok(())
    }

    /// The addresses of the servers, if they and all that goes with them can work.
    fn addresses(&self) -> Result<Vec<ServerAddr>, DiscoveryError> {
        let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        if self.cluster.is_empty() || self.cluster.len() > 64 || !self.cluster.chars().all(fits) {
            return Err(DiscoveryError::ClusterName(self.cluster.clone()));
        }
        if self.ping_interval.is_zero() {
            return Err(DiscoveryError::Number { name: "nats.ping_interval", bound: "above zero" });
        }
        let read = |address: &str| {
            let wrong = |error| DiscoveryError::NatsAddress { address: redact(address), error };
            let parsed: ServerAddr = address.trim().parse().map_err(|error: std::io::Error| wrong(error.to_string()))?;
            if parsed.host().is_empty() { Err(wrong("it names no host".into())) } else { Ok(parsed) }
        };
        self.servers.split(',').map(read).collect()
    }

    /// Begins to connect, and goes on until it is.
    async fn connect(&self, on_event: impl Fn(Event) + Clone + Send + Sync + 'static) -> Result<Client, ConnectError> {
        let servers = self.addresses()?;
        let mut options = ConnectOptions::new()
            .name(format!("sociable {} balancer", self.cluster))
            .retry_on_initial_connect()
            .no_echo()
            .subscription_capacity(MAX_BEHIND)
            .ping_interval(self.ping_interval)
            .connection_timeout(Duration::from_secs(5))
            .require_tls(self.require_tls)
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
                read.map_err(|error| ConnectError::Credentials { path: path.clone(), error })?
            }
        };
        if let Some(file) = &self.root_certificates {
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options.connect(servers).await?)
    }
}

impl fmt::Debug for NatsSource {
    /// Tells no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.split(',').map(redact).collect::<Vec<_>>();
        f.debug_struct("NatsSource")
            .field("servers", &servers)
            .field("cluster", &self.cluster)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

/// An address without the secrets in it.
fn redact(address: &str) -> String {
    let (scheme, rest) = address.split_at(address.find("://").map_or(0, |at| at + 3));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}…@{host}"),
        // What is no port may be a password whose host was forgotten, or cut off by a comma in it.
        None => match rest.split_once(':') {
            Some((host, port)) if !port.bytes().all(|byte| byte.is_ascii_digit()) => format!("{scheme}{host}:…"),
            _ => address.to_owned(),
        },
    }
}

/// Why connecting can't even be begun.
#[derive(Debug, Error)]
enum ConnectError {
    #[error(transparent)]
    Options(#[from] DiscoveryError),
    #[error("{path}: {error}")]
    Credentials { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Connect(#[from] async_nats::ConnectError),
    #[error(transparent)]
    Subscribe(#[from] async_nats::SubscribeError),
}

/// Hears what nodes announce. That no server can be reached is no reason to end.
pub(super) async fn run(
    source: SourceId,
    options: NatsSource,
    resolver: Arc<Resolver>,
    observations: mpsc::Sender<Observation>,
    counters: Arc<DiscoveryCounters>,
) {
    let [subject, who] = ["members", "who"].map(|rest| format!("sociable.{}.{rest}", options.cluster));
    let mut told = false;
    loop {
        match Listener::connect(&options, &subject, &counters).await {
            Ok(listener) => return listener.run(source, who, resolver, observations, counters).await,
            // Files may come to be there.
            Err(error) if !told => {
                told = true;
                tracing::error!(target: "sociable::balancer", %error, "nodes can't be heard on NATS; it is tried again and again");
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
    /// Why the last attempt to connect failed.
    failure: Arc<Mutex<String>>,
}

impl Listener {
    async fn connect(options: &NatsSource, subject: &str, counters: &Arc<DiscoveryCounters>) -> Result<Self, ConnectError> {
        let (up, is_up) = watch::channel(false);
        let (up, counters, last_error) = (Arc::new(up), Arc::clone(counters), Arc::new(Mutex::new(None)));
        let failure = Arc::new(Mutex::new(String::from("no server has answered")));
        let fails = Arc::clone(&failure);
        let on_event = move |event: Event| match event {
            Event::Connected => {
                tracing::info!(target: "sociable::balancer", "the link to NATS is up");
                up.send_replace(true);
            }
            Event::Disconnected | Event::Closed => {
                counters.nats_disconnected.increment();
                tracing::warn!(target: "sociable::balancer", "the link to NATS is down: the nodes that were heard are kept, and probes decide");
                up.send_replace(false);
            }
            Event::SlowConsumer(_) => {
                tracing::warn!(target: "sociable::balancer", "announcements were dropped since this process is too slow to take them");
            }
            Event::ServerError(error) if is_publish_violation(&error.to_string()) => {
                tracing::debug!(target: "sociable::balancer", "this process may only listen: nodes are known when they have spoken");
            }
            event if is_server_error(&event) => {
                counters.nats_errors.increment();
                let mut told = last_error.lock();
                if told.is_none_or(|told: Instant| told.elapsed() > QUIET) {
                    *told = Some(Instant::now());
                    tracing::error!(target: "sociable::balancer", %event, "the NATS server refuses something; has this process the permissions that it needs?");
                }
            }
            other => {
                if let Event::ClientError(error) = &other {
                    *fails.lock() = error.to_string();
                }
                tracing::debug!(target: "sociable::balancer", event = %other, "NATS");
            }
        };
        let client = options.connect(on_event).await?;
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
                        counters.announcements_not_understood.increment();
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
                    tracing::warn!(target: "sociable::balancer", error, "no NATS server lets this process in yet; it is tried again and again");
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
        counters.lookups_put_off.increment();
        return;
    }
    let resolver = Arc::clone(resolver);
    lookups.spawn(async move {
        let found = resolver.resolve(&name, &mut LastAnswers::default()).await;
        if let Some(failure) = found.failure {
            tracing::debug!(target: "sociable::balancer", %tag, announced, %failure, "the name that a node announced can't be looked up");
        }
        (!found.all.is_empty()).then_some(Observation::Resolved { tag, announced, addresses: found.all })
    });
}

/// True if this process may not publish: all it ever publishes is a question that may be refused.
fn is_publish_violation(error: &str) -> bool {
    error.to_ascii_lowercase().contains("permissions violation for publish")
}

/// True if the server told it.
fn is_server_error(event: &Event) -> bool {
    match event {
        Event::ServerError(_) => true,
        Event::ClientError(async_nats::ClientError::Other(error)) => *error == ConnectErrorKind::AuthorizationViolation.to_string(),
        _ => false,
    }
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
    use crate::testing::Folder;

    #[test]
    fn secrets_are_not_shown() {
        let source = NatsSource { auth: NatsAuth::User("me".into(), "secret".into()), ..NatsSource::new("nats://me:secret@host:4222") };
        let shown = format!("{source:?}");
        assert!(shown.contains("nats://…@host:4222") && !shown.contains("secret"), "{shown}");
        // A comma in a password, a host that was forgotten.
        for servers in ["nats://me:secret,secret@host", "nats://me:secret", "me:secret", "nats://me:secret@ho st"] {
            let error = NatsSource::new(servers).check().unwrap_err();
            assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_shows_the_server_who_this_is_is_checked() {
        let folder = Folder::new();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let [ours, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        let (certificate, key) = (file("ours", &ours.cert.pem()), file("key", &ours.signing_key.serialize_pem()));
        let (other, none) = (file("other", &other.signing_key.serialize_pem()), folder.path().join("none"));
        let seed = KeyPair::new_user().seed().unwrap();
        let text = |jwt: &str, seed: &str| {
            format!(
                "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
            )
        };
        let (right, wrong) = (file("right", &text("jwt", &seed)), file("wrong", &text("jwt", "SUSECRET")));
        let source = || NatsSource::new("nats://127.0.0.1");
        let auth = |auth| NatsSource { auth, ..source() };
        let roots = |file: &PathBuf| NatsSource { root_certificates: Some(file.clone()), ..source() };
        let pair =
            |certificate: &PathBuf, key: &PathBuf| NatsSource { client_certificate: Some((certificate.clone(), key.clone())), ..source() };
        for good in [auth(NatsAuth::Nkey(seed.clone())), auth(NatsAuth::Credentials(right)), roots(&certificate), pair(&certificate, &key)]
        {
            good.check().unwrap();
        }
        for (bad, told) in [
            (auth(NatsAuth::Nkey("SUSECRET".into())), "begins with SU"),
            (auth(NatsAuth::Credentials(none.clone())), "none can't be used"),
            (auth(NatsAuth::Credentials(wrong)), "wrong can't be used"),
            (auth(NatsAuth::Credentials(key.clone())), "key can't be used"),
            (roots(&none), "none can't be read"),
            (roots(&key), "key holds no PEM certificate"),
            (pair(&certificate, &none), "none can't be read"),
            (pair(&certificate, &other), "can't be used together"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("SECRET"), "{error}");
        }
    }
}
