//! Running a server until it is stopped, and a stop that reaches every client.
//!
//! actix-server has no notion of sessions: its own stop waits the whole time for open WebSockets, without a close packet. So the sessions are closed
//! first, and the server is stopped after them.
//!
//! A first signal begins the drain, if there is one. A second signal ends it at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_server::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::drain::drain;
use crate::state::EngineState;

/// The divisor of the time in which clients take their close packets.
const CLOSE_SHARE: u32 = 2;
/// The time to write the last responses. A session is over when its close packet is handed to the HTTP server, which still has to write it. A
/// graceful stop of actix-server would do so, but it also waits for every idle connection.
const FLUSH: Duration = Duration::from_millis(250);
/// The deadline of a stop after the second signal.
const HURRIED_CLOSE: Duration = Duration::from_secs(1);

/// The options of a stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// The time over which sessions are closed in batches first.
    pub(crate) drain: Duration,
    /// The time after which the remaining connections are cut off.
    pub(crate) timeout: Duration,
    /// Whether SIGINT and SIGTERM stop the server.
    pub(crate) signals: bool,
}

/// Serves until the server ends, or is stopped.
pub(crate) async fn run(engine: &Arc<EngineState>, mut server: Server, stop: Stop) -> io::Result<()> {
    let handle = server.handle();
    let mut signals = Signals::install(stop.signals);
    tokio::select! {
        ended = &mut server => return ended,
        () = signals.next() => {}
    }
    tracing::info!(target: "sociable::serve", "stopping");
    let orderly = async {
        drain(engine, stop.drain).await;
        engine.close(stop.timeout / CLOSE_SHARE).await;
    };
    let stopping = async {
        tokio::select! {
            () = orderly => {}
            () = signals.next() => {
                tracing::warn!(target: "sociable::serve", sessions = engine.session_count(), "second signal; cutting off remaining sessions");
                // Reachable clients still get a close packet, so that they reconnect sooner. Leaving the cluster may take longer than the time
                // allows.
                drop(timeout(HURRIED_CLOSE, engine.close(FLUSH)).await);
            }
        }
        tokio::time::sleep(FLUSH).await;
        // The remaining connections are cut off.
        handle.stop(false).await;
    };
    tokio::join!(stopping, server).1
}

/// The signals SIGINT and SIGTERM, where they are handled.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    fn install(wanted: bool) -> Self {
        let install = |kind| match signal(kind) {
            Ok(signal) => Some(signal),
            Err(error) => {
                tracing::error!(target: "sociable::serve", %error, "signal handler not installed");
                None
            }
        };
        let install = |kind| wanted.then(|| install(kind)).flatten();
        Self { interrupt: install(SignalKind::interrupt()), terminate: install(SignalKind::terminate()) }
    }

    /// Waits for the next signal. A signal that came earlier is not lost.
    async fn next(&mut self) {
        tokio::select! {
            Some(()) = next(&mut self.interrupt) => {}
            Some(()) = next(&mut self.terminate) => {}
            else => std::future::pending().await,
        }
    }
}

async fn next(signal: &mut Option<Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}
