//! Counters of what the engine does, and of what it drops, refuses and survives.

/// Declares counters: an enum `Count` of them, `Counters` of one thread, and a snapshot of all threads.
///
/// The engine and the layer above both use it. Each thread has its own counters, so that threads never contend for a cache line.
#[doc(hidden)]
#[macro_export]
macro_rules! counters {
    ($(#[doc = $about:literal])+ $snapshot:ident { $($(#[doc = $state_doc:literal])+ $state:ident: $kind:ty,)* } $($(#[doc = $doc:literal])+ $name:ident / $field:ident,)*) => {
        /// A counter.
        #[derive(Clone, Copy, Debug)]
        pub enum Count {
            $($(#[doc = $doc])+ $name,)*
        }

        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $snapshot {
            $($(#[doc = $state_doc])+ pub $state: $kind,)*
            $($(#[doc = $doc])+ pub $field: u64,)*
        }

        const COUNTERS: usize = [$(Count::$name,)*].len();

        impl $snapshot {
            /// Adds the counters of a thread.
            pub fn add(&mut self, counters: &Counters) {
                $(self.$field += counters.get(Count::$name);)*
            }

            /// Returns the names of the counters of this layer with their values.
            fn own_counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }

            /// Returns the meaning of the counter of this name, if it is one of this layer.
            fn own_meaning(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($field) => Some(concat!($($doc),+).trim()),)*
                    _ => None,
                }
            }
        }

        /// The counters of one thread.
        #[derive(Debug)]
        pub struct Counters([std::sync::atomic::AtomicU64; COUNTERS]);

        impl Default for Counters {
            fn default() -> Self {
                Self([const { std::sync::atomic::AtomicU64::new(0) }; COUNTERS])
            }
        }

        impl Counters {
            /// Increments a counter by a number.
            #[inline]
            pub fn add(&self, count: Count, by: u64) {
                self.0[count as usize].fetch_add(by, std::sync::atomic::Ordering::Relaxed);
            }

            /// Increments a counter by one.
            #[inline]
            pub fn increment(&self, count: Count) {
                self.add(count, 1);
            }

            /// Returns the count.
            pub fn get(&self, count: Count) -> u64 {
                self.0[count as usize].load(std::sync::atomic::Ordering::Relaxed)
            }
        }
    };
}

crate::counters! {
    /// A snapshot of the counters of an engine since the start.
    EngineStats {
        /// Sessions open now.
        sessions: u64,
        /// The open sessions whose transport is WebSocket.
        websockets: u64,
    }
    /// Sessions opened.
    SessionsOpened / sessions_opened,
    /// Sessions that went from polling to WebSocket.
    Upgraded / upgraded,
    /// Upgrades that were begun and not finished.
    UpgradesFailed / upgrades_failed,
    /// Engine.IO messages received.
    MessagesIn / messages_in,
    /// Engine.IO messages queued for a client: a broadcast counts once a receiver.
    MessagesOut / messages_out,
    /// Bytes of the messages received.
    BytesIn / bytes_in,
    /// Bytes queued for clients.
    BytesOut / bytes_out,
    /// Messages sent compressed on WebSockets: a broadcast counts once a receiver.
    MessagesDeflated / messages_deflated,
    /// Runs of a compressor on a message: a broadcast counts once.
    Deflations / deflations,
    /// Bytes that compression has saved of the messages sent.
    DeflateBytesSaved / deflate_bytes_saved,
    /// Sessions closed because a compressed message was longer than allowed.
    InflatedTooLarge / inflated_too_large,
    /// Requests refused with an error of Engine.IO.
    RequestsRefused / requests_refused,
    /// Sessions refused because the node has as many as it takes, or no memory or connections left for them.
    SessionsRefused / sessions_refused,
    /// Sessions closed because too many were on their way in after them.
    PendingEvicted / pending_evicted,
    /// Sessions whose request was longer than what is kept of it.
    HandshakesTruncated / handshakes_truncated,
    /// Requests refused because of the origin of their page.
    OriginsRefused / origins_refused,
    /// Connections refused because the process may not have more.
    ConnectionsShed / connections_shed,
    /// Request bodies longer than allowed.
    BodiesTooLarge / bodies_too_large,
    /// Request bodies that did not arrive in time.
    BodiesLate / bodies_late,
    /// Connections that were cut off because their clients did not close them after the end, or sent too much.
    LingersCut / lingers_cut,
    /// Sessions closed because a packet could not be read, at either layer.
    ParseErrors / parse_errors,
    /// Sessions closed because the client broke the rules of the transport or the protocol.
    ProtocolErrors / protocol_errors,
    /// Sessions that ended with their connection: the client closed it, or it was lost.
    TransportCloses / transport_closes,
    /// Sessions that the server closed.
    ForcedCloses / forced_closes,
    /// Long-polling sessions that the server closed while no poll was waiting.
    ForcedServerCloses / forced_server_closes,
    /// Sessions closed because the server stopped.
    ShutdownCloses / shutdown_closes,
    /// Sessions that ended since their actor died.
    SessionsFailed / sessions_failed,
    /// Sessions closed because no pong came.
    PingTimeouts / ping_timeouts,
    /// Sessions closed because the client did not read.
    SlowClients / slow_clients,
    /// Sessions closed because the client did not read while much waited for others, too.
    UnreadOverBudget / unread_over_budget,
    /// Sessions closed, and requests refused, because a message or packet that was not complete took too much memory.
    PacketsOverBudget / packets_over_budget,
    /// Tasks from other threads that panicked.
    TasksPanicked / tasks_panicked,
    /// Handlers that panicked.
    HandlerPanics / handler_panics,
    /// Actors that died of a fault in this library, or of one in a layer above it.
    ActorsDied / actors_died,
    /// Actors that a supervisor made anew.
    ActorsRestarted / actors_restarted,
    /// Packets for a worker thread refused because its inbox was full.
    InboxFull / inbox_full,
}

impl EngineStats {
    /// Returns the names of all counters with their values, for exporters.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.own_counters()
    }

    /// Returns the meaning of the counter of this name.
    pub fn meaning(name: &str) -> Option<&'static str> {
        Self::own_meaning(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_sums_the_threads() {
        let (a, b) = (Counters::default(), Counters::default());
        a.increment(Count::SlowClients);
        b.add(Count::SlowClients, 2);
        b.increment(Count::InboxFull);
        let mut stats = EngineStats::default();
        stats.add(&a);
        stats.add(&b);
        assert_eq!((stats.slow_clients, stats.inbox_full, stats.upgraded), (3, 1, 0));
        assert!(stats.counters().any(|pair| pair == ("slow_clients", 3)));
    }
}
