//! The access log: one line a request.

use std::net::IpAddr;
use std::time::Instant;

/// The entry of a request.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    pub(super) client: IpAddr,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) begun: Instant,
}

impl AccessRecord {
    /// Returns the entry of a request that can't be read.
    pub(crate) fn unread(client: IpAddr) -> Self {
        Self { client, method: String::new(), target: String::new(), begun: Instant::now() }
    }

    /// Writes the entry. The status is 0 if the client got no whole answer. `by` is the node that answered, or the refusal.
    pub(crate) fn log(&self, status: u16, by: &str) {
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(target: "sociable::access", client = %self.client, method = self.method, target = self.target, status, by, micros);
    }
}
