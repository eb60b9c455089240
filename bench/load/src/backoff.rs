//! The waits of `socket.io-client` between its attempts to connect.

use std::time::Duration;

use crate::random::Random;

/// The defaults of the client: `reconnectionDelay`, `reconnectionDelayMax` and `randomizationFactor`.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);
const RANDOMIZATION: f64 = 0.5;

/// The attempts since the last session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    attempts: i32,
}

impl Backoff {
    /// Returns the next wait: twice the one before, half of it more or less, and at most the longest.
    pub(crate) fn next(&mut self, random: &mut Random) -> Duration {
        // The exponent stays far from what a number can hold.
        let wait = FIRST.as_secs_f64() * 2_f64.powi(self.attempts.min(16));
        self.attempts += 1;
        let wait = wait * random.between(1.0 - RANDOMIZATION, 1.0 + RANDOMIZATION);
        Duration::from_secs_f64(wait.min(LONGEST.as_secs_f64()))
    }

    /// Begins anew, after a session was opened.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut random = Random::default();
        for _ in 0..100 {
            let mut backoff = Backoff::default();
            for (least, most) in [(0.5, 1.5), (1.0, 3.0), (2.0, 5.0), (4.0, 5.0), (5.0, 5.0), (5.0, 5.0)] {
                let wait = backoff.next(&mut random).as_secs_f64();
                assert!((least..=most).contains(&wait), "{wait}");
            }
            backoff.reset();
            assert!(backoff.next(&mut random).as_secs_f64() <= 1.5);
        }
    }
}
