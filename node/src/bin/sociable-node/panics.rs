//! Panics go to the log: one line each, and not more of them than anybody can read.

use std::panic::{self, PanicHookInfo};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A fault that every client can cause would fill the disk: of further panics within this time only the number is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was logged last.
struct Told {
    at: Option<Instant>,
    /// Panics since then.
    untold: u64,
}

static TOLD: Mutex<Told> = Mutex::new(Told { at: None, untold: 0 });

/// Has panics logged in place of the backtrace on standard error.
pub(crate) fn log_them() {
    panic::set_hook(Box::new(|panic| {
        if let Some(untold) = turn(&mut TOLD.lock(), Instant::now()) {
            tell(panic, untold);
        }
    }));
}

/// The number of panics that were not told before this one, if this one may be.
fn turn(told: &mut Told, now: Instant) -> Option<u64> {
    if told.at.is_some_and(|at| now.duration_since(at) < INTERVAL) {
        told.untold += 1;
        return None;
    }
    told.at = Some(now);
    Some(std::mem::take(&mut told.untold))
}

fn tell(panic: &PanicHookInfo<'_>, untold: u64) {
    let text = panic.payload_as_str().unwrap_or("of an unknown kind");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(target: "sociable::panic", place, untold, "panic: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_panics_one_is_told_and_the_others_are_counted() {
        let mut told = Told { at: None, untold: 0 };
        let start = Instant::now();
        assert_eq!(turn(&mut told, start), Some(0));
        assert_eq!(turn(&mut told, start), None);
        assert_eq!(turn(&mut told, start + INTERVAL / 2), None);
        assert_eq!(turn(&mut told, start + INTERVAL), Some(2));
        assert_eq!(turn(&mut told, start + 2 * INTERVAL), Some(0));
    }
}
