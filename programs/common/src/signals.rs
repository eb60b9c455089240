//! Signals of the system.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::log::Filter;

/// The filters that SIGUSR1 and SIGUSR2 switch on.
const DEBUG: &str = "info,sociable=debug";
const TRACE: &str = "info,sociable=trace";

/// SIGINT and SIGTERM. A process that is the first of its container ignores them until it listens for them.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// The system refuses the handlers.
    ///
    /// # Panics
    ///
    /// There is no Tokio runtime with I/O.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one of them. Cancelling loses none.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGUSR1 and SIGUSR2, which switch the filter of the log.
#[derive(Debug)]
pub struct LogSignals {
    debug: Signal,
    trace: Signal,
}

impl LogSignals {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// The system refuses the handlers.
    ///
    /// # Panics
    ///
    /// There is no Tokio runtime with I/O.
    pub fn new() -> io::Result<Self> {
        Ok(Self { debug: signal(SignalKind::user_defined1())?, trace: signal(SignalKind::user_defined2())? })
    }

    /// Switches the filter at each signal, until it is cancelled.
    pub async fn follow(mut self, filter: Filter) {
        loop {
            tokio::select! {
                Some(()) = self.debug.recv() => filter.switch(DEBUG),
                Some(()) = self.trace.recv() => filter.switch(TRACE),
                else => return,
            }
        }
    }
}
