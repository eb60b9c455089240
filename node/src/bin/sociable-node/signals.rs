//! Signals that the server does not hear itself: those before it serves, and SIGHUP.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM before the server hears them. The first process of a container gets none that it does not listen to: it would start, and
/// serve until it is killed.
pub(crate) struct EarlyStop {
    interrupt: Signal,
    terminate: Signal,
}

impl EarlyStop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Has the node live on at SIGHUP, at which daemons read their settings again: a node has none that change, but those of the log. One that was started in
/// a terminal ends with it.
pub(crate) fn outlive_hangups() -> io::Result<()> {
    if io::stderr().is_terminal() {
        return Ok(());
    }
    let mut hangups = signal(SignalKind::hangup())?;
    actix_web::rt::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::warn!("SIGHUP changes nothing: start another node with other settings, and stop this one");
        }
    });
    Ok(())
}
