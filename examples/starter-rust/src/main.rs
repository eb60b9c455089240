//! Starts the application: see `lib.rs`.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use actix_web::{App, rt};
use clap::Parser;
use starter::settings::Settings;
use starter::{Application, operations};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[actix_web::main]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    let ended = if settings.probe { probe(&settings) } else { serve(settings).await };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("starter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn probe(settings: &Settings) -> Result<(), Box<dyn Error>> {
    if operations::probe(&settings.host, settings.port)? { Ok(()) } else { Err("the node is unhealthy".into()) }
}

async fn serve(settings: Settings) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_ansi(io::stdout().is_terminal()).with_env_filter(EnvFilter::try_new(&settings.log)?).init();
    settings.check()?;
    let logins = settings.logins()?;
    // The first process of a container gets no signal that it does not listen for.
    let mut stop = signal(SignalKind::terminate())?;
    let builder = tokio::select! {
        builder = settings.builder() => builder?,
        _ = stop.recv() => return Ok(()),
    };
    let application = Application::new(&settings.node_name, builder, logins)?;
    if let Some(address) = settings.admin_addr {
        rt::spawn(application.operations.serve(address)?);
    }
    #[cfg(feature = "api")]
    if let Some((address, file)) = settings.api_addr.zip(settings.api_keys.as_deref()) {
        rt::spawn(starter::api::serve(&application.io, address, starter::api::keys(file)?)?);
    }
    let server = application.io.clone();
    let app = move || App::new().configure(|app| application.configure(app));
    let mut server =
        server.serve(app).drain(Duration::from_secs(settings.drain_time)).shutdown_timeout(Duration::from_secs(settings.shutdown_timeout));
    if let Some(workers) = settings.workers {
        server = server.workers(workers.into());
    }
    let server = server.bind((&*settings.host, settings.port))?;
    tracing::info!(node = settings.node_name, addresses = ?server.addrs(), "listening");
    // SIGTERM and SIGINT drain the node: its clients resume on other nodes.
    server.run().await?;
    tracing::info!("stopped");
    Ok(())
}
