//! The log, on standard error, and its filter, which can be changed while the node runs. Whoever reads it may be slow or stop to: then lines are
//! dropped, and clients are served.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use parking_lot::Mutex;
use sociable_protocol::log::escaped;
use tracing::field::Field;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

/// How many lines may wait to be written.
const MAX_WAITING: usize = 8 * 1024;
/// How often it is told that lines were dropped.
const INTERVAL: Duration = Duration::from_secs(60);

/// What SIGUSR1 and SIGUSR2 switch on.
#[cfg(unix)]
const DEBUG: &str = "info,sociable=debug";
#[cfg(unix)]
const TRACE: &str = "info,sociable=trace";

/// What gets the events and spans of the program.
pub(crate) type BoxedLayer = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Plain comments: `--help` needs no lines for them.
    // A line for people.
    Text,
    // A line of JSON.
    Json,
}

/// The filter of the log.
#[derive(Clone)]
pub(crate) struct Filter(Arc<Inner>);

struct Inner {
    handle: Handle<EnvFilter, Registry>,
    dropped: ErrorCounter,
    texts: Mutex<Texts>,
}

struct Texts {
    /// What holds.
    current: String,
    /// What was given by the flag or since, and holds again when a switch is turned off.
    chosen: String,
}

/// Reads a filter.
pub(crate) fn parse(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(text)
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

/// Starts to log what the filter lets through. The filter was checked with the flags.
/// What waits is written when the guard is dropped.
pub(crate) fn start(filter: &str, format: Format, traces: Option<BoxedLayer>) -> (Filter, WorkerGuard) {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING).finish(io::stderr());
    let dropped = writer.error_counter();
    let (layer, handle) = Layer::new(EnvFilter::new(filter));
    let layer = layer.and(filter_fn(tells_no_secret).with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
    let lines: BoxedLayer = match format {
        Format::Text => lines.compact().fmt_fields(format::debug_fn(write_field)).with_filter(layer).boxed(),
        Format::Json => lines.json().flatten_event(true).with_filter(layer).boxed(),
    };
    // What is traced does not go by what is logged.
    tracing_subscriber::registry().with(traces.into_iter().chain([lines]).collect::<Vec<_>>()).init();
    (Filter(Arc::new(Inner { handle, dropped, texts: Mutex::new(Texts { current: filter.into(), chosen: filter.into() }) })), guard)
}

impl Filter {
    /// What is logged now.
    pub(crate) fn current(&self) -> String {
        self.0.texts.lock().current.clone()
    }

    /// Has the log let through something else. If the text is no filter, nothing changes.
    pub(crate) fn choose(&self, text: &str) -> Result<(), ParseError> {
        let filter = parse(text)?;
        let mut texts = self.0.texts.lock();
        texts.chosen = text.into();
        self.apply(&mut texts, text.into(), filter);
        Ok(())
    }

    /// Tells of lines that were dropped, for ever.
    pub(crate) async fn watch(self) {
        let mut told = 0;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let dropped = self.0.dropped.dropped_lines();
            if dropped > told {
                tracing::warn!(lines = dropped - told, "lines of the log were dropped: whoever reads it is too slow");
                told = dropped;
            }
        }
    }

    /// Turns a switch on or, if it is on, off.
    #[cfg(unix)]
    fn switch(&self, text: &str) {
        let mut texts = self.0.texts.lock();
        let next = if texts.current == text { texts.chosen.clone() } else { text.to_owned() };
        let filter = EnvFilter::new(&next);
        self.apply(&mut texts, next, filter);
    }

    fn apply(&self, texts: &mut Texts, text: String, filter: EnvFilter) {
        // It fails only after the log itself is gone.
        if self.0.handle.reload(filter).is_ok() {
            texts.current = text;
        }
        tracing::info!(filter = texts.current, "the log lets through something else now");
    }

    /// Turns the switches at signals: SIGUSR1 that for `debug`, SIGUSR2 that for `trace`.
    #[cfg(unix)]
    pub(crate) fn follow_signals(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        for (kind, text) in [(SignalKind::user_defined1(), DEBUG), (SignalKind::user_defined2(), TRACE)] {
            let (filter, mut signals) = (self.clone(), signal(kind)?);
            actix_web::rt::spawn(async move {
                while signals.recv().await.is_some() {
                    filter.switch(text);
                }
            });
        }
        Ok(())
    }

    /// There are no such signals here.
    #[cfg(not(unix))]
    pub(crate) fn follow_signals(&self) -> io::Result<()> {
        Ok(())
    }
}
