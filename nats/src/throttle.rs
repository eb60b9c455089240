//! A rate limit for frequent log lines.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one log line through per pause.
#[derive(Debug)]
pub struct LogThrottle {
    pause: Duration,
    last: Mutex<Option<Instant>>,
}

impl LogThrottle {
    /// A throttle that has let nothing through yet.
    pub fn new(pause: Duration) -> Self {
        Self { pause, last: Mutex::new(None) }
    }

    /// Returns true if the pause after the last line is over. The caller logs then.
    pub fn permits(&self) -> bool {
        let mut last = self.last.lock();
        let permits = last.is_none_or(|last| last.elapsed() > self.pause);
        if permits {
            *last = Some(Instant::now());
        }
        permits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_permits_one_line_per_pause() {
        let throttle = LogThrottle::new(Duration::from_secs(3600));
        assert_eq!([throttle.permits(), throttle.permits()], [true, false]);
        let eager = LogThrottle::new(Duration::ZERO);
        assert!(eager.permits());
        while !eager.permits() {}
    }
}
