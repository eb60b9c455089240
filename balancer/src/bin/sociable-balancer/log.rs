//! The log, on standard error. Whoever reads it may be slow or stop to: then lines are dropped, and traffic goes on.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// How many lines may wait to be written.
const MAX_WAITING: usize = 8 * 1024;
/// How often it is told that lines were dropped.
const INTERVAL: Duration = Duration::from_secs(60);

/// The log and its filter, until this is dropped: what waits is written then.
pub(crate) struct Filter {
    handle: Handle<EnvFilter, Registry>,
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Filter {
    /// Has the log let through something else.
    pub(crate) fn change(&self, filter: EnvFilter) {
        // It fails only after the log itself is gone.
        drop(self.handle.reload(filter));
    }

    /// Tells of lines that were dropped, for ever.
    pub(crate) async fn watch(&self) {
        let mut told = 0;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let dropped = self.dropped.dropped_lines();
            if dropped > told {
                tracing::warn!(target: "sociable::balancer", lines = dropped - told, "lines of the log were dropped: whoever reads it is too slow");
                told = dropped;
            }
        }
    }
}

/// Starts to log what the filter lets through.
pub(crate) fn start(filter: EnvFilter) -> Filter {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING).finish(io::stderr());
    let dropped = writer.error_counter();
    let (layer, handle) = Layer::new(filter);
    let lines = fmt::layer().compact().with_writer(writer).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(layer).with(lines).init();
    Filter { handle, dropped, _writer: guard }
}
