//! `sociable-node`: one node, ready to run. Its demonstration is a page on `/`, on which browser tabs talk to each other through rooms.
//!
//! * `flags.rs`, `cluster.rs`, `tables.rs`: the settings. `namespaces.rs`: the namespaces that they name. `origins.rs`: origins in flags. `follow.rs`: files that are read again. `hangup.rs`: SIGHUP. All else that programs share is in `sociable-program`.
//! * `admin.rs`: the administration. `liveness.rs`: the check of the worker threads. `admin_ui.rs`: the admin UI of Socket.IO. `api.rs`: the API for backends. `webhooks.rs`: the webhooks. `traces.rs`: traces for OpenTelemetry, with the feature `otel`.
//! * `page.rs`: the page, `/healthz` and `/readyz`. `demo.rs`: the server's side of the page. `figures.rs`: the live figures.
//!
//! | feature | default | |
//! |---|---|---|
//! | `otel` | no | Traces for OpenTelemetry, by `--otlp-endpoint`. |

mod admin;
mod admin_ui;
mod api;
mod cluster;
mod deflate;
mod demo;
mod figures;
mod flags;
mod follow;
mod hangup;
mod liveness;
mod namespaces;
mod origins;
mod page;
mod tables;
#[cfg(feature = "otel")]
mod traces;
mod webhooks;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use actix_web::App;
use futures_util::FutureExt;
#[cfg(not(feature = "otel"))]
use sociable::ServerBuilder;
use sociable::{ConfigError, NatsError};
use sociable_gateway::api::peers::{PeerOptions, Peers};
use sociable_gateway::webhooks::{Webhooks, WebhooksFault};
use sociable_program::log::{self, Filter, FilterError};
use sociable_program::settings::{self, FileError, Tables as File};
use sociable_program::signals::{LogSignals, StopSignals};
use sociable_program::{panics, probe};
use thiserror::Error;
use tracing_subscriber::Layer;

use self::admin_ui::AdminUiFault;
use self::flags::Flags;
use self::liveness::Liveness;
use self::namespaces::{CreateFault, Namespaces};
use self::page::Page;
use self::tables::Tables;
#[cfg(feature = "otel")]
use self::traces::{Traces, TracesError};

#[derive(Debug, Error)]
enum StartError {
    #[error("{0}. `sociable-node --help` explains each flag.")]
    Config(#[from] ConfigError),
    #[error("{0}. `sociable-node --help` explains the NATS flags.")]
    Cluster(#[from] NatsError),
    #[error("cannot listen on {host}:{port}: the address is in use. Stop the other program, or choose another {flag}.")]
    Taken { host: String, port: u16, flag: &'static str },
    #[error("cannot listen on {host}:{port}: permission denied. Choose a port from 1024 on with {flag}.")]
    Forbidden { host: String, port: u16, flag: &'static str },
    #[error("cannot listen on {host}:{port}: {error}. Choose an address of this machine.")]
    Listen { host: String, port: u16, error: io::Error },
    #[cfg(feature = "otel")]
    #[error("cannot send traces: {0}.")]
    Traces(#[from] TracesError),
    #[cfg(not(feature = "otel"))]
    #[error("this build has no OpenTelemetry. Build with `--features otel`, or leave --otlp-endpoint out.")]
    NoTraces,
    #[error("{0}.")]
    Log(#[from] FilterError),
    #[error("{0} is the address of the clients. Give it another port.")]
    SameAddress(&'static str),
    #[error("--api-addr is the address of the administration. Give it another port.")]
    SameAsAdmin,
    #[error("--cors-credentials needs origins by name: browsers refuse credentials for `*`.")]
    CredentialsForAll,
    #[error("cannot use the keys of the API: {0}.")]
    Keys(FileError),
    #[error("cannot serve the admin UI: {0}.")]
    AdminUi(#[from] AdminUiFault),
    #[error("{0}. Correct the file, and try it by --check.")]
    Tables(#[from] FileError),
    #[error("{0}. Correct the file with settings.")]
    Namespaces(#[from] CreateFault),
    #[error("{0}. Correct the file with settings.")]
    Webhooks(#[from] WebhooksFault),
    #[error("cannot serve: {0}.")]
    Serve(io::Error),
}

#[actix_web::main]
async fn main() -> ExitCode {
    let (flags, file): (Flags, File<Tables>) = match settings::parse_with_tables(std::env::args_os().collect()) {
        Ok(settings) => settings,
        Err(error) => return fail(&format!("{}. docs/configuration.md lists all settings.", error.exit_on_arguments())),
    };
    if flags.check {
        return ended(check(&flags, &file));
    }
    if flags.probe {
        return match probe::is_well(flags.own_address()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => fail("the node is unhealthy"),
            Err(error) => fail(&format!("the node does not answer: {error}")),
        };
    }
    let traces = match traces(&flags) {
        Ok(traces) => traces,
        Err(error) => return fail(&error.to_string()),
    };
    let (filter, _writer) = match log::start(flags.log.as_deref(), flags.log_format, traces.as_ref().map(Traces::layer).map(Layer::boxed)) {
        Ok(started) => started,
        Err(error) => return fail(&error.to_string()),
    };
    panics::log_panics();
    ended(serve(flags, &file, filter, traces.as_ref()).await)
}

#[cfg(feature = "otel")]
fn traces(flags: &Flags) -> Result<Option<Traces>, StartError> {
    Ok(Traces::start(flags)?)
}

#[cfg(not(feature = "otel"))]
fn traces(flags: &Flags) -> Result<Option<Traces>, StartError> {
    match flags.otlp_endpoint {
        Some(_) => Err(StartError::NoTraces),
        None => Ok(None),
    }
}

/// The traces of a build without OpenTelemetry.
#[cfg(not(feature = "otel"))]
enum Traces {}

#[cfg(not(feature = "otel"))]
impl Traces {
    fn layer(&self) -> tracing_subscriber::layer::Identity {
        match *self {}
    }

    fn tie(&self, _: ServerBuilder) -> ServerBuilder {
        match *self {}
    }
}

fn ended(result: Result<(), StartError>) -> ExitCode {
    result.map_or_else(|error| fail(&error.to_string()), |()| ExitCode::SUCCESS)
}

/// Writes an error past the log, whose filter may hide it.
fn fail(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Checks all settings that can be checked without serving.
fn check(flags: &Flags, file: &File<Tables>) -> Result<(), StartError> {
    webhooks::check(file)?;
    let namespaces = Namespaces::new(file, &flags.demo)?;
    flags.builder(namespaces.have_tokens()).build()?;
    flags.admin_ui.options(&flags.node_name(), |name| namespaces.has(name))?;
    log::chosen(flags.log.as_deref())?;
    traces(flags)?;
    if let Some(options) = flags.cluster.options(&flags.node_name()) {
        options.check()?;
    }
    flags.api.keys().map_err(StartError::Keys)?;
    if flags.allows_credentials_for_all() {
        return Err(StartError::CredentialsForAll);
    }
    let (clients, api) = (format!("{}:{}", flags.host, flags.port), flags.api.api_addr);
    for (flag, address) in [("--admin-addr", flags.admin_addr), ("--api-addr", api)] {
        if flags.port != 0 && address.is_some_and(|address| address.to_string() == clients) {
            return Err(StartError::SameAddress(flag));
        }
    }
    if api.is_some_and(|api| api.port() != 0 && flags.admin_addr == Some(api)) { Err(StartError::SameAsAdmin) } else { Ok(()) }
}

async fn serve(flags: Flags, file: &File<Tables>, filter: Filter, traces: Option<&Traces>) -> Result<(), StartError> {
    if flags.allows_credentials_for_all() {
        return Err(StartError::CredentialsForAll);
    }
    webhooks::check(file)?;
    let namespaces = Namespaces::new(file, &flags.demo)?;
    actix_web::rt::spawn(filter.clone().report_dropped_lines());
    actix_web::rt::spawn(LogSignals::new().map_err(StartError::Serve)?.follow(filter.clone()));
    hangup::ignore().map_err(StartError::Serve)?;
    raise_limit();
    let keys = flags.api.keys().map_err(StartError::Keys)?;
    let admin_ui = flags.admin_ui.options(&flags.node_name(), |name| namespaces.has(name))?;
    // The server listens for them itself, but only when it serves.
    let (name, mut stop) = (flags.node_name(), StopSignals::new().map_err(StartError::Serve)?);
    let connect = async {
        let adapter = flags.cluster.connect(&name).await?;
        let link = if keys.is_some() { flags.cluster.link().await? } else { None };
        Ok::<_, NatsError>((adapter, link))
    };
    let (adapter, link) = tokio::select! {
        connected = connect => connected?,
        () = stop.recv() => {
            tracing::info!("stopped before serving");
            return Ok(());
        }
    };
    let mut builder = flags.builder(namespaces.have_tokens());
    if let Some(traces) = traces {
        builder = traces.tie(builder);
    }
    if let Some(adapter) = adapter {
        builder = builder.adapter(adapter);
    }
    let io = builder.build()?;
    // Each node answers the questions of those that serve the API.
    let peers = Peers::install(&io, PeerOptions::new(&*name, env!("CARGO_PKG_VERSION")));
    let webhooks = match namespaces.have_webhooks() {
        true => Some(Webhooks::start(file.webhooks.clone(), flags.cluster.name(), &name)?),
        false => None,
    };
    if let Some(webhooks) = webhooks.clone() {
        io.add_metrics(move || webhooks.metrics());
    }
    // Before the patterns, whose handlers it must not take over.
    if let Some(options) = admin_ui {
        let users = options.users();
        io.admin(options)?;
        flags.admin_ui.follow(users);
    }
    namespaces.create(&io, webhooks.as_ref())?;
    if let Some(demo) = flags.demo.namespace() {
        let namespace = io.of(demo);
        demo::set_up(&namespace);
        figures::start(&io, &namespace, name.clone());
    }

    let (service, page) = (io.service(), Page::new(&flags.path, &flags.demo, io.clone(), name.clone()));
    let served = page.clone();
    let app = move || App::new().service(service.clone()).configure(|app| served.routes(app));
    let mut server =
        io.serve(app).direct_polls(true).drain(flags.drain_time()).shutdown_timeout(Duration::from_secs(flags.shutdown_timeout));
    server = server.linger(Duration::from_secs(flags.linger), flags.linger_bytes);
    if let Some(connections) = flags.max_connections {
        server = server.max_connections(connections);
    }
    if let Some(workers) = flags.workers {
        server = server.workers(workers.into());
    }
    let server = server.bind((&*flags.host, flags.port)).map_err(|error| cannot_listen("--port", flags.host.clone(), flags.port, error))?;
    for addr in server.addrs() {
        tracing::info!(node = name, "listening on http://{addr}");
        // The output may be closed.
        let _ = writeln!(io::stdout(), "listening on http://{addr}");
    }
    if let Some(address) = flags.admin_addr {
        let liveness = Liveness::watch(&io, Duration::from_secs(flags.max_block));
        let (admin, addrs) = admin::bind(address, filter, &page, &liveness)
            .map_err(|error| cannot_listen("--admin-addr", address.ip().to_string(), address.port(), error))?;
        for addr in addrs {
            tracing::info!("administration on http://{addr}");
            let _ = writeln!(io::stdout(), "administration on http://{addr}");
        }
        actix_web::rt::spawn(admin);
    }
    let (mut api_handle, mut nats_api) = (None, None);
    if let (Some(address), Some(keys)) = (flags.api.api_addr, keys) {
        let jetstream = link.as_ref().filter(|_| flags.cluster.has_jetstream());
        let api = flags.api.api(&io, keys, peers, jetstream);
        nats_api = flags.api.serve_nats(&api, link.as_ref()).await.map_err(StartError::Serve)?;
        let bound = flags.api.bind(address, api);
        let (api, addrs) = bound.map_err(|error| cannot_listen("--api-addr", address.ip().to_string(), address.port(), error))?;
        for addr in addrs {
            tracing::info!("API on http://{addr}");
            let _ = writeln!(io::stdout(), "API on http://{addr}");
        }
        api_handle = Some(api.handle());
        actix_web::rt::spawn(api);
    }
    // The server listens for them from now on.
    if stop.recv().now_or_never().is_some() {
        io.close(Duration::ZERO).await;
    } else {
        server.run().await.map_err(StartError::Serve)?;
    }
    if let Some(served) = nats_api {
        api::stop_nats(served).await;
    }
    if let Some(api) = api_handle {
        api.stop(true).await;
    }
    // Backends hear of the sockets that left with the server.
    if let Some(webhooks) = webhooks {
        webhooks.close().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Raises the limit on open files as far as this process may.
fn raise_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

fn cannot_listen(flag: &'static str, host: String, port: u16, error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AddrInUse => StartError::Taken { host, port, flag },
        io::ErrorKind::PermissionDenied => StartError::Forbidden { host, port, flag },
        _ => StartError::Listen { host, port, error },
    }
}
