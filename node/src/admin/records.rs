//! The reports of this node that wait for the admin UI, with their bounds.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use sociable_protocol::Encoding;
use time::OffsetDateTime;

use super::budget::Budget;
use super::counters::Counters;
use super::options::AdminOptions;
use super::serialized::shown_time;
use crate::emit::EmitArgs;
use crate::handler::EventContext;

/// Most bytes of waiting reports: they fit into one message of NATS.
const MAX_BYTES: usize = 256 * 1024;

/// An event for the admin UI: its name, and its arguments as a JSON array.
pub(super) type Record = (String, String);

/// The reports that wait.
pub(super) struct Records {
    counters: Arc<Counters>,
    changes: Budget,
    events: Budget,
    event_bytes: usize,
    waiting: Mutex<Waiting>,
    /// True once a change of a reported socket was dropped.
    stale: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    records: Vec<Record>,
    bytes: usize,
}

impl Records {
    pub(super) fn new(options: &AdminOptions, counters: Arc<Counters>) -> Self {
        Self {
            counters,
            changes: Budget::new(options.changes_per_second),
            events: Budget::new(options.events_per_second),
            event_bytes: options.event_bytes,
            waiting: Mutex::default(),
            stale: AtomicBool::new(false),
        }
    }

    /// Returns whether a change may be reported now, and spends the budget.
    pub(super) fn spend_change(&self) -> bool {
        let may = self.changes.spend();
        if !may {
            self.counters.changes_dropped.increment();
        }
        may
    }

    /// Notes that the admin UI does not know the present state of a reported socket.
    pub(super) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Returns whether changes were lost since the last call.
    pub(super) fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::Relaxed)
    }

    /// Returns whether an event may be reported now. If not, the event counts as dropped.
    pub(super) fn wants_event(&self) -> bool {
        let wants = self.events.has_left();
        if !wants {
            self.counters.events_dropped.increment();
        }
        wants
    }

    /// Adds an event that a socket has received or sent, if the budget allows it.
    pub(super) fn add_event(&self, kind: &str, context: &EventContext) {
        if !self.events.spend() {
            return self.counters.events_dropped.increment();
        }
        let name = serde_json::Value::from(&*context.name);
        let length = context.args.encoded_len();
        let args = (length <= self.event_bytes).then(|| context.args.clone().into_args(Encoding::Json).ok()).flatten();
        let args = args.as_ref().and_then(|args| args.raw_json());
        let shown = match args {
            Some("") => format!("[{name}]"),
            Some(args) => format!("[{name},{args}]"),
            None => serde_json::json!([name, format!("({length} bytes)")]).to_string(),
        };
        let nsp = serde_json::Value::from(&**context.socket.namespace().name());
        self.push(kind, format!("[{nsp},{:?},{shown},{:?}]", context.socket.id().as_str(), now()));
    }

    /// Adds a report.
    pub(super) fn add<T: Serialize>(&self, name: &str, args: &T) {
        if let Ok(args) = serde_json::to_string(args) {
            self.push(name, args);
        }
    }

    /// Adds a report that is never dropped. There is one in 2 s.
    pub(super) fn add_sums<T: Serialize>(&self, name: &str, args: &T) {
        if let Ok(args) = serde_json::to_string(args) {
            self.waiting.lock().records.push((name.to_owned(), args));
        }
    }

    fn push(&self, name: &str, args: String) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + args.len() > MAX_BYTES {
            drop(waiting);
            self.counters.changes_dropped.increment();
            return self.mark_stale();
        }
        waiting.bytes += args.len();
        waiting.records.push((name.to_owned(), args));
    }

    /// Returns all waiting reports.
    pub(super) fn take(&self) -> Vec<Record> {
        take(&mut *self.waiting.lock()).records
    }
}

/// Returns the time as the page reads it.
pub(super) fn now() -> String {
    shown_time(OffsetDateTime::now_utc())
}
