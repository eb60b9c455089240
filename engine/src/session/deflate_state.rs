//! The state of the compression of messages to one client.

use std::cell::RefCell;

use sociable_protocol::websocket::deflate::ContextDeflater;

/// The agreement with a client, and the context of the messages to it.
#[derive(Debug)]
pub(super) struct Deflate {
    /// True if each message is compressed alone.
    pub(super) alone: bool,
    pub(super) window_bits: u8,
    /// Created by the first message that goes to this client only, if the client keeps a context.
    pub(super) context: RefCell<Option<Box<ContextDeflater>>>,
}
