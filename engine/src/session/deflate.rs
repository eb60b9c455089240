//! The compression of messages to the client of a WebSocket.

use std::cell::RefCell;

use bytes::Bytes;
use sociable_protocol::websocket::Frames;
use sociable_protocol::websocket::deflate::{Agreement, ContextDeflater, Settings};

use super::Session;
use super::deflate_state::Deflate;
use crate::counters::Count;

impl Session {
    /// Notes what the client of its WebSocket has agreed to.
    pub(crate) fn may_deflate(&self, agreement: Option<Agreement>) {
        if let Some(agreement) = agreement {
            let Agreement { server_no_context_takeover: alone, server_window_bits: window_bits, .. } = agreement;
            // A session has one WebSocket in its life.
            let _ = self.deflate.set(Box::new(Deflate { alone, window_bits, context: RefCell::default() }));
        }
    }

    /// Returns the bytes of frames on the wire: compressed, if the client has agreed and it pays.
    #[inline]
    pub(super) fn deflated(&self, frames: Frames, compress: bool) -> Bytes {
        match self.deflate.get() {
            Some(deflate) if compress => self.deflated_by(deflate, &frames).unwrap_or_else(|| frames.into_bytes()),
            _ => frames.into_bytes(),
        }
    }

    fn deflated_by(&self, deflate: &Deflate, frames: &Frames) -> Option<Bytes> {
        let settings = self.config().per_message_deflate.as_ref()?.settings;
        let deflated = if deflate.alone || frames.is_shared() {
            self.deflated_alone(deflate, &settings, frames)
        } else {
            self.deflated_in_context(deflate, &settings, frames)
        }?;
        self.worker.counters.increment(Count::MessagesDeflated);
        self.worker.counters.add(Count::DeflateBytesSaved, frames.len().saturating_sub(deflated.len()) as u64);
        Some(deflated)
    }

    fn deflated_alone(&self, deflate: &Deflate, settings: &Settings, frames: &Frames) -> Option<Bytes> {
        let deflated = frames.deflated(settings, deflate.window_bits, |_| self.worker.counters.increment(Count::Deflations))?;
        if let Some(context) = &mut *deflate.context.borrow_mut() {
            context.break_context();
        }
        Some(deflated)
    }

    fn deflated_in_context(&self, deflate: &Deflate, settings: &Settings, frames: &Frames) -> Option<Bytes> {
        let mut context = deflate.context.borrow_mut();
        if context.is_none() {
            let bytes = ContextDeflater::bytes(settings, deflate.window_bits);
            if !self.worker.engine.memory.acquire(0, bytes) {
                drop(context);
                return self.deflated_alone(deflate, settings, frames);
            }
            *context = Some(Box::new(ContextDeflater::new(settings, deflate.window_bits)));
        }
        self.worker.counters.increment(Count::Deflations);
        context.as_mut()?.deflate(frames.as_bytes())
    }

    /// Drops the context of the messages to the client.
    pub(super) fn end_deflate(&self) {
        let Some(deflate) = self.deflate.get() else { return };
        if deflate.context.take().is_some()
            && let Some(options) = &self.config().per_message_deflate
        {
            self.worker.engine.memory.give_back(ContextDeflater::bytes(&options.settings, deflate.window_bits));
        }
    }
}
