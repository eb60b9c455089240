//! The limits on namespaces that clients create by their names.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sociable_engine::Handshake;
use sociable_protocol::maps::Map;

/// The shortest interval between two searches for empty namespaces.
const SWEEP: Duration = Duration::from_secs(1);

/// The number of live namespaces that each address has created.
type Addresses = Arc<Mutex<Map<IpAddr, usize>>>;
type AddressOf = Arc<dyn Fn(&Handshake) -> Option<IpAddr> + Send + Sync>;

/// The limits, and the counts of what clients have created so far.
#[derive(Clone)]
pub(crate) struct NamespaceLimits {
    /// Whether a namespace is dropped with its last socket.
    pub(crate) cleanup: bool,
    pub(crate) max: usize,
    pub(crate) of_session: usize,
    pub(crate) of_address: usize,
    pub(crate) address_of: AddressOf,
    addresses: Addresses,
    swept: Arc<Mutex<Option<Instant>>>,
}

impl Default for NamespaceLimits {
    fn default() -> Self {
        Self {
            cleanup: true,
            max: 100_000,
            of_session: 100,
            of_address: 10_000,
            address_of: Arc::new(|handshake| handshake.peer_addr().map(|peer| peer.ip().to_canonical()).filter(is_public)),
            addresses: Arc::default(),
            swept: Arc::default(),
        }
    }
}

impl fmt::Debug for NamespaceLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceLimits").field("max", &self.max).field("of_session", &self.of_session).finish_non_exhaustive()
    }
}

/// The number of live namespaces that one session has created.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made(Arc<AtomicUsize>);

impl NamespaceLimits {
    /// Charges a namespace to the session and to the address. `None` if either has reached its limit.
    pub(crate) fn charge(&self, made: &Made, handshake: &Handshake) -> Option<Charge> {
        made.0.fetch_update(Relaxed, Relaxed, |count| (count < self.of_session).then_some(count + 1)).ok()?;
        // From here on, dropping the charge undoes the count.
        let mut charge = Charge { made: made.clone(), address: None };
        if let Some(address) = (self.address_of)(handshake).map(network) {
            let mut addresses = self.addresses.lock();
            let count = addresses.entry(address).or_default();
            if *count >= self.of_address {
                if *count == 0 {
                    addresses.remove(&address);
                }
                return None;
            }
            *count += 1;
            drop(addresses);
            charge.address = Some((Arc::clone(&self.addresses), address));
        }
        Some(charge)
    }

    /// Returns true if a search for empty namespaces is due. A search through all of them at each request would be an attack of its own.
    pub(crate) fn may_sweep(&self) -> bool {
        let mut swept = self.swept.lock();
        let due = swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
        if due {
            *swept = Some(Instant::now());
        }
        due
    }
}

/// A charge for one namespace. Dropping it returns the charge.
#[derive(Debug)]
pub(crate) struct Charge {
    made: Made,
    address: Option<(Addresses, IpAddr)>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.made.0.fetch_sub(1, Relaxed);
        if let Some((addresses, address)) = &self.address {
            let mut addresses = addresses.lock();
            if let Some(count) = addresses.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(address);
                }
            }
        }
    }
}

/// Returns the unit that is counted as one client: for IPv6 the network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Returns whether an address may be that of a client. Private addresses belong to proxies.
fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn private_addresses_belong_to_proxies() {
        for proxy in ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.20.0.3", "100.64.0.1", "::1", "fd00::7", "fe80::1"] {
            assert!(!is_public(&address(proxy)), "{proxy}");
        }
        for client in ["203.0.113.7", "100.128.0.1", "2001:db8::1"] {
            assert!(is_public(&address(client)), "{client}");
        }
    }

    #[test]
    fn ipv6_network_counts_as_one_address() {
        assert_eq!(network(address("2001:db8:1:2:3::4")), network(address("2001:db8:1:2:ffff::1")));
        assert_ne!(network(address("2001:db8:1:2::4")), network(address("2001:db8:1:3::4")));
        assert_eq!(network(address("::ffff:203.0.113.7")), address("203.0.113.7"));
    }
}
