//! What is sent to the client of a session: messages, their bounds, and clients that do not read.

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
    /// Returns what waits for the client, in bytes.
    pub fn outbox_cost(&self) -> usize {
        self.outbox.cost()
    }

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// The session has ended, or ends now since the client does not read.
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
    /// The session has ended, or ends now since the client does not read.
    pub fn send_binary(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.send(Frames::binary(bytes), true)
    }

    /// Sends frames that were encoded before. `compress` tells whether a poll response with them may be compressed.
    #[inline]
    pub fn send(&self, frames: Frames, compress: bool) -> Result<(), SendError> {
        let sent = self.offer(frames, compress);
        if sent == Err(SendError::SlowClient) {
            self.end_slow();
        }
        sent
    }

    /// As [`send`](Self::send), but a client that does not read is not closed yet: that calls the layer above, which may not be the time for it.
    #[inline]
    pub fn offer(&self, frames: Frames, compress: bool) -> Result<(), SendError> {
        if self.state.get() != State::Open {
            return Err(SendError::Closed);
        }
        let frames = match self.version {
            EngineVersion::V4 { base64: false } => frames,
            EngineVersion::V4 { base64: true } => in_base64(frames),
            EngineVersion::V3 { base64 } => v3::frames(frames, base64),
        };
        let length = frames.len();
        if !self.outbox.push(frames.into_bytes(), compress, self.config().max_outbox) {
            return Err(SendError::SlowClient);
        }
        if self.transport.get() == Transport::Polling && !self.polling.waiting.get() && !self.counts_unread() {
            return Err(SendError::SlowClient);
        }
        trace::engine_out(self.id, length);
        self.worker.counters.increment(Count::MessagesOut);
        self.worker.counters.add(Count::BytesOut, length as u64);
        Ok(())
    }

    /// Counts what waits while the client takes nothing. False if it is too much while much waits for others, too.
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

    /// The connection takes no more of what waits for the client.
    pub(crate) fn stalls(&self) {
        if !self.counts_unread() {
            self.end_slow();
            // One that was ending has no time to say so.
            self.release();
        }
    }

    /// The client has taken what waited for it.
    #[inline]
    pub(crate) fn flows(&self) {
        let before = self.unread.take();
        if before > 0 {
            self.worker.engine.memory.count_unread(before, 0);
        }
    }

    /// Closes the session of a client that does not read.
    pub fn end_slow(&self) {
        if self.is_open() {
            self.worker.counters.increment(Count::SlowClients);
            tracing::warn!(target: "sociable::engine", sid = %self.id.shortened(), limit = self.config().max_outbox, "client does not read: closed as slow");
            self.end(CloseReason::SlowClient, Ending::Abrupt);
        }
    }

    /// Answers a ping of the WebSocket layer.
    pub(crate) fn pong(&self, frame: Vec<u8>) {
        if self.is_open() && !self.outbox.push(frame.into(), false, self.config().max_outbox) {
            self.end_slow();
        }
    }

    /// Queues a packet of this layer, which no bound may hold up.
    pub(super) fn push_control(&self, frames: Frames) {
        self.outbox.push(frames.into_bytes(), false, usize::MAX);
    }

    /// True if a packet sent now would leave at once: nothing waits before it, and by polling a poll is there to take it.
    pub fn is_writable(&self) -> bool {
        self.is_open() && self.outbox.is_empty() && (self.transport.get() == Transport::WebSocket || self.polling.waiting.get())
    }

    /// True if messages of these lengths, and a short one, can be sent now. None can always be sent.
    pub fn has_room_for(&self, lengths: impl ExactSizeIterator<Item = usize>) -> bool {
        const SHORT: usize = 512;
        lengths.len() == 0 || self.outbox.has_room_for(lengths, self.config().max_outbox.saturating_sub(SHORT))
    }

    /// Waits until no more than half of the outbox is taken.
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

    /// Answers the poll that waits, so that the client can go on with its upgrade.
    pub(crate) fn release_poll(&self) {
        if self.polling.waiting.get() {
            self.polling.release.set(true);
            self.outbox.wake();
        }
    }
}
