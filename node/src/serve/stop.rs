//! Running a server until it is told to stop, and stopping it so that every client learns of it.
//!
//! actix-server knows nothing of sessions: its own stop waits its whole time for open WebSockets, and tells them nothing. So the sessions are
//! closed first, and the server is stopped after.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_server::Server;

use crate::engine::Shared;

/// Clients get so much of the time to take their close packet: one part of this many.
const CLOSE_SHARE: u32 = 2;
/// How long the last answers have to leave: a session is over when its close packet is handed to the HTTP server, which then has to write it. A graceful stop of
/// actix-server would see to that, but it waits for every idle connection too.
const FLUSH: Duration = Duration::from_millis(250);

/// Serves until the server ends, or until SIGINT or SIGTERM if `signals`.
pub(crate) async fn run(engine: &Arc<Shared>, mut server: Server, timeout: Duration, signals: bool) -> io::Result<()> {
    let handle = server.handle();
    tokio::select! {
        ended = &mut server => return ended,
        () = stop_signal(), if signals => {}
    }
    tracing::info!(target: "sociable::serve", "stopping");
    let stopping = async {
        engine.close(timeout / CLOSE_SHARE).await;
        tokio::time::sleep(FLUSH).await;
        // What is left now is cut off.
        handle.stop(false).await;
    };
    tokio::join!(stopping, server).1
}

/// Waits for SIGINT or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(error) => {
                tracing::error!(target: "sociable::serve", %error, "a signal can't be waited for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}
