//! The circuit breaker of a URL. After failures in sequence, it lets one request through from time to time: soon at first, then less often.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::delivery::pause;

/// A circuit breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    changed: Notify,
    failures: u32,
    first_wait: Duration,
    longest_wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Requests pass. The number is that of the failures in sequence.
    Closed(u32),
    /// No request passes until then. The next one is a probe. The number is that of the failed probes.
    Open(Instant, u32),
    /// A probe is on its way. The number is that of the failed probes before it.
    HalfOpen(u32),
}

/// A request that passes. Without an outcome, a dropped probe counts as a failure.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
    settled: bool,
}

/// A change of the state that operators should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    /// Returns a breaker that opens after failures in sequence. The first probe comes after the first wait; each further wait is twice as long.
    pub(super) fn new(failures: u32, first_wait: Duration, longest_wait: Duration) -> Self {
        Self { state: Mutex::new(State::Closed(0)), changed: Notify::new(), failures, first_wait, longest_wait }
    }

    /// Returns whether no request passes now.
    pub(super) fn is_open(&self) -> bool {
        match *self.state.lock() {
            State::Closed(_) => false,
            State::Open(until, _) => Instant::now() < until,
            State::HalfOpen(_) => true,
        }
    }

    /// Returns whether requests pass freely.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state.lock(), State::Closed(_))
    }

    /// Returns a pass for one request, or `None` while the breaker is open.
    pub(super) fn admit(&self) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        let probe = match *state {
            State::Closed(_) => false,
            State::Open(until, failed) if Instant::now() >= until => {
                *state = State::HalfOpen(failed);
                true
            }
            State::Open(..) | State::HalfOpen(_) => return None,
        };
        Some(Pass { breaker: self, probe, settled: false })
    }

    /// Waits until a request may pass, at most until `deadline`.
    pub(super) async fn wait(&self, deadline: Instant) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        // From here on, no change is missed.
        changed.as_mut().enable();
        let until = match *self.state.lock() {
            State::Closed(_) => return,
            State::Open(until, _) => until.min(deadline),
            State::HalfOpen(_) => deadline,
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

impl Pass<'_> {
    /// Notes that the backend works.
    pub(super) fn succeeded(mut self) -> Change {
        self.settled = true;
        let mut state = self.breaker.state.lock();
        match *state {
            State::Closed(_) => {
                *state = State::Closed(0);
                Change::None
            }
            // A request from before the breaker opened proves as much as a probe.
            State::Open(..) | State::HalfOpen(_) => {
                *state = State::Closed(0);
                drop(state);
                self.breaker.changed.notify_waiters();
                Change::Closed
            }
        }
    }

    /// Notes that the backend does not work.
    pub(super) fn failed(mut self) -> Change {
        self.settled = true;
        self.fail()
    }

    fn fail(&self) -> Change {
        let mut state = self.breaker.state.lock();
        let (change, failed) = match *state {
            State::Closed(failures) if failures + 1 < self.breaker.failures => {
                *state = State::Closed(failures + 1);
                return Change::None;
            }
            State::Closed(_) => (Change::Opened, 0),
            State::HalfOpen(failed) if self.probe => (Change::None, failed.saturating_add(1)),
            // A request from before the breaker opened.
            State::Open(..) | State::HalfOpen(_) => return Change::None,
        };
        *state = State::Open(Instant::now() + pause(self.breaker.first_wait, self.breaker.longest_wait, failed), failed);
        drop(state);
        self.breaker.changed.notify_waiters();
        change
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            self.fail();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(5);

    fn breaker() -> Breaker {
        Breaker::new(2, FIRST, LONGEST)
    }

    fn open(breaker: &Breaker) {
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.admit().unwrap().failed(), Change::Opened);
    }

    #[tokio::test(start_paused = true)]
    async fn breaker_opens_after_failures_in_sequence() {
        let breaker = breaker();
        assert_eq!(breaker.admit().unwrap().failed(), Change::None);
        assert_eq!(breaker.admit().unwrap().succeeded(), Change::None);
        assert_eq!(breaker.admit().unwrap().failed(), Change::None);
        assert!(breaker.is_closed());
        assert_eq!(breaker.admit().unwrap().failed(), Change::Opened);
        assert!(breaker.is_open() && breaker.admit().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_decides_when_the_time_is_over() {
        let breaker = breaker();
        let late = breaker.admit().unwrap();
        open(&breaker);
        tokio::time::advance(FIRST).await;
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_none() && breaker.is_open());
        assert_eq!(late.failed(), Change::None);
        assert_eq!(probe.failed(), Change::None);
        assert!(breaker.admit().is_none());
        tokio::time::advance(LONGEST).await;
        assert_eq!(breaker.admit().unwrap().succeeded(), Change::Closed);
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn wait_doubles_after_each_failed_probe() {
        let breaker = breaker();
        for _ in 0..2 {
            open(&breaker);
            for whole in [1000, 2000, 4000, 5000, 5000] {
                let begun = Instant::now();
                breaker.wait(begun + 2 * LONGEST).await;
                let waited = (Instant::now() - begun).as_millis();
                // The clock counts whole milliseconds.
                assert!((whole / 2..=whole + 1).contains(&waited), "{whole}: {waited}");
                breaker.admit().unwrap().failed();
            }
            tokio::time::advance(LONGEST).await;
            assert_eq!(breaker.admit().unwrap().succeeded(), Change::Closed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_probe_counts_as_a_failure() {
        let breaker = breaker();
        open(&breaker);
        tokio::time::advance(FIRST).await;
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_none());
        tokio::time::advance(LONGEST).await;
        assert!(breaker.admit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_continue_when_the_breaker_closes() {
        let breaker = breaker();
        open(&breaker);
        let far = Instant::now() + Duration::from_secs(60);
        breaker.wait(far).await;
        let probe = breaker.admit().unwrap();
        let begun = Instant::now();
        let (_, change) = tokio::join!(breaker.wait(far), async { probe.succeeded() });
        assert_eq!(change, Change::Closed);
        assert_eq!(Instant::now(), begun);
    }
}
