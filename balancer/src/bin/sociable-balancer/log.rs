//! The log, on standard error, and its filter, which can be changed while the balancer runs. Whoever reads it may be slow or stop to: then lines
//! are dropped, and traffic goes on.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use sociable_protocol::log::escaped;
use tracing::field::Field;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

/// How many lines may wait to be written.
const MAX_WAITING: usize = 8 * 1024;
/// How often it is told that lines were dropped.
const INTERVAL: Duration = Duration::from_secs(60);

/// What SIGUSR1 and SIGUSR2 switch on: with it, every request is logged.
pub(crate) const DEBUG: &str = "info,sociable=debug";
pub(crate) const TRACE: &str = "info,sociable=trace";

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    // Plain comments: `--help` needs no lines for them.
    // A line for people.
    #[default]
    Text,
    // A line of JSON.
    Json,
}

/// The log and its filter, until this is dropped: what waits is written then.
pub(crate) struct Filter {
    handle: Handle<EnvFilter, Registry>,
    dropped: ErrorCounter,
    /// What the settings say.
    chosen: RefCell<String>,
    /// What was switched on instead.
    switched: Cell<Option<&'static str>>,
    _writer: WorkerGuard,
}

impl Filter {
    /// Has the log let through what the settings say now.
    pub(crate) fn change(&self, filter: EnvFilter) {
        self.chosen.replace(filter.to_string());
        self.switched.set(None);
        self.apply(filter);
    }

    /// Turns a switch on or, if it is on, off.
    pub(crate) fn switch(&self, text: &'static str) {
        self.switched.set(if self.switched.get() == Some(text) { None } else { Some(text) });
        let now = self.switched.get().map_or_else(|| self.chosen.borrow().clone(), str::to_owned);
        self.apply(EnvFilter::new(&now));
        tracing::info!(target: "sociable::balancer", filter = now, "the log lets through something else now");
    }

    fn apply(&self, filter: EnvFilter) {
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
pub(crate) fn start(filter: EnvFilter, format: Format) -> Filter {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING).finish(io::stderr());
    let (dropped, chosen) = (writer.error_counter(), RefCell::new(filter.to_string()));
    let (layer, handle) = Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.compact().fmt_fields(format::debug_fn(write_field)).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let layer = layer.and(filter_fn(tells_no_secret).with_max_level_hint(LevelFilter::TRACE));
    tracing_subscriber::registry().with(lines.with_filter(layer)).init();
    Filter { handle, dropped, chosen, switched: Cell::new(None), _writer: guard }
}

/// Writes a field of an event. Nothing that others chose begins a line of its own, or reaches a terminal as a command, whoever logs it.
fn write_field(writer: &mut format::Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => write!(writer, "{}", escaped(&text)),
        name => write!(writer, " {name}={}", escaped(&text)),
    }
}

/// False for what no filter lets through: the client of NATS tells at `debug` which server it tries, with the password in its address.
fn tells_no_secret(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target() != "async_nats::connector"
}
