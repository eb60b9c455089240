//! The counters of discovery.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The number.
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
    /// Announcements of nodes that were heard on NATS.
    announcements,
    /// Messages there that are no announcements.
    announcements_not_understood,
    /// Farewells of nodes that answered a probe afterwards and did not say that they go: somebody else has spoken for them.
    farewells_refuted,
    /// Addresses and tags that are not kept since there are too many.
    refused,
    /// How often a source could not say which nodes there are, or not all of it.
    source_failures,
    /// How often an announced name was not looked up since too many were being looked up. It is at the next announcement.
    lookups_put_off,
    /// Links to NATS that were lost.
    nats_disconnected,
    /// Errors that the NATS server told: subjects that this process has no permission for, credentials that hold no more.
    nats_errors,
    /// Tables that were made.
    tables,
    /// Nodes that came.
    came,
    /// Nodes that were taken out since nothing was heard of them any more.
    lost,
    /// Times so many nodes were unwell that health was ignored.
    panics,
    /// Reports of workers that were dropped since too many waited.
    reports_dropped,
    /// Tasks that died and were begun anew.
    restarted,
}
