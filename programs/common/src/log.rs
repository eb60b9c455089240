//! The log, on standard error, and its filter, which can change while the program runs.
//!
//! A reader that is slow or stops costs lines, never the service: the queue of lines is bounded.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use parking_lot::Mutex;
use sociable_protocol::log::escaped;
use thiserror::Error;
use tracing::field::Field;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

/// The most lines that wait to be written. Further lines are dropped.
const MAX_WAITING: usize = 8 * 1024;
/// The interval between two reports of dropped lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// The filter where none is set.
const DEFAULT: &str = "info";

/// The target of lines about the log itself.
const TARGET: &str = "sociable::log";

/// A subscriber of the events and spans of the program.
pub type BoxedLayer = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "`--help` would show the lines")]
pub enum Format {
    // A line for people.
    #[default]
    Text,
    // A line of JSON.
    Json,
}

/// The filter of the log. Clones share it.
#[derive(Clone)]
pub struct Filter(Arc<Inner>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.current()).finish()
    }
}

struct Inner {
    handle: Handle<EnvFilter, Registry>,
    dropped: ErrorCounter,
    texts: Mutex<Texts>,
}

struct Texts {
    /// The filter in effect.
    current: String,
    /// The filter that was chosen last. It holds again when a switch is turned off.
    chosen: String,
}

/// Parses a filter, such as `info,sociable::parser=debug`.
///
/// # Errors
///
/// The text is no filter.
pub fn parse(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(text)
}

/// A filter that can't be parsed.
#[derive(Debug, Error)]
pub enum FilterError {
    /// The filter of the settings.
    #[error("log: {0}")]
    Setting(ParseError),
    /// The filter of the environment.
    #[error("RUST_LOG: {0}. Write a filter such as info, or unset it")]
    Environment(ParseError),
}

/// Returns the filter that holds: that of the settings, else that of `RUST_LOG`, else `info`.
///
/// # Errors
///
/// `RUST_LOG` is no filter.
pub fn chosen(set: Option<&str>) -> Result<String, FilterError> {
    choose(set, env::var("RUST_LOG").ok())
}

fn choose(set: Option<&str>, rust_log: Option<String>) -> Result<String, FilterError> {
    match (set, rust_log.filter(|filter| !filter.trim().is_empty())) {
        (Some(set), _) => Ok(set.to_owned()),
        (None, Some(filter)) => parse(&filter).map(|_| filter).map_err(FilterError::Environment),
        (None, None) => Ok(DEFAULT.to_owned()),
    }
}

/// Writes a field of an event, escaped: no text from outside begins a line or reaches a terminal as a command.
fn write_field(writer: &mut format::Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => write!(writer, "{}", escaped(&text)),
        name => write!(writer, " {name}={}", escaped(&text)),
    }
}

/// Returns false for lines that no filter lets through. The NATS client logs addresses with passwords at `debug`.
fn shows_no_secret(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target() != "async_nats::connector"
}

/// Starts the log of this process, with a subscriber for traces if there is one. Lines that wait are written when the guard is dropped.
/// Without a filter that of `RUST_LOG` holds, else `info`.
///
/// # Errors
///
/// The filter can't be parsed.
///
/// # Panics
///
/// The process has a subscriber of `tracing` already.
pub fn start(filter: Option<&str>, format: Format, traces: Option<BoxedLayer>) -> Result<(Filter, WorkerGuard), FilterError> {
    let filter = &*chosen(filter)?;
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING).finish(io::stderr());
    let dropped = writer.error_counter();
    let (layer, handle) = Layer::new(parse(filter).map_err(FilterError::Setting)?);
    let layer = layer.and(filter_fn(shows_no_secret).with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
    let lines: BoxedLayer = match format {
        Format::Text => lines.compact().fmt_fields(format::debug_fn(write_field)).with_filter(layer).boxed(),
        Format::Json => lines.json().flatten_event(true).with_filter(layer).boxed(),
    };
    // Traces do not depend on the filter of the log.
    tracing_subscriber::registry().with(traces.into_iter().chain([lines]).collect::<Vec<_>>()).init();
    let texts = Mutex::new(Texts { current: filter.into(), chosen: filter.into() });
    Ok((Filter(Arc::new(Inner { handle, dropped, texts })), guard))
}

impl Filter {
    /// Returns the filter in effect.
    pub fn current(&self) -> String {
        self.0.texts.lock().current.clone()
    }

    /// Sets the filter. It replaces one that a signal switched on.
    ///
    /// # Errors
    ///
    /// The text is no filter. The filter stays as it was.
    pub fn choose(&self, text: &str) -> Result<(), ParseError> {
        let filter = parse(text)?;
        let mut texts = self.0.texts.lock();
        texts.chosen = text.into();
        self.apply(&mut texts, text.into(), filter);
        Ok(())
    }

    /// Logs the number of dropped lines from time to time, until it is cancelled.
    pub async fn report_dropped_lines(self) {
        let mut reported = 0;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let dropped = self.0.dropped.dropped_lines();
            if dropped > reported {
                tracing::warn!(target: TARGET, lines = dropped - reported, "log lines dropped; the reader of the log is too slow");
                reported = dropped;
            }
        }
    }

    /// Switches a filter on or, if it is on, off.
    pub(crate) fn switch(&self, text: &str) {
        let mut texts = self.0.texts.lock();
        let next = if texts.current == text { texts.chosen.clone() } else { text.to_owned() };
        let filter = EnvFilter::new(&next);
        self.apply(&mut texts, next, filter);
    }

    fn apply(&self, texts: &mut Texts, text: String, filter: EnvFilter) {
        // The log ends with the process, so this does not fail.
        if texts.current != text && self.0.handle.reload(filter).is_ok() {
            texts.current = text;
            tracing::info!(target: TARGET, filter = texts.current, "log filter changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_log_holds_where_no_filter_is_set() {
        for (set, rust_log, holds) in [
            (Some("warn"), Some("debug"), "warn"),
            (None, Some("debug,sociable=trace"), "debug,sociable=trace"),
            (None, Some(" "), "info"),
            (None, None, "info"),
        ] {
            assert_eq!(choose(set, rust_log.map(Into::into)).unwrap(), holds, "{set:?} {rust_log:?}");
        }
        let error = choose(None, Some("sociable=loud".into())).unwrap_err();
        assert!(error.to_string().starts_with("RUST_LOG: "), "{error}");
        assert!(choose(Some("warn"), Some("sociable=loud".into())).is_ok());
    }
}
