//! The bound on connections.

use std::sync::Arc;

use crate::shared::Shared;

/// A connection that counts as long as it is held.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Shared>);

impl Permit {
    /// Lets one more in, if there is room.
    pub(crate) fn take(shared: &Arc<Shared>, most: usize) -> Option<Self> {
        // Only one thread accepts: there is nobody with whom to race for the last place.
        if shared.metrics.connections.get() >= i64::try_from(most).unwrap_or(i64::MAX) {
            return None;
        }
        shared.metrics.connections.inc();
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}
