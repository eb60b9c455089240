//! The connections of each address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;

use parking_lot::Mutex;

use crate::client::network::network;

/// Parts of [`Addresses`], each with a lock of its own.
const SHARDS: usize = 16;

/// The network of an address, for which connections are counted.
pub(crate) type Network = NonZeroU64;

/// The connections of each address; those of an IPv6 /64 count together. An address without connections takes no memory, so there are at
/// most as many entries as connections.
pub(crate) struct Addresses {
    hasher: RandomState,
    shards: [Mutex<HashMap<Network, usize, RandomState>>; SHARDS],
}

impl Addresses {
    pub(crate) fn new() -> Self {
        let hasher = RandomState::new();
        Self { shards: std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))), hasher }
    }

    /// Counts a connection of this address, unless it has `most` already.
    pub(crate) fn acquire(&self, address: IpAddr, most: usize) -> Option<Network> {
        // No client has the address whose number is 0.
        let network = NonZeroU64::new(network(address)).unwrap_or(NonZeroU64::MIN);
        let mut shard = self.shard(network).lock();
        let connections = shard.entry(network).or_default();
        if *connections >= most {
            return None;
        }
        *connections += 1;
        Some(network)
    }

    /// A connection that was counted has ended.
    pub(crate) fn release(&self, network: Network) {
        let mut shard = self.shard(network).lock();
        if let Entry::Occupied(mut entry) = shard.entry(network) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        // After a flood of addresses.
        if shard.capacity() > 1024 && shard.capacity() / 8 > shard.len() {
            shard.shrink_to_fit();
        }
    }

    fn shard(&self, network: Network) -> &Mutex<HashMap<Network, usize, RandomState>> {
        // Other bits than those by which the map finds a place.
        &self.shards[(self.hasher.hash_one(network) >> 32) as usize % SHARDS]
    }

    /// Returns the number of addresses with connections.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn address_gets_no_more_than_its_share() {
        let addresses = Addresses::new();
        let mine: Vec<_> = std::iter::from_fn(|| addresses.acquire(address("192.0.2.1"), 3)).collect();
        assert_eq!(mine.len(), 3);
        assert!(addresses.acquire(address("::ffff:192.0.2.1"), 3).is_none() && addresses.acquire(address("192.0.2.2"), 3).is_some());
        addresses.release(mine[0]);
        assert!(addresses.acquire(address("192.0.2.1"), 3).is_some() && addresses.acquire(address("192.0.2.1"), 3).is_none());
        // A lower limit holds for new connections.
        assert!(addresses.acquire(address("192.0.2.1"), 1).is_none());
    }

    #[test]
    fn ipv6_network_counts_as_one_address() {
        let addresses = Addresses::new();
        assert!(addresses.acquire(address("2001:db8::1"), 1).is_some() && addresses.acquire(address("2001:db8::ffff:1"), 1).is_none());
        assert!(addresses.acquire(address("2001:db8:0:1::1"), 1).is_some());
        assert!(addresses.acquire(address("::"), 1).is_some() && addresses.acquire(address("0.0.0.0"), 1).is_none());
    }

    #[test]
    fn address_is_dropped_when_it_has_no_connections() {
        let addresses = Addresses::new();
        let all: Vec<_> = (0..40_000_u32).filter_map(|n| addresses.acquire(IpAddr::from(n.to_be_bytes()), 9)).collect();
        assert_eq!(all.len(), 40_000);
        all.into_iter().for_each(|network| addresses.release(network));
        assert_eq!(addresses.len(), 0);
        assert!(addresses.shards.iter().all(|shard| shard.lock().capacity() <= 1024));
    }
}
