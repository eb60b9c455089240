//! The supervision of a session: a panic in its task, or in the layer above, ends that session only.
//!
//! The layer above calls the session back while it handles a message. So the state of a session lies in separate cells, not in an
//! [`ActorCell`](crate::actor::ActorCell).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::{Ending, Session, State};
use crate::actor::{Actor, ActorKind, panic_text};
use crate::counters::Count;
use crate::reason::CloseReason;
use crate::supervision::Directive;

/// The shortest interval between two log lines about panics of handlers. The next line has the number of panics left out.
const PANIC_LOG_INTERVAL: Duration = Duration::from_secs(1);

impl Actor for Session {
    const KIND: ActorKind = ActorKind::SESSION;
}

impl Session {
    /// Runs work of the session. A panic ends the session.
    #[inline]
    pub fn supervise<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.fail(&panic_text(&*panic));
                None
            }
        }
    }

    /// Polls the task of the session. A panic ends the session and the task.
    #[inline]
    pub(crate) fn supervise_poll(&self, poll: impl FnOnce() -> Poll<()>) -> Poll<()> {
        self.supervise(poll).unwrap_or(Poll::Ready(()))
    }

    /// Runs a future of the session. A panic ends the session.
    pub(crate) async fn supervise_future<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => Some(output),
            Err(panic) => {
                self.fail(&panic_text(&*panic));
                None
            }
        }
    }

    /// Counts and logs the panic of a handler of the application, which ends nothing else.
    pub fn handler_panicked(&self) {
        static LAST: Mutex<Option<Instant>> = Mutex::new(None);
        static UNLOGGED: AtomicU64 = AtomicU64::new(0);
        self.worker.counters.increment(Count::HandlerPanics);
        let now = Instant::now();
        let mut last = LAST.lock();
        if last.is_some_and(|last| now.duration_since(last) < PANIC_LOG_INTERVAL) {
            UNLOGGED.fetch_add(1, Relaxed);
            return;
        }
        *last = Some(now);
        drop(last);
        let unlogged = UNLOGGED.swap(0, Relaxed);
        tracing::error!(target: "sociable::handler", sid = %self.id.shortened(), unlogged, "handler panicked");
    }

    /// Makes the session's actor die, for tests.
    #[doc(hidden)]
    pub fn crash(&self) {
        self.supervise(|| panic!("crash"));
    }

    /// Ends the session after its actor has died.
    #[cold]
    fn fail(&self, cause: &str) {
        // The death of an ended session is logged once.
        if self.state.get() == State::Closed {
            return tracing::error!(target: "sociable::actor", sid = %self.id.shortened(), cause, "layer above panicked while a session ended");
        }
        self.worker.actor_died(Self::KIND, self.id.shortened().to_string(), cause.to_owned(), Directive::Stop);
        self.end(CloseReason::SessionFailed, Ending::Abrupt);
        self.release();
    }
}
