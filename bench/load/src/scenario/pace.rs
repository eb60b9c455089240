//! Messages at a rate, whatever the server does.

use std::time::Duration;

use crate::net::TURN;

/// The precision of the loop's waits. Below it the loop spins.
const PRECISION: Duration = Duration::from_millis(1);

/// The times at which messages have to be sent, in nanoseconds of the run.
///
/// Latencies are measured from these times: a server that holds up the generator gets no better figures by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    started: u64,
    interval: f64,
    sent: u64,
}

impl Pace {
    /// Starts with so many messages a second.
    pub(super) fn start(now: u64, rate: f64) -> Self {
        Self { started: now, interval: 1e9 / rate, sent: 0 }
    }

    fn next(&self) -> u64 {
        self.started + (self.interval * (self.sent + 1) as f64) as u64
    }

    /// Takes the next message if it is due, and returns its time.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let time = self.next();
        (time <= now).then(|| {
            self.sent += 1;
            time
        })
    }

    /// Returns the longest wait before the next message.
    pub(super) fn wait(&self, now: u64) -> Duration {
        Duration::from_nanos(self.next().saturating_sub(now)).saturating_sub(PRECISION).min(TURN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_their_rate() {
        let mut pace = Pace::start(1_000, 1e6);
        let due: Vec<u64> = std::iter::from_fn(|| pace.take(4_500)).collect();
        assert_eq!(due, [2_000, 3_000, 4_000]);
        assert_eq!(pace.wait(4_500), Duration::ZERO, "the loop is no more precise");
        assert_eq!(Pace::start(0, 0.1).wait(0), TURN);
    }
}
