//! Packets of the client, and its upgrade from polling to WebSocket.

use std::time::Duration;

use sociable_protocol::engine::Packet;
use sociable_protocol::websocket::Frames;
use sociable_protocol::websocket::deflate::Agreement;

use super::{Ending, Session, SessionEvent, State};
use crate::counters::Count;
use crate::reason::CloseReason;
use crate::trace;
use crate::transport::Transport;

/// A pong as a WebSocket frame.
const PONG: &[u8] = b"\x81\x013";

impl Session {
    /// Handles a packet that the transport received. False if the session does not continue.
    pub(crate) fn receive(&self, packet: Packet) -> bool {
        if self.state.get() != State::Open {
            return false;
        }
        let awaited = self.awaiting_pong.get() && !self.version.is_v3();
        if awaited && !matches!(packet, Packet::Pong(_)) && !self.seen_since_ping.replace(true) {
            // Any packet proves that the client lives, but only once per ping: the pong is still due.
            self.await_pong(Duration::ZERO);
        }
        trace::engine_in(self.id, &packet);
        if self.is_observed() {
            self.report(SessionEvent::PacketIn(&packet));
            if self.state.get() != State::Open {
                return false;
            }
        }
        let Some(connection) = self.connection() else { return false };
        match packet {
            Packet::Message(text) => {
                self.count_in(text.len());
                connection.text(text);
            }
            Packet::Binary(bytes) => {
                self.count_in(bytes.len());
                connection.binary(bytes);
            }
            Packet::Pong(_) if !self.version.is_v3() => {
                self.schedule_ping();
                self.report(SessionEvent::Heartbeat);
            }
            Packet::Ping(_) if self.version.is_v3() => {
                self.begin_heartbeat();
                // Without the data of the ping, as from the JavaScript server. The answer is bounded like all packets. So a client that floods with pings and does not read is closed as slow.
                let _ = self.send(Frames::from_static(PONG), false);
                self.report(SessionEvent::Heartbeat);
            }
            Packet::Close => {
                self.polling.left.set(true);
                self.end(CloseReason::TransportClose, Ending::Graceful);
            }
            // In this revision of the protocol, the other side sends it.
            Packet::Ping(_) | Packet::Pong(_) => self.end(CloseReason::TransportError, Ending::Graceful),
            Packet::Open | Packet::Upgrade | Packet::Noop => {}
        }
        self.state.get() == State::Open
    }

    pub(super) fn count_in(&self, bytes: usize) {
        self.worker.counters.increment(Count::MessagesIn);
        self.worker.counters.add(Count::BytesIn, bytes as u64);
    }

    /// Moves the session from polling to its WebSocket, whose client may have agreed to compression.
    pub(crate) fn upgrade(&self, deflate: Option<Agreement>) {
        self.may_deflate(deflate);
        self.polling.upgrading.set(false);
        if self.transport.replace(Transport::WebSocket) == Transport::Polling && self.state.get() != State::Closed {
            self.worker.engine.session_upgraded();
        }
        self.worker.counters.increment(Count::Upgraded);
        // A waiting poll has nothing to wait for any more.
        self.outbox.wake();
        tracing::debug!(target: "sociable::transport", sid = %self.id.shortened(), "upgraded to websocket");
        self.report(SessionEvent::Upgraded(Transport::WebSocket));
    }
}
