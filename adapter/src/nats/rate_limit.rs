//! A limit for announcements that many may ask for.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// An announcement that is due at once, but not more often than once per pause.
#[derive(Debug)]
pub(super) struct RateLimit {
    pause: Duration,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl RateLimit {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, last: None, due: None }
    }

    /// Asks for the announcement.
    pub(super) fn ask(&mut self) {
        let now = Instant::now();
        self.due.get_or_insert_with(|| self.last.map_or(now, |last| now.max(last + self.pause)));
    }

    /// Waits until the announcement is due, and starts the next pause.
    pub(super) async fn due(&mut self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
        (self.last, self.due) = (Some(Instant::now()), None);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn rate_limit_is_due_once_per_pause_and_only_if_asked() {
        let mut limit = RateLimit::new(Duration::from_secs(3600));
        assert!(limit.due().now_or_never().is_none(), "no announcement was requested");
        limit.ask();
        limit.ask();
        limit.due().await;
        limit.ask();
        assert!(limit.due().now_or_never().is_none(), "the pause is not over");
        limit.pause = Duration::ZERO;
        limit.due = None;
        limit.ask();
        limit.due().await;
    }
}
