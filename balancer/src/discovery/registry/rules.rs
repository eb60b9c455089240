//! The rules: after how much of what a node is well, unwell or gone.

use std::time::Duration;

/// The thresholds of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Good probes in a row after which an unwell address is well: 2 by default. A new address is well after the first.
    pub rise: u32,
    /// Bad probes in a row after which an address is unwell: 2 by default.
    pub fall: u32,
    /// A node that announced itself is silent if it has not for so long: 10 s by default, while nodes speak every 5 s.
    pub silence: Duration,
    /// A node of which nothing was heard for so long, by no way, is gone: 10 s by default. Its sessions are answered as unknown then.
    pub dead_after: Duration,
    /// For how long a node that answered 503 to a new session gets no other: 5 s by default.
    pub refused_for: Duration,
    /// Failures to connect within `connect_window` that make a node unwell until a probe reaches it: 3 by default.
    pub connect_errors: u32,
    /// 5 s by default.
    pub connect_window: Duration,
    /// True, by default, if new sessions are sent also to nodes that can't be reached while fewer than half can.
    pub panic: bool,
    /// How many addresses are probed, and how many nodes known, at most: 4096 by default. What is more is refused and counted: those nodes get
    /// nothing.
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
