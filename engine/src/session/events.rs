//! Reports of events to the listeners of a session.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use sociable_protocol::engine::Packet;
use sociable_protocol::websocket::{Frames, Payload};

use super::Session;
use super::listeners::{SessionEvent, SessionListeners};
use crate::reason::CloseReason;

impl Session {
    /// Calls `listener` with each further event of this session.
    ///
    /// A panic of a listener is counted and logged, and ends nothing. Sessions without listeners pay nothing for events; others pay for each packet.
    ///
    /// ```
    /// use sociable_engine::{Session, SessionEvent};
    ///
    /// fn watch(session: &Session) {
    ///     session.on_event(|session, event| match event {
    ///         SessionEvent::Upgraded(transport) => println!("{} moved to {}", session.handshake().url(), transport.as_str()),
    ///         SessionEvent::Closed(reason) => println!("{} ended: {reason}", session.handshake().url()),
    ///         _ => {}
    ///     });
    /// }
    /// ```
    pub fn on_event(&self, listener: impl Fn(&Session, SessionEvent<'_>) + 'static) {
        if self.is_open() {
            self.listeners.get_or_init(Box::default).list.borrow_mut().push(Rc::new(listener));
        }
    }

    /// Removes all listeners that were added by [`on_event`](Self::on_event).
    pub fn off_events(&self) {
        if let Some(listeners) = self.listeners.get() {
            // Dropped after the borrows, because a drop may run users' code.
            let removed = (listeners.list.take(), listeners.unreported.take());
            drop(removed);
        }
    }

    /// Returns the listeners, if there are any.
    #[inline]
    fn observed(&self) -> Option<&SessionListeners<Self>> {
        self.listeners.get().filter(|listeners| !listeners.list.borrow().is_empty()).map(|listeners| &**listeners)
    }

    /// Returns whether anyone listens to events.
    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        self.observed().is_some()
    }

    /// Reports an event.
    #[inline]
    pub(crate) fn report(&self, event: SessionEvent<'_>) {
        if let Some(listeners) = self.observed() {
            self.call(listeners, event);
        }
    }

    #[cold]
    fn call(&self, listeners: &SessionListeners<Self>, event: SessionEvent<'_>) {
        // Listeners may add others and remove all meanwhile.
        for index in 0.. {
            let Some(listener) = listeners.list.borrow().get(index).cloned() else { break };
            if catch_unwind(AssertUnwindSafe(|| listener(self, event))).is_err() {
                self.handler_panicked();
            }
        }
    }

    /// Keeps a packet that entered the outbox for its report. The caller may be busy, so no listener is called here.
    #[cold]
    pub(super) fn report_later(&self, frames: Frames) {
        if let Some(listeners) = self.observed().filter(|listeners| !listeners.reporting.get()) {
            listeners.unreported.borrow_mut().push(frames);
        }
    }

    /// Reports the packets that the transport is about to take.
    #[inline]
    pub(crate) fn report_flush(&self) {
        if let Some(listeners) = self.observed() {
            self.call_with_packets(listeners);
        }
    }

    #[cold]
    fn call_with_packets(&self, listeners: &SessionListeners<Self>) {
        let packets = listeners.unreported.take();
        if packets.is_empty() || listeners.reporting.replace(true) {
            return;
        }
        for frames in &packets {
            for payload in frames.iter() {
                let packet = match payload {
                    Payload::Text(text) => Packet::decode(text.into()),
                    Payload::Binary(bytes) => Ok(Packet::Binary(frames.as_bytes().slice_ref(bytes))),
                };
                if let Ok(packet) = packet {
                    self.call(listeners, SessionEvent::PacketOut(&packet));
                }
            }
        }
        self.call(listeners, SessionEvent::Flush);
        listeners.reporting.set(false);
    }

    /// Reports the end of the session. Listeners may hold the session, so they are removed.
    pub(super) fn report_closed(&self, reason: CloseReason) {
        self.report(SessionEvent::Closed(reason));
        self.off_events();
    }
}
