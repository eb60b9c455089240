//! The memory budget of a session's inbound data.

use super::{Ending, Session, State};
use crate::counters::Count;
use crate::reason::CloseReason;

/// The memory of an idle session, with its timers and its part of the layer above.
const COST: usize = 2048;

impl Session {
    /// Charges bytes of the client's data. Returns false if they exceed the budget of the client or of all sessions.
    pub fn keep(&self, bytes: usize) -> bool {
        self.keep_within(bytes, self.config().client_bytes())
    }

    /// As [`keep`](Self::keep), for an incomplete message. The bytes of one read are allowed beyond the client's budget.
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

    /// Returns bytes that were [charged](Self::keep).
    pub fn let_go(&self, bytes: usize) {
        // A released session has no charge any more.
        let bytes = bytes.min(self.kept.get());
        self.kept.set(self.kept.get() - bytes);
        self.worker.engine.memory.give_back(bytes);
    }

    /// Closes the session of a client whose incomplete packet exceeds the budget.
    pub fn end_over_budget(&self) {
        if self.is_open() {
            self.worker.counters.increment(Count::PacketsOverBudget);
            tracing::debug!(target: "sociable::engine", sid = %self.id.shortened(), "incomplete packet over budget; session closed");
            self.end(CloseReason::ForcedClose, Ending::Abrupt);
        }
    }

    /// Returns the memory that the session takes for its whole life.
    pub(super) fn cost(&self) -> usize {
        COST + self.handshake.kept_bytes()
    }
}
