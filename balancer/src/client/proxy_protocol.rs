//! Version 2 of the PROXY protocol. A load balancer in front sends the client's address once, before anything else.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// The first bytes of a header.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// The longest header that is read: what fits into the first segment whatever the way.
pub(crate) const MAX_HEADER: usize = 536;

/// The addresses of a connection, from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Client and server as the sender saw them. `None` for a health check of the sender, or a client without an IP
    /// address. The connection's own addresses then count.
    pub addresses: Option<Addresses>,
    /// The bytes of the header. The client's bytes follow.
    pub length: usize,
}

/// The ends of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// To whom it connected.
    pub destination: SocketAddr,
}

/// A reason why the bytes are no header. The connection's client is unknown, so the connection is closed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum ProxyProtocolError {
    /// The bytes start with something else.
    #[error("no PROXY protocol header; let the sender send one, or remove its address from the PROXY networks")]
    Signature,
    /// The bytes start as a header of version 1.
    #[error("PROXY protocol header of version 1; let the sender use version 2 (`send-proxy-v2`)")]
    Version1,
    /// The version is another one.
    #[error("version {0} of the PROXY protocol; let the sender use version 2")]
    Version(u8),
    /// The command is not known.
    #[error("unknown command {0} of the PROXY protocol")]
    Command(u8),
    /// The family or the transport is not known, or none that a TCP connection can have.
    #[error("unknown family and transport {0:#04x} of the PROXY protocol")]
    Family(u8),
    /// The header says that it is longer than is read.
    #[error("PROXY protocol header of {0} bytes exceeds 536; let the sender omit extensions")]
    TooLong(usize),
    /// The header is shorter than the addresses that it should hold.
    #[error("PROXY protocol header too short for its addresses")]
    TooShort,
    /// An extension goes beyond the end of the header.
    #[error("PROXY protocol header with a truncated extension")]
    Extension,
}

/// Reads the header at the beginning of `bytes`. None if more bytes are needed; that a header can't come of these is said as early as it shows.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyProtocolError> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(if bytes.starts_with(b"PROXY ") { ProxyProtocolError::Version1 } else { ProxyProtocolError::Signature });
    }
    let Some((&[.., command, family, high, low], rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    if command >> 4 != 2 {
        return Err(ProxyProtocolError::Version(command >> 4));
    }
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(ProxyProtocolError::TooLong(length));
    }
    let Some(body) = rest.get(..length - FIXED) else { return Ok(None) };
    let addresses = match command & 0xf {
        // LOCAL: whatever else is said does not count.
        0 => None,
        1 => addresses(family, body)?,
        other => return Err(ProxyProtocolError::Command(other)),
    };
    Ok(Some(Header { addresses, length }))
}

fn addresses(family: u8, body: &[u8]) -> Result<Option<Addresses>, ProxyProtocolError> {
    let (addresses, extensions) = match family {
        // UNSPEC: the rest is ignored.
        0x00 => return Ok(None),
        0x11 => {
            let (&[a, b, c, d, e, f, g, h, ports @ ..], rest) = split::<12>(body)?;
            (Some(pair(Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h), ports)), rest)
        }
        0x21 => {
            let (source, rest) = split::<16>(body)?;
            let (destination, rest) = split::<16>(rest)?;
            let (ports, rest) = split::<4>(rest)?;
            (Some(pair(Ipv6Addr::from(*source), Ipv6Addr::from(*destination), *ports)), rest)
        }
        // Two paths of UNIX sockets.
        0x31 => (None, split::<216>(body)?.1),
        other => return Err(ProxyProtocolError::Family(other)),
    };
    skip(extensions)?;
    Ok(addresses)
}

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), ProxyProtocolError> {
    bytes.split_first_chunk().ok_or(ProxyProtocolError::TooShort)
}

/// An IPv4 address in IPv6 form becomes an IPv4 address, because trusted and limited networks are given as such.
fn pair(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, [a, b, c, d]: [u8; 4]) -> Addresses {
    let end = |address: IpAddr, port| SocketAddr::new(address.to_canonical(), u16::from_be_bytes(port));
    Addresses { source: end(source.into(), [a, b]), destination: end(destination.into(), [c, d]) }
}

/// Looks that the extensions (a type, a length in two bytes, so many bytes) fill the rest, and no more.
fn skip(mut extensions: &[u8]) -> Result<(), ProxyProtocolError> {
    while !extensions.is_empty() {
        let (&[_, high, low], rest) = extensions.split_first_chunk::<3>().ok_or(ProxyProtocolError::Extension)?;
        extensions = rest.get(usize::from(u16::from_be_bytes([high, low]))..).ok_or(ProxyProtocolError::Extension)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    /// The header of a connection from 192.0.2.1:54321 to 198.51.100.1:443.
    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xd4, 0x31, 1, 0xbb];

    fn v6(source: &str, destination: &str) -> Vec<u8> {
        let octets = |address: &str| address.parse::<Ipv6Addr>().unwrap().octets();
        [&octets(source)[..], &octets(destination), &[0xd4, 0x31, 1, 0xbb]].concat()
    }

    fn ends(source: &str, destination: &str) -> Option<Addresses> {
        Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    #[test]
    fn proxy_header_names_the_client() {
        let v4 = ends("192.0.2.1:54321", "198.51.100.1:443");
        let v6_ends = ends("[2001:db8::1]:54321", "[2001:db8::2]:443");
        for (family, body, addresses) in [
            (0x11, V4.to_vec(), v4),
            (0x21, v6("2001:db8::1", "2001:db8::2"), v6_ends),
            (0x21, v6("::ffff:192.0.2.1", "::ffff:198.51.100.1"), v4),
            (0x31, vec![b'/'; 216], None),
            (0x00, vec![], None),
            (0x00, vec![1, 2, 3], None),
        ] {
            let bytes = header(0x21, family, &body);
            assert_eq!(parse(&bytes), Ok(Some(Header { addresses, length: bytes.len() })), "{family:#x}");
        }
    }

    #[test]
    fn proxy_header_ends_before_the_request() {
        let bytes = [header(0x21, 0x11, &V4), b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat();
        assert_eq!(parse(&bytes).unwrap().unwrap().length, 28);
    }

    #[test]
    fn local_proxy_header_names_no_client() {
        for (family, body) in [(0x00, &[][..]), (0x11, &V4[..]), (0x11, &[1, 2]), (0xff, &[1, 2])] {
            let bytes = header(0x20, family, body);
            assert_eq!(parse(&bytes), Ok(Some(Header { addresses: None, length: bytes.len() })));
        }
    }

    #[test]
    fn proxy_header_extensions_are_skipped() {
        let extensions = [&[0x03, 0, 4, 1, 2, 3, 4][..], &[0x04, 0, 0], &[0xea, 0, 2, 0xff, 0xff]].concat();
        let with = |body: &[u8]| header(0x21, 0x11, &[&V4, body].concat());
        assert_eq!(parse(&with(&extensions)).unwrap().unwrap().addresses, ends("192.0.2.1:54321", "198.51.100.1:443"));
        for cut in [1, 2, 3, 6, 8] {
            assert_eq!(parse(&with(&extensions[..cut])), Err(ProxyProtocolError::Extension), "{cut}");
        }
    }

    #[test]
    fn bad_proxy_header_is_refused_at_once() {
        assert_eq!(parse(b"G"), Err(ProxyProtocolError::Signature));
        assert_eq!(parse(b"\r\n\r\nGET"), Err(ProxyProtocolError::Signature));
        assert_eq!(parse(b"PROXY TCP4 192.0.2.1 198.51.100.1 54321 443\r\n"), Err(ProxyProtocolError::Version1));
        assert_eq!(parse(&header(0x11, 0x11, &V4)), Err(ProxyProtocolError::Version(1)));
        assert_eq!(parse(&header(0x22, 0x11, &V4)), Err(ProxyProtocolError::Command(2)));
        assert_eq!(parse(&header(0x21, 0x11, &V4[..11])), Err(ProxyProtocolError::TooShort));
        assert_eq!(parse(&header(0x21, 0x21, &[0; 35])), Err(ProxyProtocolError::TooShort));
        assert_eq!(parse(&header(0x21, 0x31, &[0; 215])), Err(ProxyProtocolError::TooShort));
        // The longest is known before it has come.
        assert_eq!(parse(&header(0x21, 0x11, &[0; 521])[..FIXED]), Err(ProxyProtocolError::TooLong(537)));
        assert!(matches!(parse(&header(0x20, 0x00, &[0; 520])), Ok(Some(_))));
        // Datagrams, and what does not exist.
        for family in [0x01, 0x12, 0x22, 0x32, 0x10, 0x41, 0x13, 0xff] {
            assert_eq!(parse(&header(0x21, family, &[0; 216])), Err(ProxyProtocolError::Family(family)));
        }
    }

    proptest! {
        /// Half a header is no header, and what follows one does not matter: nothing is read beyond it.
        #[test]
        fn proxy_header_is_read_when_it_is_whole(
            command in prop_oneof![Just(0x20_u8), Just(0x21), any::<u8>()],
            family in prop_oneof![Just(0x00_u8), Just(0x11), Just(0x21), Just(0x31), any::<u8>()],
            body in prop_oneof![Just(V4.to_vec()), proptest::collection::vec(any::<u8>(), 0..530)],
            rest in proptest::collection::vec(any::<u8>(), 0..40),
            broken in proptest::option::of((0..28_usize, any::<u8>())),
        ) {
            let mut bytes = header(command, family, &body);
            if let Some((at, byte)) = broken {
                let at = at.min(bytes.len() - 1);
                bytes[at] = byte;
            }
            bytes.extend(rest);
            match parse(&bytes) {
                Ok(Some(header)) => {
                    prop_assert!((FIXED..=MAX_HEADER).contains(&header.length) && header.length <= bytes.len());
                    prop_assert_eq!(parse(&bytes[..header.length]), Ok(Some(header)));
                    for end in 0..header.length {
                        prop_assert_eq!(parse(&bytes[..end]), Ok(None));
                    }
                }
                Ok(None) => prop_assert!(bytes.len() < MAX_HEADER),
                Err(error) => {
                    // A shorter input was not taken for a header either.
                    for end in 0..bytes.len() {
                        let before = parse(&bytes[..end]);
                        prop_assert!(before == Ok(None) || before == Err(error) || error == ProxyProtocolError::Version1);
                    }
                }
            }
        }

        #[test]
        fn parser_does_not_panic_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(!matches!(parse(&bytes), Ok(Some(_))));
            let signed = [&SIGNATURE[..], &bytes].concat();
            prop_assert!(parse(&signed).map_or(true, |header| header.is_none_or(|header| header.length <= signed.len())));
        }
    }
}
