//! Panics as lines of the log, at most one a second.

use std::panic::{self, PanicHookInfo};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time between two lines. Panics within it are only counted: one that clients can cause must not fill the disk.
const INTERVAL: Duration = Duration::from_secs(1);

/// The last line and the panics since.
struct Logged {
    at: Option<Instant>,
    suppressed: u64,
}

static LOGGED: Mutex<Logged> = Mutex::new(Logged { at: None, suppressed: 0 });

/// Logs the panics of this process from now on, in place of the backtrace on standard error.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        if let Some(suppressed) = admit(&mut LOGGED.lock(), Instant::now()) {
            log(panic, suppressed);
        }
    }));
}

/// Returns the number of panics that were suppressed before this one; none if this one is suppressed too.
fn admit(logged: &mut Logged, now: Instant) -> Option<u64> {
    if logged.at.is_some_and(|at| now.duration_since(at) < INTERVAL) {
        logged.suppressed += 1;
        return None;
    }
    logged.at = Some(now);
    Some(std::mem::take(&mut logged.suppressed))
}

fn log(panic: &PanicHookInfo<'_>, suppressed: u64) {
    let text = panic.payload_as_str().unwrap_or("of an unknown kind");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(target: "sociable::panic", place, suppressed, "panic: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_within_a_second_are_counted() {
        let mut logged = Logged { at: None, suppressed: 0 };
        let start = Instant::now();
        assert_eq!(admit(&mut logged, start), Some(0));
        assert_eq!(admit(&mut logged, start), None);
        assert_eq!(admit(&mut logged, start + INTERVAL / 2), None);
        assert_eq!(admit(&mut logged, start + INTERVAL), Some(2));
        assert_eq!(admit(&mut logged, start + 2 * INTERVAL), Some(0));
    }
}
