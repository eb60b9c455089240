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

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// The counters of discovery, since the start.
        #[derive(Debug, Default)]
        pub struct DiscoveryCounters {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl DiscoveryCounters {
            /// Returns name and value of each, for metrics.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                self.samples().map(|(name, _, value)| (name, value))
            }

            /// Returns name, meaning and value of each.
            pub(crate) fn samples(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+).trim(), self.$name.get())),+].into_iter()
            }
        }
    };
}

counters! {
    /// Probes of nodes.
    probes,
    /// Probes of nodes that failed.
    probe_failures,
    /// Announcements of nodes received over NATS.
    announcements,
    /// Messages on the subject of announcements that could not be decoded.
    announcements_malformed,
    /// Farewells of nodes that a later probe found alive: another process sent them.
    farewells_refuted,
    /// Addresses and tags left out because there are too many.
    entries_refused,
    /// Failures of a source to list its nodes, or all of them.
    source_failures,
    /// Lookups of announced names deferred because too many were running.
    lookups_deferred,
    /// Lost connections to NATS.
    nats_disconnects,
    /// Errors reported by the NATS server, such as missing permissions.
    nats_errors,
    /// Tables of nodes published.
    table_updates,
    /// Nodes added to the table.
    nodes_added,
    /// Nodes removed because they fell silent.
    nodes_expired,
    /// Activations of panic mode: so many nodes were unwell that health was ignored.
    panic_mode_activations,
    /// Reports of workers dropped because too many waited.
    reports_dropped,
    /// Restarts of discovery tasks that died.
    task_restarts,
}
