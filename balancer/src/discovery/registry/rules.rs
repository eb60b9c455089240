//! The thresholds at which a node is well, unwell or dead.

use std::time::Duration;

/// The thresholds of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Good probes in a row after which an unwell address is well: 2 by default. A new address is well after the first.
    pub rise: u32,
    /// Bad probes in a row after which an address is unwell: 2 by default.
    pub fall: u32,
    /// The time without an announcement after which a node is silent: 10 s by default. Nodes announce themselves every
    /// 5 s.
    pub silence: Duration,
    /// The time without any sign after which a node is removed: 10 s by default. The node's sessions are then answered
    /// as unknown.
    pub dead_after: Duration,
    /// The time for which a node gets no new session after it answered one with 503: 5 s by default.
    pub refused_for: Duration,
    /// Failures to connect within `connect_window` that make a node unwell until a probe reaches it: 3 by default.
    pub connect_errors: u32,
    /// 5 s by default.
    pub connect_window: Duration,
    /// True, by default, if new sessions are sent also to nodes that can't be reached while fewer than half can.
    pub panic: bool,
    /// The most addresses that are probed, and the most known nodes: 4096 by default. Further ones are refused and
    /// counted, and get no requests.
    pub most_addresses: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rise: 2,
            fall: 2,
            silence: Duration::from_secs(10),
            dead_after: Duration::from_secs(10),
            refused_for: Duration::from_secs(5),
            connect_errors: 3,
            connect_window: Duration::from_secs(5),
            panic: true,
            most_addresses: 4096,
        }
    }
}
