//! Running handlers of a session, and events that wait for them.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::Session;

/// The limit of waiting events in bytes. Beyond it nothing more is read from the client.
const MAX_WAITING: usize = 1 << 20;

impl Session {
    /// Counts a handler of this session that did not end at once. `cost` is its memory.
    pub fn begin_work(&self, cost: usize) -> Running {
        self.running.set(self.running.get() + 1);
        self.handled.set(self.handled.get() + cost);
        if cost > 0 {
            self.worker.engine.memory.add(cost);
        }
        Running { session: self.this.upgrade(), cost }
    }

    /// Returns whether no further handler may start.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.running.get() > 0 && self.is_busy()
    }

    fn is_busy(&self) -> bool {
        let config = self.config();
        self.running.get() >= config.max_running_handlers
            || self.handled.get() >= config.client_bytes()
            || !self.worker.engine.memory.has_room()
    }

    /// Counts an event that has to wait.
    pub fn wait(&self, cost: usize) -> Waiting {
        self.waiting.set(self.waiting.get() + cost);
        self.worker.engine.memory.add(cost);
        Waiting { session: self.this.upgrade(), cost }
    }

    /// Resumes events that waited for a handler that has ended.
    pub fn work_ended(&self) {
        if self.waiting.get() > 0
            && let Some(connection) = self.connection()
        {
            connection.resumed();
        }
    }

    /// Pending while too many events wait, or any event while memory is short. Then nothing more is read from the client.
    pub(crate) fn poll_unpaused(&self, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = self.waiting.get();
        if waiting == 0 || waiting < MAX_WAITING && self.worker.engine.memory.has_room() || !self.is_open() {
            return Poll::Ready(());
        }
        *self.paused.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn resume(&self) {
        if let Some(waker) = self.paused.take() {
            waker.wake();
        }
    }
}

/// A running handler, counted until this is dropped.
#[derive(Debug)]
pub struct Running {
    session: Option<Rc<Session>>,
    cost: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.running.set(session.running.get() - 1);
            session.handled.set(session.handled.get() - self.cost);
            if self.cost > 0 {
                session.worker.engine.memory.give_back(self.cost);
            }
        }
    }
}

/// A waiting event, counted until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    session: Option<Rc<Session>>,
    cost: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.waiting.set(session.waiting.get() - self.cost);
            session.worker.engine.memory.give_back(self.cost);
            if session.waiting.get() < MAX_WAITING {
                session.resume();
            }
        }
    }
}
