//! The memory that a session may take of what its client sent.

use super::{Ending, Session, State};
use crate::counters::Count;
use crate::reason::CloseReason;

/// What an idle session takes, with its timers and what the layer above has of it.
const COST: usize = 2048;

impl Session {
    /// Counts bytes that are kept of what the client sent. False if they are too many for one client, or for all together.
    pub fn keep(&self, bytes: usize) -> bool {
        self.keep_within(bytes, self.config().client_bytes())
    }

    /// As [`keep`](Self::keep), for a message that is not complete. What one read brings at most comes on top for one client.
    pub(crate) fn keep_incomplete(&self, bytes: usize, read: usize) -> bool {
        self.keep_within(bytes, self.config().client_bytes().saturating_add(read))
    }

    pub(super) fn keep_within(&self, bytes: usize, limit: usize) -> bool {
        let kept = self.kept.get().saturating_add(bytes);
        let fits = self.state.get() != State::Closed && kept <= limit && self.worker.engine.memory.acquire(self.kept.get(), bytes);
        if fits {
            self.kept.set(kept);
        }
        fits
    }

    /// Gives back bytes that were [kept](Self::keep).
    pub fn let_go(&self, bytes: usize) {
        // A session that was released has none any more.
        let bytes = bytes.min(self.kept.get());
        self.kept.set(self.kept.get() - bytes);
        self.worker.engine.memory.give_back(bytes);
    }

    /// Closes the session of a client that sent more of an incomplete packet than may be kept.
    pub fn end_over_budget(&self) {
        if self.is_open() {
            self.worker.counters.increment(Count::PacketsOverBudget);
            tracing::debug!(target: "sociable::engine", sid = %self.id.shortened(), "incomplete packet takes too much memory: session closed");
            self.end(CloseReason::ForcedClose, Ending::Abrupt);
        }
    }

    /// What the session takes as long as it lives.
    pub(super) fn cost(&self) -> usize {
        COST + self.handshake.kept_bytes()
    }
}
