//! The API for backends, on an address of its own and over NATS, and the file with its keys.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_web::dev::Server as HttpService;
use actix_web::{App, HttpServer};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use sociable::Server;
use sociable_gateway::api::idempotency::{Idempotency, IdempotencyOptions};
use sociable_gateway::api::link::NatsLink;
use sociable_gateway::api::nats::{NatsApi, NatsApiOptions};
use sociable_gateway::api::peers::Peers;
use sociable_gateway::api::{Api, KeyFile, Keys, Limits};
use sociable_program::settings::{self, FileError};

use crate::follow::follow;

/// The time that running requests have when the node stops.
const STOP_SECS: u64 = 5;

#[derive(Debug, Args)]
pub(crate) struct ApiFlags {
    /// Address of the API for backends, such as 127.0.0.1:3002; off if unset. It has no TLS
    #[arg(long, env = "SOCIABLE_API_ADDR", value_name = "ADDRESS", requires = "api_keys")]
    pub(crate) api_addr: Option<SocketAddr>,

    /// File with the keys of the API (TOML); the node reads it again when it changes
    #[arg(long, env = "SOCIABLE_API_KEYS", value_name = "FILE", requires = "api_addr")]
    api_keys: Option<PathBuf>,

    /// Longest body of a request to the API
    #[arg(long, env = "SOCIABLE_API_MAX_BODY", value_name = "BYTES", default_value_t = 1_000_000, value_parser = positive())]
    api_max_body: usize,

    /// Most operations of one batch of the API
    #[arg(long, env = "SOCIABLE_API_MAX_BATCH", value_name = "N", default_value_t = 100, value_parser = positive())]
    api_max_batch: usize,

    /// Most rooms in each list of an operation of the API
    #[arg(long, env = "SOCIABLE_API_MAX_ROOMS", value_name = "N", default_value_t = 1000, value_parser = positive())]
    api_max_rooms: usize,

    /// Most sockets in an answer of the API
    #[arg(long, env = "SOCIABLE_API_MAX_SOCKETS", value_name = "N", default_value_t = 10_000, value_parser = positive())]
    api_max_sockets: usize,

    /// Longest time that the API waits for acknowledgements
    #[arg(long, env = "SOCIABLE_API_MAX_ACK_TIMEOUT", value_name = "MS", default_value_t = 60_000, value_parser = positive())]
    api_max_ack_timeout: usize,

    /// Operations a second of each key without a `rate` of its own; no limit if unset
    #[arg(long, env = "SOCIABLE_API_RATE", value_name = "N", value_parser = positive())]
    api_rate: Option<usize>,

    /// Most requests at the same time of each key without a `concurrency` of its own
    #[arg(long, env = "SOCIABLE_API_CONCURRENCY", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    api_concurrency: u32,

    /// Most connections of backends to the API; further ones wait
    #[arg(long, env = "SOCIABLE_API_MAX_CONNECTIONS", value_name = "N", default_value_t = 1024, value_parser = positive())]
    api_max_connections: usize,

    /// Most requests at the same time to the API over NATS
    #[arg(long, env = "SOCIABLE_API_MAX_NATS_REQUESTS", value_name = "N", default_value_t = 256, value_parser = positive())]
    api_max_nats_requests: usize,
}

fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

impl ApiFlags {
    /// Returns the keys of the file, if the API is on.
    pub(crate) fn keys(&self) -> Result<Option<Keys>, FileError> {
        self.api_keys.as_deref().map(|path| read(path).and_then(|file| Keys::new(file).map_err(|error| unusable(path, error)))).transpose()
    }

    fn limits(&self) -> Limits {
        let limits = Limits::default()
            .max_body(self.api_max_body)
            .max_batch(self.api_max_batch)
            .max_rooms(self.api_max_rooms)
            .max_sockets(self.api_max_sockets)
            .max_ack_timeout(Duration::from_millis(self.api_max_ack_timeout as u64))
            .concurrency(self.api_concurrency);
        match self.api_rate {
            Some(rate) => limits.rate(rate as f64),
            None => limits,
        }
    }

    /// Returns the API, with keys that follow their file. Idempotency keys hold in the whole cluster if there is a link to JetStream.
    pub(crate) fn api(&self, io: &Server, keys: Keys, peers: Peers, jetstream: Option<&NatsLink>) -> Api {
        if keys.names().is_empty() {
            tracing::warn!("API without keys: add one to the file");
        }
        if let Some(path) = self.api_keys.clone() {
            let keys = keys.clone();
            actix_web::rt::spawn(follow(path, |path| fs::read_to_string(path), move |path, text| replace(&keys, path, text)));
        }
        let options = IdempotencyOptions::default();
        let records = match jetstream {
            Some(link) => Idempotency::cluster(link, io, options),
            None => Idempotency::memory(options),
        };
        Api::builder(io, keys).limits(self.limits()).idempotency(records).peers(peers).build()
    }

    /// Listens. Returns the server and its addresses, which show a port that the system chose.
    pub(crate) fn bind(&self, address: SocketAddr, api: Api) -> io::Result<(HttpService, Vec<SocketAddr>)> {
        let app = move || App::new().service(api.service()).default_service(Api::unknown());
        let server = HttpServer::new(app)
            .workers(1)
            .max_connections(self.api_max_connections)
            .shutdown_timeout(STOP_SECS)
            .disable_signals()
            .bind(address)?;
        let addresses = server.addrs();
        Ok((server.run(), addresses))
    }

    /// Serves the API over NATS, if the node is one of many.
    pub(crate) async fn serve_nats(&self, api: &Api, link: Option<&NatsLink>) -> io::Result<Option<NatsApi>> {
        let Some(link) = link else { return Ok(None) };
        let options = NatsApiOptions::default().max_requests(self.api_max_nats_requests);
        Ok(Some(api.serve_nats(link, options).await.map_err(io::Error::other)?))
    }
}

/// Takes no further requests over NATS, and waits for the running ones for a while.
pub(crate) async fn stop_nats(served: NatsApi) {
    served.stop(Duration::from_secs(STOP_SECS)).await;
}

/// Reads a file with keys.
fn read(path: &Path) -> Result<KeyFile, FileError> {
    let text = fs::read_to_string(path).map_err(|error| FileError::Read { path: path.into(), error })?;
    settings::read(path, &text)
}

fn unusable(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> FileError {
    FileError::Read { path: path.into(), error: io::Error::other(error) }
}

/// Replaces the keys by those of a text. A text with a fault changes nothing.
fn replace(keys: &Keys, path: &Path, text: Result<String, String>) {
    let read = text.and_then(|text| settings::read::<KeyFile>(path, &text).map_err(|error| error.to_string()));
    match read.and_then(|file| keys.replace(file).map_err(|error| error.to_string())) {
        Ok(()) => tracing::info!(keys = ?keys.names(), "API keys read again"),
        Err(error) => tracing::warn!(error, "API keys not read again; the earlier ones stay"),
    }
}
