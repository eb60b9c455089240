//! `sociable-node`: one node, ready to run, with a page on `/` on which browser tabs talk to each other through rooms.
//!
//! * `flags.rs`, `cluster.rs`, `environment.rs`, `file.rs`: what it is told at the start. `signals.rs`: what the system tells it. `log.rs`, `panics.rs`: what it tells. `admin.rs`: what it is told later.
//! * `traces.rs`: what a collector of OpenTelemetry is told, with the feature `otel`.
//! * `page.rs`: the page, `/healthz` and `/readyz`. `demo.rs`: what the page asks of the server. `figures.rs`: what the page shows of it.

mod admin;
mod cluster;
mod demo;
mod environment;
mod figures;
mod file;
mod flags;
mod log;
mod nats;
mod page;
mod panics;
mod signals;
#[cfg(feature = "otel")]
mod traces;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use actix_web::App;
use clap::{CommandFactory, FromArgMatches};
use futures_util::FutureExt;
use sociable::{ConfigError, NatsError};
use thiserror::Error;
use tracing_subscriber::Layer;

use self::flags::Flags;
use self::log::Filter;
use self::page::Page;
use self::signals::EarlyStop;
#[cfg(feature = "otel")]
use self::traces::Traces;

#[derive(Debug, Error)]
enum StartError {
    #[error("{0}. `sociable-node --help` tells what each flag means.")]
    Config(#[from] ConfigError),
    #[error("{0}. `sociable-node --help` tells how NATS is spoken to.")]
    Cluster(#[from] NatsError),
    #[error("{host}:{port} is in use already. Stop the program that listens there, or choose another port with --port.")]
    Taken { host: String, port: u16 },
    #[error("No right to listen on {host}:{port}. Choose a port from 1024 on with --port.")]
    Forbidden { host: String, port: u16 },
    #[error("Can't listen on {host}:{port}: {error}. Choose an address of this machine with --host.")]
    Listen { host: String, port: u16, error: io::Error },
    #[cfg(feature = "otel")]
    #[error("Can't send traces: {0}. Name a collector with --otlp-endpoint, such as http://127.0.0.1:4318.")]
    Traces(String),
    #[cfg(not(feature = "otel"))]
    #[error("This sociable-node was built without OpenTelemetry. Build it with `--features otel`, or leave --otlp-endpoint out.")]
    NoTraces,
    #[error("--admin-addr is the address that clients come to. Give it a port of its own.")]
    SameAddress,
    #[error("Can't serve: {0}.")]
    Serve(io::Error),
}

#[actix_web::main]
async fn main() -> ExitCode {
    let command = environment::without_empty(Flags::command());
    let args = match file::with_file(&command, std::env::args_os().collect()) {
        Ok(args) => args,
        Err(error) => return fail(&format!("{error}. `sociable-node --help` tells all settings.")),
    };
    let flags = Flags::from_arg_matches(&command.get_matches_from(args)).unwrap_or_else(|error| error.exit());
    if flags.check {
        return ended(check(&flags));
    }
    if flags.probe {
        return match sociable_program::probe::is_well(flags.own_address()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => fail("the node is not well"),
            Err(error) => fail(&format!("the node does not answer: {error}")),
        };
    }
    let traces = match traces(&flags) {
        Ok(traces) => traces,
        Err(error) => return fail(&error.to_string()),
    };
    let (filter, _written) = log::start(&flags.log, flags.log_format, traces.as_ref().map(Traces::layer).map(Layer::boxed));
    panics::log_them();
    ended(serve(flags, filter).await)
}

#[cfg(feature = "otel")]
fn traces(flags: &Flags) -> Result<Option<Traces>, StartError> {
    let to = |endpoint: &String| Traces::to(endpoint, flags.node_name(), flags.otlp_share);
    flags.otlp_endpoint.as_ref().map(to).transpose().map_err(|error| StartError::Traces(error.to_string()))
}

#[cfg(not(feature = "otel"))]
fn traces(flags: &Flags) -> Result<Option<Traces>, StartError> {
    match flags.otlp_endpoint {
        Some(_) => Err(StartError::NoTraces),
        None => Ok(None),
    }
}

/// There are none.
#[cfg(not(feature = "otel"))]
enum Traces {}

#[cfg(not(feature = "otel"))]
impl Traces {
    fn layer(&self) -> tracing_subscriber::layer::Identity {
        match *self {}
    }
}

fn ended(result: Result<(), StartError>) -> ExitCode {
    result.map_or_else(|error| fail(&error.to_string()), |()| ExitCode::SUCCESS)
}

/// Not by the log, whose filter may hide it.
fn fail(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Checks what can be checked without serving.
fn check(flags: &Flags) -> Result<(), StartError> {
    flags.builder().build()?;
    traces(flags)?;
    if let Some(options) = flags.cluster.options(&flags.node_name()) {
        options.check()?;
    }
    match flags.admin_addr {
        Some(address) if flags.port != 0 && address.to_string() == format!("{}:{}", flags.host, flags.port) => Err(StartError::SameAddress),
        _ => Ok(()),
    }
}

async fn serve(flags: Flags, filter: Filter) -> Result<(), StartError> {
    actix_web::rt::spawn(filter.clone().watch());
    filter.follow_signals().map_err(StartError::Serve)?;
    signals::outlive_hangups().map_err(StartError::Serve)?;
    raise_limit();
    let (name, mut stop) = (flags.node_name(), EarlyStop::new().map_err(StartError::Serve)?);
    let adapter = tokio::select! {
        met = flags.cluster.connect(&name) => met?,
        () = stop.told() => {
            tracing::info!("told to stop before it began");
            return Ok(());
        }
    };
    let builder = match adapter {
        Some(adapter) => flags.builder().adapter(adapter),
        None => flags.builder(),
    };
    let io = builder.build()?;
    demo::set_up(&io);
    figures::start(&io, name.clone());

    let (service, page) = (io.service(), Page::new(&flags.path, io.clone(), name.clone()));
    let served = page.clone();
    let app = move || App::new().service(service.clone()).configure(|app| served.routes(app));
    let mut server = io.serve(app).drain(flags.drain_time()).shutdown_timeout(Duration::from_secs(flags.shutdown_timeout));
    server = server.linger(Duration::from_secs(flags.linger), flags.linger_bytes);
    if let Some(connections) = flags.max_connections {
        server = server.max_connections(connections);
    }
    if let Some(workers) = flags.workers {
        server = server.workers(workers.into());
    }
    let server = server.bind((&*flags.host, flags.port)).map_err(|error| cannot_listen(flags.host.clone(), flags.port, error))?;
    for addr in server.addrs() {
        tracing::info!(node = name, "listening on http://{addr}");
        // Whoever started the node may have closed its output.
        let _ = writeln!(io::stdout(), "listening on http://{addr}");
    }
    if let Some(address) = flags.admin_addr {
        let (admin, addrs) =
            admin::bind(address, filter, &page).map_err(|error| cannot_listen(address.ip().to_string(), address.port(), error))?;
        for addr in addrs {
            tracing::info!("administration on http://{addr}");
            let _ = writeln!(io::stdout(), "administration on http://{addr}");
        }
        actix_web::rt::spawn(admin);
    }
    // From now on the server hears them itself.
    if stop.told().now_or_never().is_some() {
        io.close(Duration::ZERO).await;
    } else {
        server.run().await.map_err(StartError::Serve)?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Raises the limit on open files as far as this process may.
fn raise_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit on open files can't be raised");
    }
}

fn cannot_listen(host: String, port: u16, error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AddrInUse => StartError::Taken { host, port },
        io::ErrorKind::PermissionDenied => StartError::Forbidden { host, port },
        _ => StartError::Listen { host, port, error },
    }
}
