//! One timer wheel a worker: two deadlines a session cost two entries in it, not two tasks.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::session::Session;

/// Nothing waits longer than this: the wheel has an end.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// So long after `from`.
pub(crate) fn after(from: Instant, time: Duration) -> Instant {
    from + time.min(LONGEST)
}

/// What a session does when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Send a ping.
    Ping,
    /// The pong is missing.
    Pong,
    /// No namespace was joined.
    Connect,
    /// The client did not fetch the end of its session.
    Close,
}

#[derive(Debug, Default)]
pub(crate) struct Timers(RefCell<DelayQueue<(Weak<Session>, Deadline)>>);

impl Timers {
    pub(crate) fn schedule(&self, session: Weak<Session>, deadline: Deadline, at: Instant) -> Key {
        self.0.borrow_mut().insert_at((session, deadline), at)
    }

    pub(crate) fn cancel(&self, key: &Key) {
        self.0.borrow_mut().try_remove(key);
    }

    /// Calls the sessions when their time has come. It ends with the worker's thread.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            let (session, deadline) = poll_fn(|cx| match ready!(self.0.borrow_mut().poll_expired(cx)) {
                Some(expired) => Poll::Ready(expired.into_inner()),
                // The next entry wakes this task.
                None => Poll::Pending,
            })
            .await;
            if let Some(session) = session.upgrade() {
                session.on_deadline(deadline);
            }
        }
    }
}
