//! The bound on connections.

use std::sync::Arc;

use crate::descriptors::Held;
use crate::shared::Shared;

/// A connection that counts as long as it is held.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    /// Its descriptor, and that of the connection to its node.
    _held: [Held; 2],
}

impl Permit {
    /// Lets one more in, if there is room. Its descriptor is counted already.
    pub(crate) fn take(shared: &Arc<Shared>, held: Held) -> Option<Self> {
        let (connections, most) = (&shared.metrics.connections, shared.options().max_connections);
        // Only one thread accepts: there is nobody with whom to race for the last place.
        if connections.get() >= i64::try_from(most).unwrap_or(i64::MAX) {
            return None;
        }
        connections.inc();
        Some(Self { shared: Arc::clone(shared), _held: [held, shared.descriptors.hold()] })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.metrics.connections.dec();
    }
}
