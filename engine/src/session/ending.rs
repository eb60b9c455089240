//! The end of a session, once for the layer above and once for its transport.

use std::time::Duration;

use super::{Ending, Session, State};
use crate::counters::Count;
use crate::reason::CloseReason;
use crate::timers::Deadline;
use crate::transport::Transport;

/// The deadline for the end of a session to reach its client, by a poll or on a WebSocket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

impl Session {
    /// Closes the session. Waiting messages are delivered first.
    pub fn close(&self) {
        let reason = if self.transport.get() == Transport::WebSocket || self.polling.waiting.get() {
            CloseReason::ForcedClose
        } else {
            CloseReason::ForcedServerClose
        };
        self.end(reason, Ending::Graceful);
    }

    /// Ends the session once.
    ///
    /// A polling client may be without a waiting poll. The next poll then gets the end, but only if the server wanted it. After an error of its own,
    /// the client finds its session unknown: only a poll that waits now is still answered.
    pub fn end(&self, reason: CloseReason, ending: Ending) {
        let wanted = matches!(reason, CloseReason::ForcedClose | CloseReason::ForcedServerClose | CloseReason::ServerShuttingDown);
        let reachable = self.transport.get() == Transport::WebSocket || self.polling.waiting.get();
        let ending = if wanted || reachable { ending } else { Ending::Abrupt };
        if self.state.get() != State::Open {
            if ending == Ending::Abrupt {
                self.release();
            }
            return;
        }
        let connection = self.connection();
        self.cancel(&self.heartbeat);
        match reason {
            CloseReason::PingTimeout => self.worker.counters.increment(Count::PingTimeouts),
            CloseReason::ParseError => self.worker.counters.increment(Count::ParseErrors),
            CloseReason::TransportError => self.worker.counters.increment(Count::ProtocolErrors),
            CloseReason::TransportClose => self.worker.counters.increment(Count::TransportCloses),
            CloseReason::ForcedClose => self.worker.counters.increment(Count::ForcedCloses),
            CloseReason::ForcedServerClose => self.worker.counters.increment(Count::ForcedServerCloses),
            CloseReason::ServerShuttingDown => self.worker.counters.increment(Count::ShutdownCloses),
            CloseReason::SessionFailed => self.worker.counters.increment(Count::SessionsFailed),
            // Counted where it is noticed.
            CloseReason::SlowClient => {}
        }
        tracing::debug!(target: "sociable::engine", sid = %self.id.shortened(), %reason, "session ended");
        match ending {
            Ending::Graceful => {
                self.state.set(State::Ending);
                self.polling.last.set(!wanted);
                self.set_deadline(Some((Deadline::Close, CLOSE_TIMEOUT)));
            }
            Ending::Abrupt => self.release(),
        }
        self.outbox.wake();
        self.resume();
        if let Some(connection) = connection {
            // A panic of the layer above must not stop the caller, which may be ending other sessions.
            self.supervise(|| connection.closed(reason));
        }
        self.report_closed(reason);
        // Requests never ask for a WebSocket session by its id.
        if self.transport.get() == Transport::WebSocket || !wanted {
            self.forget();
        }
    }

    /// Releases the session after the transport has delivered its end, or cannot.
    pub(crate) fn release(&self) {
        if self.state.replace(State::Closed) != State::Closed {
            self.cancel(&self.heartbeat);
            self.set_deadline(None);
            self.connection.take();
            self.outbox.clear();
            self.end_deflate();
            self.flows();
            self.outbox.wake();
            self.forget();
            self.arrived();
            self.worker.engine.memory.give_back(self.cost() + self.kept.take());
            self.worker.engine.session_closed(self.transport.get());
        }
    }

    pub(super) fn forget(&self) {
        self.worker.remove(&self.id);
    }
}
