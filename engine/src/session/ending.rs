//! The end of a session, once for the layer above and once for its transport.

use std::time::Duration;

use super::{Ending, Session, State};
use crate::counters::Count;
use crate::reason::CloseReason;
use crate::timers::Deadline;
use crate::transport::Transport;

/// How long the end of a session may take to reach its client: to be fetched by a poll, or to be read from a WebSocket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

impl Session {
    /// Closes the session. What waits is delivered first.
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
    /// A client that polls and has no poll waiting is kept for its next one only if the server wanted the end: after a fault of its own it finds
    /// its session gone.
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
            // It is counted where it is noticed.
            CloseReason::SlowClient => {}
        }
        tracing::debug!(target: "sociable::engine", sid = %self.id.shortened(), %reason, "session ended");
        match ending {
            Ending::Graceful => {
                self.state.set(State::Ending);
                self.set_deadline(Some((Deadline::Close, CLOSE_TIMEOUT)));
            }
            Ending::Abrupt => self.release(),
        }
        self.outbox.wake();
        self.resume();
        if let Some(connection) = connection {
            // A layer that is broken must not take the caller with it, who may be ending other sessions.
            self.supervise(|| connection.closed(reason));
        }
        if self.transport.get() == Transport::WebSocket {
            // Nobody asks for a WebSocket session by its id.
            self.forget();
        }
    }

    /// The transport has delivered the end of the session, or can't.
    pub(crate) fn release(&self) {
        if self.state.replace(State::Closed) != State::Closed {
            self.cancel(&self.heartbeat);
            self.set_deadline(None);
            self.connection.take();
            self.outbox.clear();
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
