//! Messages to the client of a session: their bounds, and slow clients.

use std::task::{Context, Poll};

use sociable_protocol::engine::{in_base64, v3};
use sociable_protocol::websocket::Frames;

use super::{Ending, SendError, Session, State};
use crate::counters::Count;
use crate::reason::CloseReason;
use crate::trace;
use crate::transport::Transport;
use crate::version::EngineVersion;

impl Session {
    /// Returns the bytes that wait for the client.
    pub fn outbox_cost(&self) -> usize {
        self.outbox.cost()
    }

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// The session has ended, or ends now because the client is slow.
    pub fn send_text(&self, text: &str) -> Result<(), SendError> {
        let mut message = String::with_capacity(text.len() + 1);
        message.push('4');
        message.push_str(text);
        self.send(Frames::text(&message), true)
    }

    /// Sends a binary message.
    ///
    /// # Errors
    ///
    /// The session has ended, or ends now because the client is slow.
    pub fn send_binary(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.send(Frames::binary(bytes), true)
    }

    /// Sends encoded frames. `compress` allows their compression, on both transports.
    #[inline]
    pub fn send(&self, frames: Frames, compress: bool) -> Result<(), SendError> {
        let sent = self.offer(frames, compress);
        if sent == Err(SendError::SlowClient) {
            self.end_slow();
        }
        sent
    }

    /// Sends frames as [`send`](Self::send) does, but does not close a slow client.
    ///
    /// Closing would call the layer above, which may be busy. So the caller closes the client later.
    #[inline]
    pub fn offer(&self, frames: Frames, compress: bool) -> Result<(), SendError> {
        if self.state.get() != State::Open {
            return Err(SendError::Closed);
        }
        let unreported = self.is_observed().then(|| frames.clone());
        let frames = match self.version {
            EngineVersion::V4 { base64: false } => frames,
            EngineVersion::V4 { base64: true } => in_base64(frames),
            EngineVersion::V3 { base64 } => v3::frames(frames, base64),
        };
        let bytes = self.deflated(frames, compress);
        let length = bytes.len();
        if !self.outbox.push(bytes, compress, self.config().max_outbox) {
            return Err(SendError::SlowClient);
        }
        if self.transport.get() == Transport::Polling && !self.polling.waiting.get() && !self.counts_unread() {
            return Err(SendError::SlowClient);
        }
        if let Some(frames) = unreported {
            self.report_later(frames);
        }
        trace::engine_out(self.id, length);
        self.worker.counters.increment(Count::MessagesOut);
        self.worker.counters.add(Count::BytesOut, length as u64);
        Ok(())
    }

    /// Counts the waiting bytes while the client takes nothing. False if they exceed the client's share of the budget.
    pub(super) fn counts_unread(&self) -> bool {
        if self.state.get() == State::Closed {
            return true;
        }
        let now = self.outbox.cost();
        let fits = self.worker.engine.memory.count_unread(self.unread.replace(now), now);
        if !fits {
            self.worker.counters.increment(Count::UnreadOverBudget);
        }
        fits
    }

    /// Notes that the connection takes no more of the waiting bytes.
    pub(crate) fn stalls(&self) {
        if !self.counts_unread() {
            self.end_slow();
            // A session that was ending has no time to deliver its close.
            self.release();
        }
    }

    /// Notes that the client has taken the waiting bytes.
    #[inline]
    pub(crate) fn flows(&self) {
        let before = self.unread.take();
        if before > 0 {
            self.worker.engine.memory.count_unread(before, 0);
        }
    }

    /// Closes the session of a slow client.
    pub fn end_slow(&self) {
        if self.is_open() {
            self.worker.counters.increment(Count::SlowClients);
            tracing::warn!(target: "sociable::engine", sid = %self.id.shortened(), limit = self.config().max_outbox, "slow client; session closed");
            self.end(CloseReason::SlowClient, Ending::Abrupt);
        }
    }

    /// Answers a ping of the WebSocket layer.
    pub(crate) fn pong(&self, frame: Vec<u8>) {
        if self.is_open() && !self.outbox.push(frame.into(), false, self.config().max_outbox) {
            self.end_slow();
        }
    }

    /// Queues a packet of this layer, regardless of bounds.
    pub(super) fn push_control(&self, frames: Frames) {
        if self.is_observed() {
            self.report_later(frames.clone());
        }
        self.outbox.push(frames.into_bytes(), false, usize::MAX);
    }

    /// Returns whether a packet sent now would leave at once.
    ///
    /// The outbox has to be empty and, on polling, a poll has to wait.
    pub fn is_writable(&self) -> bool {
        self.is_open() && self.outbox.is_empty() && (self.transport.get() == Transport::WebSocket || self.polling.waiting.get())
    }

    /// Returns whether messages of these lengths, and a short one, fit into the outbox. An empty list always fits.
    pub fn has_room_for(&self, lengths: impl ExactSizeIterator<Item = usize>) -> bool {
        const SHORT: usize = 512;
        lengths.len() == 0 || self.outbox.has_room_for(lengths, self.config().max_outbox.saturating_sub(SHORT))
    }

    /// Waits until at most half of the outbox is used.
    ///
    /// # Errors
    ///
    /// The session has ended.
    pub async fn ready(&self) -> Result<(), SendError> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await
    }

    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if !self.is_open() {
            return Poll::Ready(Err(SendError::Closed));
        }
        self.outbox.poll_room(cx, self.config().max_outbox).map(Ok)
    }

    /// Answers the waiting poll, so that the client can continue its upgrade.
    pub(crate) fn release_poll(&self) {
        if self.polling.waiting.get() {
            self.polling.release.set(true);
            self.outbox.wake();
        }
    }
}
