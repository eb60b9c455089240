//! Counters of the adapter.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Latency;

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            /// The round trip to the server.
            pub(crate) way: Latency,
            /// The time until the server confirmed that it persisted events.
            pub(crate) persisted_after: Latency,
            $(pub(crate) $name: Counter,)+
        }

        /// Counts of the links to the other nodes since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct NatsStats {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            pub(crate) fn stats(&self) -> NatsStats {
                NatsStats { $($name: self.$name.get(),)+ }
            }
        }

        impl NatsStats {
            /// Name and value of each, for metrics.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }
    };
}

counters! {
    /// Envelopes that were sent; each may hold several records.
    sent,
    /// Envelopes that came.
    received,
    /// Records that were refused because the queue was full.
    refused,
    /// Records that were refused because they exceed the payload limit of the server.
    too_large,
    /// Records that waited too long for the server, and were dropped.
    late,
    /// Volatile events that were dropped because the link was down.
    volatile_dropped,
    /// Envelopes that could not be sent.
    unsent,
    /// Envelopes of other nodes that never came, or could not be decoded.
    gaps,
    /// Envelopes and records that could not be decoded.
    malformed,
    /// How often the client dropped messages because this node read too slowly.
    slow_consumer,
    /// Errors of the NATS server: subjects without permission, credentials that are no longer valid.
    server_errors,
    /// Connections that were lost.
    disconnected,
    /// Nodes that fell silent.
    lost_nodes,
    /// Questions of other nodes, and requests for sessions, that were refused because too many were being answered.
    unanswered,
    /// Answers that exceed the payload limit of the server, and were left out.
    answers_too_large,
    /// Messages of the shared history that the server persisted.
    kept,
    /// How often such messages were published again, because the server had not confirmed them.
    kept_again,
    /// Events that were not persisted in time, and do not reach other nodes.
    not_kept,
    /// Events and other records that the server refused to persist. They were sent to the connected nodes.
    unkept,
    /// How often messages of the shared history were missing, and were read from the stream.
    resynced,
    /// How often a session was saved in case this process dies.
    sessions_saved,
    /// Sessions that could not be saved.
    sessions_unsaved,
    /// Sessions that another node turned out to own.
    fenced,
    /// Nodes that joined with another setting of the shared history, or without a common version of the wire format.
    disagreeing,
    /// Announcements in the name of this node that are not its own.
    spoken_for,
    /// Events that a process sent to this node outside the shared history. Disconnected clients do not get them.
    not_for_history,
    /// Trace contexts that were left out because they exceed the bound of an envelope.
    traces_left_out,
    /// Tasks of the adapter that died and were restarted.
    restarted,
}
