//! Fields by which proxies name the client, as the balancer reads and writes them.

use std::net::{IpAddr, Ipv4Addr};

use sociable_balancer_core::fuzzing::{Header, Origin, origin, replaces};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// The balancer itself, to the one behind it.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// The most addresses that are handed on.
const MAX_CHAIN: usize = 32;

/// The fields of a request, one a line.
pub fn forwarded(input: &[u8]) {
    let fields: Vec<_> = input.split(|byte| *byte == b'\n').filter_map(field).collect();
    for header in [Header::XForwarded, Header::Forwarded] {
        let claimed = origin(header, CLIENT, false, Some(b"example.com:80"), &fields);
        assert_eq!(claimed, origin(header, CLIENT, false, Some(b"example.com:80"), &[]), "a client's claims are of no matter");
        for tls in [false, true] {
            let believed = origin(header, PROXY, tls, Some(b"example.com:80"), &fields);
            assert_eq!(believed.client, believed.client.to_canonical());
            is_handed_on(&believed);
        }
    }
    for (name, _) in &fields {
        // A trusted peer may set every field that an untrusted one may.
        assert!(!replaces(PROXY, name) || replaces(CLIENT, name));
    }
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()))
}

/// A balancer behind this one reads the same origin from both kinds of fields. No value contains a line end.
fn is_handed_on(origin_here: &Origin) {
    let lines = origin_here.written.strip_suffix(b"\r\n").expect("lines end").split(|byte| *byte == b'\n');
    let lines: Vec<_> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    assert!(lines.iter().all(|line| line.iter().all(|byte| (b' '..=b'~').contains(byte))));
    let fields: Vec<_> = lines.into_iter().filter_map(field).collect();
    assert_eq!(fields.len(), 3 + usize::from(origin_here.host.is_some()));
    assert!(fields.iter().all(|(name, _)| replaces(PROXY, name) && replaces(CLIENT, name)));
    let chain = fields[0].1.split(|byte| *byte == b',').count();
    assert!(chain <= MAX_CHAIN + 1, "a chain and the peer");
    if chain > MAX_CHAIN {
        // The first of them is cut off at the next.
        return;
    }
    for header in [Header::XForwarded, Header::Forwarded] {
        let next = origin(header, BALANCER, false, None, &fields);
        assert_eq!((next.client, next.secure, &next.host), (origin_here.client, origin_here.secure, &origin_here.host), "{header:?}");
    }
}
