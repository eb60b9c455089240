//! SIGHUP, at which daemons read their settings again. No setting of a node changes while it runs.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{SignalKind, signal};

/// Ignores SIGHUP from now on, but for a line of the log. A node that was started in a terminal ends with it.
pub(crate) fn ignore() -> io::Result<()> {
    if io::stderr().is_terminal() {
        return Ok(());
    }
    let mut hangups = signal(SignalKind::hangup())?;
    actix_web::rt::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::warn!("SIGHUP ignored; start a node with the new settings, then stop this one");
        }
    });
    Ok(())
}
