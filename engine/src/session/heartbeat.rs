//! The deadlines of a session: ping, pong, acceptance by the layer above, and the fetch of its end.

use std::cell::Cell;
use std::rc::Weak;
use std::time::Duration;

use sociable_protocol::websocket::Frames;
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use super::{Ending, Session};
use crate::reason::CloseReason;
use crate::timers::{Deadline, Expires, after};
use crate::version::EngineVersion;

const PING: Frames = Frames::from_static(b"\x81\x012");

impl Session {
    /// Calls [`Connection::overdue`](super::Connection::overdue) after this time, unless [`expected_came`](Self::expected_came) is called before.
    pub fn expect_within(&self, time: Duration) {
        self.set_deadline(Some((Deadline::Connect, time)));
    }

    /// Cancels the deadline of [`expect_within`](Self::expect_within).
    pub fn expected_came(&self) {
        self.set_deadline(None);
        self.arrived();
    }

    /// Returns whether the session is pending.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.get()
    }

    /// Ends the pending state when the client uses its session. An expectation of the layer above has to be met first.
    pub(crate) fn arrived(&self) {
        if self.deadline.get().is_none() && self.pending.replace(false) {
            self.worker.session_arrived();
        }
    }

    pub(super) fn begin_heartbeat(&self) {
        match self.version {
            EngineVersion::V4 { .. } => self.schedule_ping(),
            // The client pings, and may be as late as a pong of revision 4.
            EngineVersion::V3 { .. } => self.await_pong(self.config().ping_interval),
        }
    }

    pub(super) fn schedule_ping(&self) {
        self.awaiting_pong.set(false);
        self.schedule_heartbeat(Deadline::Ping, self.config().ping_interval, Duration::ZERO);
    }

    /// Expects a pong within the ping timeout plus `more`.
    pub(super) fn await_pong(&self, more: Duration) {
        self.awaiting_pong.set(true);
        let time = self.config().ping_timeout.saturating_add(more);
        self.schedule_heartbeat(Deadline::Pong, time, time);
    }

    pub(super) fn schedule_heartbeat(&self, deadline: Deadline, time: Duration, grace: Duration) {
        self.cancel(&self.heartbeat);
        self.due.set(after(Instant::now(), time));
        self.heartbeat.set(Some(self.worker.timers.schedule(Weak::clone(&self.this), deadline, grace, self.due.get())));
    }

    /// Ends the session if the pong is overdue before the timer has fired. Requests need this check.
    pub(crate) fn check_heartbeat(&self) {
        if self.is_open()
            && self.awaiting_pong.get()
            && Instant::now() >= self.due.get()
            && let Some(key) = self.heartbeat.take()
        {
            self.worker.timers.expire(&key);
        }
    }

    pub(super) fn set_deadline(&self, deadline: Option<(Deadline, Duration)>) {
        self.cancel(&self.deadline);
        if let Some((what, time)) = deadline {
            self.schedule_deadline(what, time, time);
        }
    }

    pub(super) fn schedule_deadline(&self, deadline: Deadline, time: Duration, grace: Duration) {
        self.deadline.set(Some(self.worker.timers.schedule(Weak::clone(&self.this), deadline, grace, after(Instant::now(), time))));
    }

    pub(super) fn cancel(&self, timer: &Cell<Option<Key>>) {
        if let Some(key) = timer.take() {
            self.worker.timers.cancel(&key);
        }
    }
}

impl Expires for Session {
    fn on_deadline(&self, deadline: Deadline, stood: Duration, left: Duration) {
        self.supervise(|| self.handle_deadline(deadline, stood, left));
    }
}

impl Session {
    /// Handles a deadline. A standstill of the thread does not count against the client.
    fn handle_deadline(&self, deadline: Deadline, stood: Duration, left: Duration) {
        match deadline {
            Deadline::Ping => {
                self.heartbeat.set(None);
                self.push_control(PING);
                self.seen_since_ping.set(false);
                // From now, however late: the client gets its whole time.
                self.await_pong(Duration::ZERO);
            }
            Deadline::Pong if !stood.is_zero() => {
                self.heartbeat.set(None);
                self.schedule_heartbeat(deadline, stood, left);
            }
            Deadline::Pong => {
                self.heartbeat.set(None);
                self.end(CloseReason::PingTimeout, Ending::Graceful);
            }
            Deadline::Connect | Deadline::Close if !stood.is_zero() => {
                self.schedule_deadline(deadline, stood, left);
            }
            Deadline::Connect => {
                self.deadline.set(None);
                if let Some(connection) = self.connection() {
                    connection.overdue();
                }
            }
            Deadline::Close => {
                self.deadline.set(None);
                self.release();
            }
        }
    }
}
