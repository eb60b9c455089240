//! The options of permessage-deflate, the compression of WebSocket messages (RFC 7692).

use sociable_protocol::websocket::deflate::{Settings, Terms};

/// The options of permessage-deflate: compressed WebSocket messages, for clients that offer it.
///
/// By default both sides compress each message alone. Then a connection holds no state for it, and a broadcast is compressed once for all receivers.
///
/// ```
/// use sociable_engine::{Engine, PerMessageDeflate};
///
/// let builder = Engine::builder().per_message_deflate(PerMessageDeflate::default().threshold(512));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    pub(crate) terms: Terms,
    pub(crate) settings: Settings,
}

impl Default for PerMessageDeflate {
    fn default() -> Self {
        Self {
            terms: Terms {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                server_max_window_bits: None,
                client_max_window_bits: None,
            },
            // Those of the JavaScript server.
            settings: Settings { threshold: 1024, level: 6, memory_level: 8 },
        }
    }
}

impl PerMessageDeflate {
    /// Sets the length in bytes from which a message is compressed alone: 1,024 by default.
    ///
    /// In the context of earlier messages, short messages are compressed too.
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.settings.threshold = bytes;
        self
    }

    /// Sets whether the server compresses each message alone: true by default.
    ///
    /// With false, a message to one client may refer to earlier ones, unless the client refuses that. Similar short messages get much shorter. Each
    /// such connection then holds a compressor of 320 KiB from its first message on, within
    /// [`max_session_memory`](crate::EngineBuilder::max_session_memory). A smaller [window](Self::server_max_window_bits) and
    /// [memory level](Self::memory_level) need less. Broadcasts are compressed alone nevertheless, once for all receivers.
    pub fn server_no_context_takeover(mut self, alone: bool) -> Self {
        self.terms.server_no_context_takeover = alone;
        self
    }

    /// Sets whether clients have to compress each message alone: true by default.
    ///
    /// With false, the connection of a client that refers to earlier messages holds 48 KiB from its first compressed message on. The memory counts
    /// towards [`max_client_bytes`](crate::EngineBuilder::max_client_bytes).
    pub fn client_no_context_takeover(mut self, alone: bool) -> Self {
        self.terms.client_no_context_takeover = alone;
        self
    }

    /// Sets the largest window of the server, from 8 to 15: the base-2 logarithm of its size in bytes. By default the client chooses, up to 15.
    pub fn server_max_window_bits(mut self, bits: impl Into<Option<u8>>) -> Self {
        self.terms.server_max_window_bits = bits.into();
        self
    }

    /// Sets the largest window of a client, from 8 to 15. By default the client chooses, up to 15.
    ///
    /// Below 15, clients that offer no choice of their window stay without compression.
    pub fn client_max_window_bits(mut self, bits: impl Into<Option<u8>>) -> Self {
        self.terms.client_max_window_bits = bits.into();
        self
    }

    /// Sets the effort of compression, from 0 (none) to 9 (most): 6 by default.
    pub fn level(mut self, level: u8) -> Self {
        self.settings.level = level;
        self
    }

    /// Sets the memory of a compressor besides its window, from 1 (least) to 9: 8 by default.
    pub fn memory_level(mut self, level: u8) -> Self {
        self.settings.memory_level = level;
        self
    }

    /// Returns whether all values are in their ranges.
    pub(crate) fn is_valid(&self) -> bool {
        let Self { terms, settings } = self;
        let window = |bits: Option<u8>| bits.is_none_or(|bits| (8..=15).contains(&bits));
        window(terms.server_max_window_bits)
            && window(terms.client_max_window_bits)
            && settings.level <= 9
            && (1..=9).contains(&settings.memory_level)
    }
}
