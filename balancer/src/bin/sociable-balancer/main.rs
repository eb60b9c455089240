//! `sociable-balancer`: one address for a cluster.
//!
//! * `settings.rs`, `environment.rs`, `file.rs`: what it is told. `life.rs`: how it starts, changes and ends. `log.rs`: what it tells.

mod environment;
mod file;
mod life;
mod log;
mod settings;

use std::process::ExitCode;

use sociable_program::probe::is_well;

use self::settings::Flags;

fn main() -> ExitCode {
    let flags = Flags::of_process();
    let settings = match flags.settings() {
        Ok(settings) => settings,
        Err(error) => return fail(&error.to_string()),
    };
    let filter = match settings.filter() {
        Ok(filter) => filter,
        Err(error) => return fail(&error.to_string()),
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
    let filter = log::start(filter, settings.log_format.unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let lived = runtime.map_err(life::LifeError::Io).and_then(|runtime| runtime.block_on(life::run(&flags, &settings, &filter)));
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
