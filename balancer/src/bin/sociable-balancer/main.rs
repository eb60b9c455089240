//! `sociable-balancer`: one address for a cluster.
//!
//! * `settings.rs`: what it is told. `life.rs`: how it starts, changes and ends.

mod life;
mod settings;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use sociable_protocol::health::is_well;
use tracing_subscriber::EnvFilter;

use self::settings::Flags;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let settings = match flags.settings() {
        Ok(settings) => settings,
        Err(error) => return fail(&error.to_string()),
    };
    let filter = match EnvFilter::builder().parse(settings.filter()) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("log: {error}")),
    };
    if flags.check {
        return match life::Plan::new(&settings) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
        };
    }
    if flags.probe {
        return match settings.own_admin_addr().map(is_well) {
            Some(Ok(true)) => ExitCode::SUCCESS,
            Some(Ok(false)) => fail("the balancer is not well"),
            Some(Err(error)) => fail(&format!("the balancer does not answer: {error}")),
            None => fail("a balancer without admin-addr can't be asked how it is"),
        };
    }
    tracing_subscriber::fmt().compact().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let lived = runtime.map_err(life::LifeError::Io).and_then(|runtime| runtime.block_on(life::live(&flags, &settings)));
    match lived {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// Not by the log, whose filter may hide it.
fn fail(error: &str) -> ExitCode {
    eprintln!("{error}. `sociable-balancer --help` tells what each setting means.");
    ExitCode::FAILURE
}
