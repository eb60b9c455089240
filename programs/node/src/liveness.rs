//! Liveness: whether all worker threads still run. A deadlock in a handler blocks its worker for ever, and only a restart helps.

use std::time::Duration;

use sociable::Server;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The time between two questions to the workers.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time of the last answer of all workers.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    answered: watch::Receiver<Instant>,
    max_block: Duration,
}

impl Liveness {
    /// Asks the workers again and again, on this thread. Each question waits for the answer to the one before.
    pub(crate) fn watch(io: &Server, max_block: Duration) -> Self {
        let (sender, answered) = watch::channel(Instant::now());
        let io = io.clone();
        actix_web::rt::spawn(async move {
            loop {
                io.workers_run().await;
                sender.send_replace(Instant::now());
                sleep(INTERVAL).await;
            }
        });
        Self { answered, max_block }
    }

    /// Returns for how long a thread has been blocked, if that is too long.
    pub(crate) fn blocked_for(&self) -> Option<Duration> {
        self.blocked_at(Instant::now())
    }

    fn blocked_at(&self, now: Instant) -> Option<Duration> {
        let blocked = now.saturating_duration_since(*self.answered.borrow()).saturating_sub(INTERVAL);
        (blocked > self.max_block).then_some(blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_fails_when_no_answer_comes_in_time() {
        let (begun, max_block, second) = (Instant::now(), Duration::from_secs(60), Duration::from_secs(1));
        let (sender, answered) = watch::channel(begun);
        let liveness = Liveness { answered, max_block };
        assert_eq!(liveness.blocked_at(begun + INTERVAL + max_block), None, "the last question may not have been asked before");
        let late = begun + INTERVAL + max_block + second;
        assert_eq!(liveness.blocked_at(late), Some(max_block + second));
        sender.send_replace(late);
        assert_eq!(liveness.blocked_at(late), None, "the thread runs again");
    }
}
