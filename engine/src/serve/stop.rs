//! Running a server until it is told to stop, and stopping it so that every client learns of it.
//!
//! actix-server knows nothing of sessions: its own stop waits its whole time for open WebSockets, and tells them nothing. So the sessions are
//! closed first, and the server is stopped after.
//!
//! A first signal begins the drain, if there is to be one; a second ends it at once, wherever it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_server::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::drain::drain;
use crate::state::EngineState;

/// Clients get so much of the time to take their close packet: one part of this many.
const CLOSE_SHARE: u32 = 2;
/// How long the last answers have to leave: a session is over when its close packet is handed to the HTTP server, which then has to write it. A graceful stop of
/// actix-server would see to that, but it waits for every idle connection too.
const FLUSH: Duration = Duration::from_millis(250);
/// How long it may take at most when it is told twice to stop.
const HURRY: Duration = Duration::from_secs(1);

/// How a server stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// Over how long a time its clients are sent elsewhere before.
    pub(crate) drain: Duration,
    /// How long it may take then until the connections that are left are cut off.
    pub(crate) timeout: Duration,
    /// Whether it is SIGINT or SIGTERM that stops it.
    pub(crate) signals: bool,
}

/// Serves until the server ends, or is stopped.
pub(crate) async fn run(engine: &Arc<EngineState>, mut server: Server, stop: Stop) -> io::Result<()> {
    let handle = server.handle();
    let mut signals = Signals::heard(stop.signals);
    tokio::select! {
        ended = &mut server => return ended,
        () = signals.next() => {}
    }
    tracing::info!(target: "sociable::serve", "stopping");
    let in_peace = async {
        drain(engine, stop.drain).await;
        engine.close(stop.timeout / CLOSE_SHARE).await;
    };
    let stopping = async {
        tokio::select! {
            () = in_peace => {}
            () = signals.next() => {
                tracing::warn!(target: "sociable::serve", sessions = engine.session_count(), "told again to stop: what is left is cut off");
                // Who can be told is: it goes on at another node the sooner. To take leave of a cluster may take longer than there is time.
                drop(timeout(HURRY, engine.close(FLUSH)).await);
            }
        }
        tokio::time::sleep(FLUSH).await;
        // What is left now is cut off.
        handle.stop(false).await;
    };
    tokio::join!(stopping, server).1
}

/// SIGINT and SIGTERM, as far as they are heard.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    fn heard(heard: bool) -> Self {
        let hear = |kind| match signal(kind) {
            Ok(signal) => Some(signal),
            Err(error) => {
                tracing::error!(target: "sociable::serve", %error, "a signal can't be waited for");
                None
            }
        };
        let hear = |kind| heard.then(|| hear(kind)).flatten();
        Self { interrupt: hear(SignalKind::interrupt()), terminate: hear(SignalKind::terminate()) }
    }

    /// Waits for the next of them. One that came while nobody waited is not lost.
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
