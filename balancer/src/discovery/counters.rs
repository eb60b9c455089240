//! The counters of discovery.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Returns the value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The counters of discovery, since the start.
        #[derive(Debug, Default)]
        pub struct DiscoveryCounters {
            $($(#[$doc])* pub $name: Counter,)+
        }

        impl DiscoveryCounters {
            /// Name and value of each, for metrics.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get())),+].into_iter()
            }
        }
    };
}

counters! {
    /// Probes that were made.
    probes,
    /// Probes that failed.
    probe_failures,
    /// Announcements of nodes on NATS.
    announcements,
    /// Messages there that are no announcements.
    announcements_not_understood,
    /// Farewells of nodes that later answered a probe and did not drain. Another process sent them.
    farewells_refuted,
    /// Addresses and tags that were refused because there are too many.
    refused,
    /// How often a source could not list its nodes, or not all of them.
    source_failures,
    /// How often an announced name was not resolved because too many lookups were running. The next announcement
    /// retries it.
    lookups_put_off,
    /// Lost connections to NATS.
    nats_disconnected,
    /// Errors of the NATS server: subjects without permission, credentials that are no longer valid.
    nats_errors,
    /// Tables that were made.
    tables,
    /// Nodes that joined.
    came,
    /// Nodes that were removed after silence.
    lost,
    /// Times so many nodes were unwell that health was ignored.
    panics,
    /// Reports of workers that were dropped because too many waited.
    reports_dropped,
    /// Tasks that died and were restarted.
    restarted,
}
