//! The bounds on connections: of all clients, and of each address.

use std::net::IpAddr;
use std::sync::Arc;

use crate::http::refusal::Refusal;
use crate::limits::addresses::Network;
use crate::limits::descriptors::Held;
use crate::state::BalancerState;

/// A connection, or a stream of HTTP/2, that counts as long as it is held.
#[derive(Debug)]
pub(crate) struct Permit {
    state: Arc<BalancerState>,
    /// The network of the count; `None` for a trusted proxy.
    network: Option<Network>,
    /// The descriptor of a connection, and that of the connection to its node. A stream has its own.
    _held: Option<[Held; 2]>,
}

impl Permit {
    /// Admits a connection, if there is room. The descriptor of the connection is counted already.
    pub(crate) fn for_connection(state: &Arc<BalancerState>, held: Held, address: IpAddr) -> Result<Self, Refusal> {
        let held = [held, state.descriptors.hold()];
        Self::new(state, Some(held), address)
    }

    /// Admits a stream, if there is room.
    pub(crate) fn for_stream(state: &Arc<BalancerState>, address: IpAddr) -> Result<Self, Refusal> {
        Self::new(state, None, address)
    }

    fn new(state: &Arc<BalancerState>, held: Option<[Held; 2]>, address: IpAddr) -> Result<Self, Refusal> {
        let (connections, most) = (&state.metrics.connections, state.options().max_connections);
        // Counted first: several threads may be here at once.
        let before = connections.inc();
        let mut permit = Self { state: Arc::clone(state), network: None, _held: held };
        if before >= i64::try_from(most).unwrap_or(i64::MAX) {
            return Err(Refusal::Overloaded);
        }
        permit.count_for(address)?;
        Ok(permit)
    }

    /// Counts it for this address. A proxy in front has no bound of its own: a connection of it counts when its client is known.
    pub(crate) fn count_for(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let options = self.state.options();
        if self.network.is_some() || options.trusts(address) {
            return Ok(());
        }
        let most = options.max_connections_per_address.unwrap_or(self.state.share);
        self.network = Some(self.state.addresses.acquire(address, most).ok_or(Refusal::TooManyConnections)?);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.state.metrics.connections.dec();
        if let Some(network) = self.network {
            self.state.addresses.release(network);
        }
    }
}
