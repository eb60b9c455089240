//! `sociable-ctl`: sends events to the sockets of a cluster from a shell, moves them, lists them, and watches what passes.
//!
//! * `flags.rs`: the arguments. `failure.rs`: errors and exit codes.
//! * `call.rs`: a request to the API. `http.rs`, `nats.rs`: its ways. `answer.rs`: the answer.
//! * `bus.rs`: operations straight on the bus, without the API. `watch.rs`: what passes on the bus.

mod answer;
mod bus;
mod call;
mod failure;
mod flags;
mod http;
mod nats;
mod watch;

use std::process::ExitCode;

use sociable_program::settings;

use self::call::Call;
use self::failure::Failure;
use self::flags::{Flags, What};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match settings::parse(std::env::args_os().collect()) {
        Ok(flags) => run(&flags).await,
        Err(error) => Err(Failure::Usage(error.exit_on_arguments().to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.to_string().replace(['\r', '\n'], " "));
            failure.code()
        }
    }
}

async fn run(flags: &Flags) -> Result<(), Failure> {
    flags.refuse_all()?;
    if let What::Watch { lines } = flags.what {
        flags.refuse_api("watch")?;
        return watch::run(flags, lines).await;
    }
    let Some(call) = Call::of(flags)? else {
        flags.refuse_api("server")?;
        return bus::run(flags).await;
    };
    let key = flags.key()?;
    match (&flags.api, key) {
        (Some(api), Some(key)) => http::send(api, &key, &call).await?.print(&call),
        (Some(_), None) => Err(Failure::Usage("the API needs a key: set SOCIABLE_API_KEY or --api-key-file".into())),
        (None, Some(key)) => nats::send(flags, &key, &call).await?.print(&call),
        (None, None) if call.fits_the_bus => bus::run(flags).await,
        (None, None) => {
            let operation = call.operation;
            Err(Failure::Usage(format!("`{operation}` needs the API: set SOCIABLE_API_KEY or --api-key-file, and --api for HTTP")))
        }
    }
}
