//! The place of keys, which is read again and again: a file or a URL.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Client, Url, redirect};
use ring::digest;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::counters::Counters;
use super::keys::{Format, KeySet, KeysFault};
use super::settings::{Jwks, Place, Settings};

/// The time after which a URL is asked again by default.
const REFRESH_URL: Duration = Duration::from_secs(5 * 60);
/// The time after which a file is read again by default.
const REFRESH_FILE: Duration = Duration::from_secs(1);
/// The pause after the first failure. Each further pause is twice as long, up to the time of a refresh.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The most doublings of that pause.
const MAX_DOUBLINGS: u32 = 16;

const USER_AGENT: &str = concat!("sociable-gateway/", env!("CARGO_PKG_VERSION"));
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/jwk-set+json, application/json");

/// The reason why keys were not read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadFault {
    /// The file cannot be read.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file has no usable keys.
    #[error("{}: {fault}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        fault: KeysFault,
    },
    /// The answer has no usable keys.
    #[error("answer with keys: {0}")]
    Answer(KeysFault),
    /// The server of the keys has another status than 200.
    #[error("server of the keys answered with status {0}")]
    Status(u16),
    /// The server of the keys did not answer in time.
    #[error("server of the keys did not answer in time")]
    Timeout,
    /// The server of the keys was not reached, or the answer is incomplete.
    #[error("server of the keys was not reached: {0}")]
    Unreached(&'static str),
}

/// A file or a URL.
#[derive(Debug)]
enum Origin {
    File(PathBuf, Format),
    Url(Url, Client),
}

/// The keys and their place.
#[derive(Debug)]
pub(super) struct KeySource {
    origin: Origin,
    refresh: Duration,
    unknown_key: Duration,
    timeout: Duration,
    max_bytes: usize,
    current: RwLock<Arc<KeySet>>,
    attempts: Mutex<Attempts>,
    /// Wakes the task that reads the keys.
    asked: Arc<Notify>,
    /// Changes when an attempt has ended.
    ended: watch::Sender<()>,
    counters: Arc<Counters>,
}

/// The attempts to read the keys.
#[derive(Debug, Default)]
struct Attempts {
    is_running: bool,
    started: Option<Instant>,
    /// Failures since the last success.
    failures: u32,
    /// The digest of the contents that the keys are from.
    contents: Option<[u8; 32]>,
}

impl KeySource {
    /// Returns the keys of a file, or a place whose keys are read later.
    pub(super) fn new(settings: &Settings, counters: &Arc<Counters>) -> Result<Self, NewFault> {
        let origin = match settings {
            Settings { jwks: Some(Jwks(Place::Url(url))), .. } => Origin::Url(url.clone(), client(url)?),
            Settings { jwks: Some(Jwks(Place::File(path))), .. } => Origin::File(path.clone(), Format::Jwks),
            Settings { keys: Some(path), .. } => Origin::File(path.clone(), Format::Pem),
            Settings { secret_file: Some(path), .. } => Origin::File(path.clone(), Format::Secret),
            _ => return Err(NewFault::NoPlace),
        };
        let by_default = if matches!(origin, Origin::Url(..)) { REFRESH_URL } else { REFRESH_FILE };
        let source = Self {
            origin,
            refresh: settings.refresh.unwrap_or(by_default),
            unknown_key: settings.unknown_key,
            timeout: settings.timeout,
            max_bytes: settings.answer_bytes,
            current: RwLock::default(),
            attempts: Mutex::default(),
            asked: Arc::default(),
            ended: watch::Sender::new(()),
            counters: Arc::clone(counters),
        };
        if let Origin::File(path, format) = &source.origin {
            source.take(&read(path, source.max_bytes)?, *format).map_err(|fault| LoadFault::File { path: path.clone(), fault })?;
        }
        Ok(source)
    }

    pub(super) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read())
    }

    /// Reads the keys again and again, until the source is dropped.
    pub(super) async fn keep_current(this: Weak<Self>) {
        let Some(asked) = this.upgrade().map(|source| Arc::clone(&source.asked)) else { return };
        let mut is_first = true;
        while let Some(source) = this.upgrade() {
            if !is_first || matches!(source.origin, Origin::Url(..)) {
                source.attempt().await;
            }
            is_first = false;
            let pause = source.pause();
            drop(source);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = asked.notified() => {}
            }
        }
    }

    /// Waits for newer keys, if the URL may be asked now. Returns whether an attempt has ended.
    pub(super) async fn renewed(&self) -> bool {
        if matches!(self.origin, Origin::File(..)) {
            return false;
        }
        // From here on no end of an attempt is missed.
        let mut ended = self.ended.subscribe();
        {
            let attempts = self.attempts.lock();
            if !attempts.is_running {
                // Forged ids of keys must not cause requests.
                if attempts.started.is_some_and(|started| started.elapsed() < self.unknown_key) {
                    return false;
                }
                self.asked.notify_one();
            }
        }
        tokio::time::timeout(self.timeout, ended.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    async fn attempt(&self) {
        {
            let mut attempts = self.attempts.lock();
            attempts.is_running = true;
            attempts.started = Some(Instant::now());
        }
        let loaded = self.load().await;
        self.note(&loaded);
        self.ended.send_replace(());
    }

    async fn load(&self) -> Result<bool, LoadFault> {
        match &self.origin {
            Origin::File(path, format) => {
                let (from, max_bytes) = (path.clone(), self.max_bytes);
                let contents = tokio::task::spawn_blocking(move || read(&from, max_bytes)).await;
                let contents =
                    contents.map_err(|_| LoadFault::Unreadable { path: path.clone(), error: io::ErrorKind::Interrupted.into() })??;
                self.take(&contents, *format).map_err(|fault| LoadFault::File { path: path.clone(), fault })
            }
            Origin::Url(url, client) => {
                let fetched = tokio::time::timeout(self.timeout, fetch(client, url, self.max_bytes)).await;
                let contents = fetched.map_err(|_| LoadFault::Timeout)??;
                self.take(&contents, Format::PublicJwks).map_err(LoadFault::Answer)
            }
        }
    }

    /// Uses the keys of these contents from now on. Returns whether they are new.
    fn take(&self, contents: &[u8], format: Format) -> Result<bool, KeysFault> {
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, contents).as_ref());
        if self.attempts.lock().contents == Some(digest) {
            return Ok(false);
        }
        let keys = KeySet::read(contents, format)?;
        *self.current.write() = Arc::new(keys);
        self.attempts.lock().contents = Some(digest);
        Ok(true)
    }

    /// Notes the end of an attempt. A failure is logged when it begins, and after each pause of a URL.
    fn note(&self, loaded: &Result<bool, LoadFault>) {
        let mut attempts = self.attempts.lock();
        attempts.is_running = false;
        let failures = attempts.failures;
        attempts.failures = if loaded.is_ok() { 0 } else { failures.saturating_add(1) };
        drop(attempts);
        match loaded {
            Ok(is_new) => {
                self.counters.key_loads.fetch_add(1, Relaxed);
                if *is_new || failures > 0 {
                    tracing::info!(keys = self.current().len(), "read the keys of tokens");
                }
            }
            Err(fault) => {
                self.counters.key_load_failures.fetch_add(1, Relaxed);
                if failures == 0 || matches!(self.origin, Origin::Url(..)) {
                    tracing::warn!(error = %fault, keys = self.current().len(), "keys of tokens not read; the keys before them stay valid");
                }
            }
        }
    }

    /// Returns the time until the next attempt.
    fn pause(&self) -> Duration {
        match self.attempts.lock().failures {
            0 => self.refresh,
            failures => FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(MAX_DOUBLINGS)).min(self.refresh),
        }
    }
}

/// The task that reads the keys ends with the source.
impl Drop for KeySource {
    fn drop(&mut self) {
        self.asked.notify_one();
    }
}

/// The reason why there is no source of keys.
#[derive(Debug, Error)]
pub(super) enum NewFault {
    #[error("no place of keys")]
    NoPlace,
    #[error(transparent)]
    Load(#[from] LoadFault),
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// Reads a file up to a limit.
fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, LoadFault> {
    let unreadable = |error| LoadFault::Unreadable { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut contents = vec![];
    file.take(max_bytes as u64 + 1).read_to_end(&mut contents).map_err(unreadable)?;
    if contents.len() > max_bytes {
        return Err(LoadFault::File { path: path.to_owned(), fault: KeysFault::TooLong(max_bytes) });
    }
    Ok(contents)
}

/// Returns a client that follows no redirect, and uses no proxy of the environment.
fn client(url: &Url) -> reqwest::Result<Client> {
    // Another part of the program may have chosen a provider. Any will do.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder =
        Client::builder().user_agent(USER_AGENT).no_proxy().redirect(redirect::Policy::none()).referer(false).pool_max_idle_per_host(0);
    // The roots of the system are read for TLS alone, as there may be none.
    if url.scheme() == "https" { builder.build() } else { builder.tls_certs_only([]).build() }
}

/// Fetches a set of keys up to a limit.
async fn fetch(client: &Client, url: &Url, max_bytes: usize) -> Result<Vec<u8>, LoadFault> {
    let mut answer = client.get(url.clone()).header(ACCEPT, ACCEPTED).send().await.map_err(|error| unreached(&error))?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(LoadFault::Status(answer.status().as_u16()));
    }
    let mut contents = vec![];
    while let Some(part) = answer.chunk().await.map_err(|error| unreached(&error))? {
        if contents.len() + part.len() > max_bytes {
            return Err(LoadFault::Answer(KeysFault::TooLong(max_bytes)));
        }
        contents.extend_from_slice(&part);
    }
    Ok(contents)
}

/// Returns the fault of a request. The error itself would show the query of the URL.
fn unreached(error: &reqwest::Error) -> LoadFault {
    LoadFault::Unreached(match error {
        error if error.is_connect() => "cannot connect",
        error if error.is_body() || error.is_decode() => "answer incomplete",
        _ => "no HTTP answer",
    })
}
