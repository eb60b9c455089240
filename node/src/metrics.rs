//! Counters of what a node does, and of what it drops, refuses and survives.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sociable_adapter::Latency;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident / $field:ident,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Count { $($name,)* }

        /// A snapshot of all counters since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            /// Sessions open now.
            pub sessions: u64,
            $($(#[doc = $doc])+ pub $field: u64,)*
        }

        const COUNTERS: usize = [$(Count::$name,)*].len();

        impl Stats {
            pub(crate) fn add(&mut self, counters: &Counters) {
                $(self.$field += counters.get(Count::$name);)*
            }

            /// The names of all counters, for exporters, with their values.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }

            /// What a counter of this name means.
            #[cfg(feature = "metrics")]
            pub(crate) fn meaning(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($field) => Some(concat!($($doc),+).trim()),)*
                    _ => None,
                }
            }
        }
    };
}

counters! {
    /// Sessions opened.
    SessionsOpened / sessions_opened,
    /// Sessions that went from polling to WebSocket.
    Upgraded / upgraded,
    /// Upgrades that were begun and not finished.
    UpgradesFailed / upgrades_failed,
    /// Sockets that joined a namespace.
    SocketsOpened / sockets_opened,
    /// Sockets that left theirs.
    SocketsClosed / sockets_closed,
    /// Engine.IO messages received.
    MessagesIn / messages_in,
    /// Engine.IO messages queued for a client: a broadcast counts once a receiver.
    MessagesOut / messages_out,
    /// Bytes of the messages received.
    BytesIn / bytes_in,
    /// Bytes queued for clients.
    BytesOut / bytes_out,
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
    /// Sockets whose clients left the namespace.
    ClientDisconnects / client_disconnects,
    /// Sockets that the server put out of their namespace.
    ServerDisconnects / server_disconnects,
    /// Sessions closed because no pong came.
    PingTimeouts / ping_timeouts,
    /// Sessions closed because the client did not read.
    SlowClients / slow_clients,
    /// Sessions closed because the client did not read while much waited for others, too.
    UnreadOverBudget / unread_over_budget,
    /// Volatile packets dropped because the transport was not writable.
    VolatileDropped / volatile_dropped,
    /// Sessions closed because the attachments of a packet did not come in time.
    PacketsOverdue / packets_overdue,
    /// Sessions closed, and requests refused, because a message or packet that was not complete took too much memory.
    PacketsOverBudget / packets_over_budget,
    /// Connections to a namespace refused because of what the client sent with them: too much at once, or with what is kept for it already.
    AuthTooLarge / auth_too_large,
    /// Connections to a namespace refused.
    ConnectionsRefused / connections_refused,
    /// Handlers of events that ended well.
    EventsHandled / events_handled,
    /// Namespaces for patterns that clients were not let make, since there were too many: of all, of their session or of their address.
    NamespacesRefused / namespaces_refused,
    /// Empty namespaces for patterns that went to make room for others.
    NamespacesEvicted / namespaces_evicted,
    /// Joins of rooms named like the ids of other sockets that were refused.
    PrivateJoinsRefused / private_joins_refused,
    /// Events that no handler was there for.
    EventsUnheard / events_unheard,
    /// Events whose arguments did not fit their handler.
    BadArguments / bad_arguments,
    /// Events that a middleware refused.
    EventsRefused / events_refused,
    /// Handlers that ended with an error.
    HandlerErrors / handler_errors,
    /// Handlers that panicked.
    HandlerPanics / handler_panics,
    /// Actors that died of a fault in this library.
    ActorsDied / actors_died,
    /// Actors that a supervisor made anew.
    ActorsRestarted / actors_restarted,
    /// Tasks from other threads that panicked.
    TasksPanicked / tasks_panicked,
    /// Sockets that came back after their connection was lost.
    Recovered / recovered,
    /// Clients that wanted to come back to a session that is not there, or not any more.
    RecoveriesUnknown / recoveries_unknown,
    /// Clients that could not come back because not all that they missed is there, or it is too much, or they were put out meanwhile.
    RecoveriesIncomplete / recoveries_incomplete,
    /// Sessions that were not kept because their rooms and data are too large.
    SessionsTooLarge / sessions_too_large,
    /// Sockets that were cut off since another node had taken their sessions.
    SessionsFenced / sessions_fenced,
    /// Sockets that were cut off since events for them were lost.
    SessionsVoided / sessions_voided,
    /// Acknowledgements that did not come in time.
    AcksTimedOut / acks_timed_out,
    /// Acknowledgements that nobody waited for.
    AcksUnexpected / acks_unexpected,
    /// Packets for a worker thread refused because its inbox was full.
    InboxFull / inbox_full,
}

/// One thread's counters. Each worker has its own, so that counting never makes threads wait for a cache line.
#[derive(Debug)]
pub(crate) struct Counters {
    counts: [AtomicU64; COUNTERS],
    /// How late the thread was with what was due.
    pub(crate) lag: Latency,
    /// How long clients took to acknowledge.
    pub(crate) acks: Latency,
}

impl Default for Counters {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; COUNTERS], lag: Latency::default(), acks: Latency::default() }
    }
}

impl Counters {
    #[inline]
    pub(crate) fn add(&self, count: Count, by: u64) {
        self.counts[count as usize].fetch_add(by, Relaxed);
    }

    #[inline]
    pub(crate) fn one(&self, count: Count) {
        self.add(count, 1);
    }

    pub(crate) fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_adds_up_the_threads() {
        let (a, b) = (Counters::default(), Counters::default());
        a.one(Count::SlowClients);
        b.add(Count::SlowClients, 2);
        b.one(Count::InboxFull);
        let mut stats = Stats::default();
        stats.add(&a);
        stats.add(&b);
        assert_eq!((stats.slow_clients, stats.inbox_full, stats.upgraded), (3, 1, 0));
        assert!(stats.counters().any(|pair| pair == ("slow_clients", 3)));
    }
}
