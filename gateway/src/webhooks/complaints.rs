//! Warnings about a backend: at most one a minute for each URL and cause.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time between two warnings. Those within it are only counted: what clients can cause must not fill the disk.
const INTERVAL: Duration = Duration::from_secs(60);

/// The cause of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// The status is 401 or 403.
    Refused,
    /// The status is another one that is not retried.
    Status,
    /// The answer is not understood.
    Nonsense,
    /// The answer is too long.
    TooLong,
    /// No attempt succeeded.
    Undelivered,
    /// An event of an answer was not sent.
    Unsent,
    /// The circuit breaker is open.
    Open,
}

/// The warnings about a URL.
#[derive(Debug, Default)]
pub(super) struct Complaints([Mutex<Logged>; Complaint::Open as usize + 1]);

/// The last warning and those since.
#[derive(Debug, Default)]
struct Logged {
    at: Option<Instant>,
    suppressed: u64,
}

impl Complaints {
    /// Returns the number of warnings that were suppressed before this one; none if this one is suppressed too.
    pub(super) fn admit(&self, complaint: Complaint) -> Option<u64> {
        let mut logged = self.0[complaint as usize].lock();
        let now = Instant::now();
        if logged.at.is_some_and(|at| now.duration_since(at) < INTERVAL) {
            logged.suppressed += 1;
            return None;
        }
        logged.at = Some(now);
        Some(std::mem::take(&mut logged.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warnings_within_a_minute_are_counted() {
        let complaints = Complaints::default();
        assert_eq!(complaints.admit(Complaint::Refused), Some(0));
        assert_eq!(complaints.admit(Complaint::Refused), None);
        assert_eq!(complaints.admit(Complaint::Unsent), Some(0), "another cause");
        tokio::time::advance(INTERVAL / 2).await;
        assert_eq!(complaints.admit(Complaint::Refused), None);
        tokio::time::advance(INTERVAL / 2).await;
        assert_eq!(complaints.admit(Complaint::Refused), Some(2));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(complaints.admit(Complaint::Refused), Some(0));
    }
}
