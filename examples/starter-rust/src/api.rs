//! The HTTP API of the cluster, for programs in other languages: see `sociable-gateway`.

use std::net::SocketAddr;
use std::path::Path;
use std::{fs, io};

use actix_web::dev::Server as HttpService;
use actix_web::{App, HttpServer};
use sociable::Server;
use sociable_gateway::api::{Api, KeyFile, Keys};

/// The most connections of other programs.
const MAX_CONNECTIONS: usize = 256;

/// Reads the keys of other programs from a file. A changed file applies from the next start on.
///
/// # Errors
///
/// The file can't be read, or is no file of keys.
pub fn keys(file: &Path) -> io::Result<Keys> {
    let named = |error: Box<dyn std::error::Error + Send + Sync>| io::Error::other(format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| named(error.into()))?;
    // The message of a fault would quote the line, which may hold a secret.
    let keys: KeyFile = toml::from_str(&text).map_err(|error| named(error.message().into()))?;
    Keys::new(keys).map_err(|error| named(error.into()))
}

/// Returns the server of the API, which listens on an address of its own.
///
/// # Errors
///
/// The address is in use, or not of this machine.
pub fn serve(io: &Server, address: SocketAddr, keys: Keys) -> io::Result<HttpService> {
    let api = Api::builder(io, keys).build();
    let app = move || App::new().service(api.service()).default_service(Api::unknown());
    Ok(HttpServer::new(app).workers(1).max_connections(MAX_CONNECTIONS).disable_signals().bind(address)?.run())
}
