//! Tokens: connections of clients that prove their claims.
//!
//! A client sends a JSON Web Token (RFC 7519), which another service signed for it. Middleware verifies the token. Claims of it become the data of the
//! socket, and rooms that the socket joins. The guide `docs/guide/tokens.md` describes settings and refusals.
//!
//! ```
//! # actix_rt::System::new().block_on(async {
//! # let file = std::env::temp_dir().join(format!("sociable-doc-{}", std::process::id()));
//! # std::fs::write(&file, "a secret of at least 32 bytes, drawn at random")?;
//! use sociable::Server;
//! use sociable_gateway::jwt::{Jwt, Settings};
//!
//! let io = Server::builder().build()?;
//! let mut settings = Settings::default();
//! settings.secret_file = Some(file.clone());
//! settings.rooms = vec!["user:{sub}".parse()?];
//! let jwt = Jwt::start(settings)?;
//! io.of("/chat").middleware(jwt.middleware());
//! io.add_metrics(move || jwt.metrics());
//! # std::fs::remove_file(&file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Layout of the source
//!
//! * `settings.rs`, `algorithm.rs`: the settings.
//! * `keys.rs`: the keys of a file or an answer. `source.rs`: the place of keys, and its refreshes.
//! * `verifier.rs`: the check of a token. `refusal.rs`: the reasons of a refusal.
//! * `claims.rs`: data and rooms by claims. `expiry.rs`: sockets whose tokens expire. `counters.rs`: the counters.

mod algorithm;
mod claims;
mod counters;
mod expiry;
mod keys;
mod refusal;
mod settings;
mod source;
mod verifier;

use std::fmt;
use std::sync::Arc;

use futures_util::future::{FutureExt, LocalBoxFuture};
use jsonwebtoken::crypto::{CryptoProvider, rust_crypto};
use serde::Deserialize;
use sociable::{Failure, MetricFamily, Socket, Value};
use thiserror::Error;
use tokio::runtime::Handle;

pub use self::algorithm::Algorithm;
pub use self::claims::{ClaimPath, RoomTemplate};
pub use self::counters::Stats;
pub use self::keys::KeysFault;
pub use self::refusal::Refusal;
pub use self::settings::{Jwks, Settings, SettingsFault};
pub use self::source::LoadFault;

use self::claims::{Claims, RoomLimits};
use self::counters::Counters;
use self::expiry::Expiries;
use self::source::{KeySource, NewFault};
use self::verifier::Verifier;

/// The check of tokens. Clones are cheap and share keys and counters.
#[derive(Clone)]
pub struct Jwt(Arc<Inner>);

struct Inner {
    settings: Settings,
    verifier: Verifier,
    source: Arc<KeySource>,
    /// None if sockets stay connected when their tokens expire.
    expiries: Option<Arc<Expiries>>,
    counters: Arc<Counters>,
}

/// Keys and secrets are left out.
impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// The reason why tokens cannot be checked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JwtFault {
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsFault),
    /// The file with the keys cannot be used.
    #[error("cannot read the keys of tokens: {0}")]
    Keys(#[from] LoadFault),
    /// The certificates of the system cannot be used.
    #[error("cannot speak TLS with the server of the keys: {0}. Install the package `ca-certificates`, or use http")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The call came from outside a Tokio runtime, which the refreshes of keys need.
    #[error("no Tokio runtime: call `Jwt::start` inside `#[actix_web::main]`")]
    NoRuntime,
}

impl From<NewFault> for JwtFault {
    fn from(fault: NewFault) -> Self {
        match fault {
            NewFault::NoPlace => Self::Settings(SettingsFault::NoKeys),
            NewFault::Load(fault) => Self::Keys(fault),
            NewFault::Client(error) => Self::Tls(error.into()),
        }
    }
}

/// The part of the `auth` payload that has the token.
#[derive(Deserialize)]
struct AuthPayload {
    token: Option<String>,
}

impl Jwt {
    /// Reads the keys of a file, and starts to refresh the keys. Those of a URL are fetched meanwhile; clients that come before wait for them.
    ///
    /// The refreshes end with the last clone and the last middleware.
    ///
    /// # Errors
    ///
    /// A setting cannot be used, the file has no usable keys, or there is no Tokio runtime.
    pub fn start(settings: Settings) -> Result<Self, JwtFault> {
        settings.check()?;
        let runtime = Handle::try_current().map_err(|_| JwtFault::NoRuntime)?;
        // The library has no provider if the application enables two of them.
        if CryptoProvider::try_get_default().is_none() {
            // Another thread may have been faster.
            let _ = rust_crypto::DEFAULT_PROVIDER.install_default();
        }
        let counters = Arc::<Counters>::default();
        let source = Arc::new(KeySource::new(&settings, &counters)?);
        runtime.spawn(KeySource::keep_current(Arc::downgrade(&source)));
        let expiries = settings.disconnect_when_expired.then(|| Expiries::new(&counters));
        if let Some(expiries) = &expiries {
            runtime.spawn(Expiries::disconnect_expired(Arc::downgrade(expiries)));
        }
        Ok(Self(Arc::new(Inner { verifier: Verifier::new(&settings), settings, source, expiries, counters })))
    }

    /// Checks settings, and the file with keys that they name. A URL is not asked.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), apart from the runtime.
    pub fn check(settings: &Settings) -> Result<(), JwtFault> {
        settings.check()?;
        KeySource::new(settings, &Arc::default())?;
        Ok(())
    }

    /// Returns middleware for [`Namespace::middleware`](sociable::Namespace::middleware). A socket without a valid token is refused.
    ///
    /// The client gets a connect error with the message `not authorized` and the data `{"code":"E_TOKEN","reason":…}`. Recovered sockets skip
    /// middleware unless [`Recovery::skip_middlewares`](sociable::Recovery::skip_middlewares) is off. Their tokens are then not checked again.
    pub fn middleware(&self) -> impl Fn(Socket) -> LocalBoxFuture<'static, Result<(), Failure>> + Clone + Send + Sync + 'static {
        let this = Arc::clone(&self.0);
        move |socket| {
            let this = Arc::clone(&this);
            async move {
                let outcome = this.let_in(&socket).await;
                this.counters.count(outcome);
                outcome.map_err(|refusal| {
                    tracing::debug!(id = %socket.id().shortened(), reason = refusal.name(), "token refused");
                    refusal.failure()
                })
            }
            .boxed_local()
        }
    }

    /// Returns the counts since the start.
    pub fn stats(&self) -> Stats {
        self.0.counters.stats(self.0.source.current().len())
    }

    /// Returns the counts as metrics for [`Server::add_metrics`](sociable::Server::add_metrics).
    pub fn metrics(&self) -> Vec<MetricFamily> {
        self.stats().metrics()
    }
}

impl Inner {
    /// Verifies the token of a connecting socket, and gives the socket its data and its rooms.
    async fn let_in(&self, socket: &Socket) -> Result<(), Refusal> {
        let token = self.token(socket).ok_or(Refusal::Missing)?;
        let claims = self.claims(&token).await?;
        let limits = RoomLimits { rooms: self.settings.max_rooms, bytes: self.settings.room_bytes };
        let rooms = claims::rooms(&self.settings.rooms, &claims, limits)?;
        self.add_data(socket, &claims)?;
        if !rooms.is_empty() {
            socket.join(rooms);
        }
        if let Some(expiries) = &self.expiries
            && let Some(at) = self.verifier.expiry(&claims)
        {
            expiries.watch(socket, at);
        }
        Ok(())
    }

    /// Returns the token of the `auth` payload, of the header `Authorization`, or of the query.
    fn token(&self, socket: &Socket) -> Option<String> {
        let from_auth = socket.auth::<AuthPayload>().ok().and_then(|auth| auth.token);
        let handshake = socket.handshake();
        let from_header = || {
            let (scheme, token) = handshake.header("authorization")?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        };
        let from_query = || handshake.query_value(self.settings.query_parameter.as_deref()?).map(|token| token.into_owned());
        from_auth.or_else(from_header).or_else(from_query).filter(|token| !token.is_empty())
    }

    /// Returns the verified claims. A token by a key that is not known yet waits for newer keys.
    async fn claims(&self, token: &str) -> Result<Claims, Refusal> {
        match self.verifier.verify(token, &self.source.current()) {
            Err(Refusal::UnknownKey | Refusal::KeysUnavailable) if self.source.renewed().await => {
                self.verifier.verify(token, &self.source.current())
            }
            verified => verified,
        }
    }

    /// Adds the chosen claims to the data of the socket, which recovery may have restored.
    fn add_data(&self, socket: &Socket, claims: &Claims) -> Result<(), Refusal> {
        let mut data = match socket.data() {
            Some(Value::Object(entries)) => entries,
            _ => vec![],
        };
        let before = data.len();
        for (name, claim) in claims::chosen(&self.settings.claims, claims) {
            data.retain(|(known, _)| known != name);
            data.push((name.to_owned(), Value::deserialize(claim).map_err(|_| Refusal::Claims)?));
        }
        if before == 0 && data.is_empty() {
            return Ok(());
        }
        socket.set_data(&Value::Object(data)).map_err(|_| Refusal::Claims)
    }
}
