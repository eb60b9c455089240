//! The order in which a key prefers nodes.
//!
//! Only this file uses the crate `consistent_hash`.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use consistent_hash::{DefaultHash, Node as Member, RingHash, StaticHashRing};

/// Points of a node on the ring. More points make the shares more even and the ring longer. The bound on the load
/// absorbs the rest.
const POINTS: usize = 128;

/// A ring of addresses. Replicas with the same addresses have the same ring, on any machine and in any version. When an
/// address is added or removed, only its own keys move.
#[derive(Debug)]
pub(crate) struct Ring {
    addresses: Vec<SocketAddr>,
    points: StaticHashRing<'static, Bytes<[u8; 18]>, usize, Stable>,
}

impl Ring {
    /// A ring of these addresses, which have to differ.
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Self {
        let members = addresses.iter().enumerate().map(|(place, address)| Member { key: bytes(address), value: place, quantity: POINTS });
        Self { points: StaticHashRing::new(Stable, members), addresses }
    }

    /// The addresses that it was made of.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The places of all addresses in the order in which the key prefers them.
    pub(crate) fn preferred(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        self.points.calc_candidates(&Bytes(key)).map(|member| member.value)
    }
}

/// A number from 0 to below 1 that belongs to a key and an address for ever.
pub(crate) fn lot(key: &[u8], address: &SocketAddr) -> f64 {
    let hash = Stable.hash_item(&(bytes(address), Bytes(key)));
    // As many bits as fit.
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// SipHash-1-3 without a key. A client can find keys that prefer one node, but the bound limits the sessions of that
/// node.
#[derive(Debug)]
struct Stable;

impl RingHash for Stable {
    fn hash_item<T: Hash>(&self, item: &T) -> u64 {
        DefaultHash.hash_item(item)
    }

    fn hash_vnode<K: Hash>(&self, node: &K, point: usize) -> u64 {
        self.hash_item(&(node, Bytes((point as u64).to_le_bytes())))
    }
}

/// Bytes that are hashed as they are. The standard library does not promise a stable hash of a slice or an address.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bytes<T>(T);

impl<T: AsRef<[u8]>> Hash for Bytes<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_ref());
    }
}

/// An address as 18 bytes: as IPv6, and the port.
fn bytes(address: &SocketAddr) -> Bytes<[u8; 18]> {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    Bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (0..count).map(|n| SocketAddr::from(([10, 0, 0, n], 3000))).collect()
    }

    fn preferred(ring: &Ring, key: &[u8]) -> Vec<SocketAddr> {
        ring.preferred(key).map(|place| ring.addresses()[place]).collect()
    }

    /// Other replicas, of other versions, count on these.
    #[test]
    fn ring_order_never_changes() {
        let ring = Ring::new(addresses(5));
        let orders = ["", "user-1", "user-2"].map(|key| ring.preferred(key.as_bytes()).collect::<Vec<_>>());
        assert_eq!(orders, PINNED);
        let lot = lot(b"user-1", &"[2001:db8::1]:3000".parse().unwrap());
        assert!((lot - PINNED_LOT).abs() < 1e-9, "{lot}");
    }

    const PINNED: [[usize; 5]; 3] = [[2, 0, 1, 4, 3], [0, 4, 1, 3, 2], [0, 1, 4, 3, 2]];
    const PINNED_LOT: f64 = 0.994_644_664_919_932_6;

    #[test]
    fn empty_ring_prefers_no_node() {
        assert_eq!(Ring::new(Vec::new()).preferred(b"key").count(), 0);
    }

    #[test]
    fn only_keys_of_a_removed_node_move() {
        let all = addresses(8);
        let (before, after) = (Ring::new(all.clone()), Ring::new(all[..7].to_vec()));
        let mut moved = 0;
        for key in 0..4_000_u32 {
            let (was, is) = (preferred(&before, &key.to_le_bytes())[0], preferred(&after, &key.to_le_bytes())[0]);
            if was == all[7] {
                moved += 1;
            } else {
                assert_eq!(was, is);
            }
        }
        assert!((300..800).contains(&moved), "an eighth of 4000 is 500, not {moved}");
    }

    #[test]
    fn lots_are_spread_evenly() {
        let address = "10.0.0.1:3000".parse().unwrap();
        let below = (0..4_000_u32).filter(|key| lot(&key.to_le_bytes(), &address) < 0.25).count();
        assert!((900..1_100).contains(&below), "{below}");
    }

    proptest! {
        #[test]
        fn ring_lists_every_node_once_in_any_order(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            shuffled in Just(addresses(9)).prop_shuffle(),
        ) {
            let order = preferred(&Ring::new(shuffled.clone()), &key);
            prop_assert_eq!(&order, &preferred(&Ring::new(addresses(9)), &key));
            let mut sorted = order;
            sorted.sort();
            prop_assert_eq!(sorted, addresses(9));
        }
    }
}
