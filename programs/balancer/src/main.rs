//! `sociable-balancer`: one address for a cluster.
//!
//! * `settings.rs`: the settings. `life.rs`: start, reload, handover and stop. All else that programs share is in `sociable-program`.

mod life;
mod settings;

use std::env;
use std::process::ExitCode;

use sociable_program::{log, panics, probe};

use self::life::LifeError;
use self::settings::Flags;

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().collect();
    let flags: Flags = match sociable_program::settings::parse(args.clone()) {
        Ok(flags) => flags,
        Err(error) => return fail(&error.exit_on_arguments().to_string()),
    };
    let settings = flags.settings;
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
        return match settings.own_admin_addr().map(probe::is_well) {
            Some(Ok(true)) => ExitCode::SUCCESS,
            Some(Ok(false)) => fail("the balancer is unhealthy"),
            Some(Err(error)) => fail(&format!("the balancer does not answer: {error}")),
            None => fail("no admin-addr is set, so the balancer cannot be probed"),
        };
    }
    let (filter, _writer) = match log::start(Some(&filter), settings.log_format.unwrap_or_default(), None) {
        Ok(started) => started,
        Err(error) => return fail(&error.to_string()),
    };
    panics::log_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let lived = runtime.map_err(LifeError::Io).and_then(|runtime| runtime.block_on(life::run(&args, &settings, &filter)));
    match lived {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// Writes an error past the log, whose filter may hide it.
fn fail(error: &str) -> ExitCode {
    eprintln!("{error}. `sociable-balancer --help` explains each setting.");
    ExitCode::FAILURE
}
