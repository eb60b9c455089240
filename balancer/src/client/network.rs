//! The addresses that count as one client.

use std::net::IpAddr;

/// Returns a number for the network of an address. An IPv4 address counts alone, also in its IPv6 form. An IPv6 address
/// counts with its /64, because one client usually has all of it.
pub(crate) fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // No routed IPv6 network starts with 32 zero bits.
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> u64 {
        network(address.parse().unwrap())
    }

    #[test]
    fn ipv6_network_counts_as_one_client() {
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn ipv4_address_counts_alone_in_every_form() {
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
    }
}
