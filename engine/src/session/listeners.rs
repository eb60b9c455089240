//! The events of a session, and the listeners for them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sociable_protocol::engine::Packet;
use sociable_protocol::websocket::Frames;

use crate::reason::CloseReason;
use crate::transport::Transport;

/// An event of a session, as [`Session::on_event`](crate::Session::on_event) reports it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SessionEvent<'a> {
    /// The client has sent a packet, which is handled next.
    PacketIn(&'a Packet),
    /// The transport is about to take a packet for the client. Pings are among them; the handshake and the last close packet are not.
    PacketOut(&'a Packet),
    /// The client has answered a ping, or sent one by revision 3 of the protocol.
    Heartbeat,
    /// A new transport has sent its probe.
    Upgrading(Transport),
    /// The session has moved to a new transport.
    Upgraded(Transport),
    /// The transport is about to take all waiting packets.
    Flush,
    /// The transport has taken all waiting packets.
    Drain,
    /// The session has ended. This is the last event.
    Closed(CloseReason),
}

type Listener<S> = Rc<dyn Fn(&S, SessionEvent<'_>)>;

/// The listeners of a session, and the packets that they have not seen yet.
pub(super) struct SessionListeners<S> {
    pub(super) list: RefCell<Vec<Listener<S>>>,
    /// Packets in the outbox that were not reported yet. The bounds of the outbox hold for them.
    pub(super) unreported: RefCell<Vec<Frames>>,
    /// True while outgoing packets are reported. Those that a listener sends meanwhile are not, to avoid an endless loop.
    pub(super) reporting: Cell<bool>,
}

impl<S> Default for SessionListeners<S> {
    fn default() -> Self {
        Self { list: RefCell::default(), unreported: RefCell::default(), reporting: Cell::new(false) }
    }
}
