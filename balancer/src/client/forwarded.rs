//! The client behind proxies, and the header fields that describe it to the node.
//!
//! An untrusted peer is the client, whatever it claims. A trusted peer names its own peer, which may be trusted in
//! turn. The client is the first untrusted address of this chain, seen from here. All addresses before it are the
//! client's own claims.
//!
//! Two kinds of header fields carry the chain: `X-Forwarded-For`, `-Proto` and `-Host`, and `Forwarded` (RFC 7239). A
//! proxy that writes one kind usually passes the other on unchecked. So only the configured kind counts. The node gets
//! both kinds, written from the accepted values, so they can't contradict each other.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The longest chain that is read, and handed on. Of a longer one the last entries count, which are the nearest.
const MAX_CHAIN: usize = 32;
/// The longest name of a host, with a port.
const MAX_HOST: usize = 261;
/// The suffixes of fields by which proxies name the client: `X-Real-IP`, `Fastly-Client-IP`, `X-Azure-ClientIP`,
/// `Forwarded-For`.
const CLAIM_ENDS: [&[u8]; 9] =
    [b"-ip", b"clientip", b"socketip", b"-ipv4", b"-ipv6", b"remote-addr", b"client-addr", b"client-address", b"forwarded-for"];
/// Other such fields.
const CLAIMS: [&[u8]; 4] = [b"forwarded", b"x-forwarded", b"cloudfront-viewer-address", b"x-envoy-external-address"];
/// The fields that the balancer writes itself.
const WRITTEN: [&[u8]; 4] = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"];

/// The fields that are accepted from a trusted peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded`.
    Forwarded,
}

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarding {
    trusted: Vec<IpNet>,
    forwarded_header: ForwardedHeader,
    /// Further names of fields that clients may not send.
    dropped: Vec<String>,
}

/// The origin of a request.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    peer: IpAddr,
    peer_is_trusted: bool,
    dropped: &'a [String],
    /// True if the peer used TLS.
    tls: bool,
    /// The host that the peer asked for.
    peer_host: Option<&'a [u8]>,
    /// The addresses before the peer, nearest first.
    chain: Vec<IpAddr>,
    /// The place of the client in `chain`, if it is not the peer.
    client: Option<usize>,
    /// The client's use of TLS, and the host that it requested.
    secure: bool,
    host: Option<&'a [u8]>,
}

/// The claims of a trusted peer.
#[derive(Default)]
struct Claims<'a> {
    chain: Vec<IpAddr>,
    client: Option<usize>,
    proto: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl Forwarding {
    /// Peers in these networks are trusted. Fields with the `dropped` names are not taken from others.
    pub(crate) fn new(trusted: Vec<IpNet>, forwarded_header: ForwardedHeader, dropped: Vec<String>) -> Self {
        Self { trusted, forwarded_header, dropped }
    }

    /// Returns true if the claims of a peer with this address are accepted.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Returns the origin of a request from its peer, its use of TLS, its host and its header fields.
    pub(crate) fn read<'a>(
        &'a self,
        peer: IpAddr,
        tls: bool,
        host: Option<&'a [u8]>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Origin<'a> {
        let peer = peer.to_canonical();
        let peer_host = host.filter(|host| is_host(host));
        let peer_is_trusted = self.trusts(peer);
        let claims = match self.forwarded_header {
            _ if !peer_is_trusted => Claims::default(),
            ForwardedHeader::XForwarded => self.x_forwarded(fields),
            ForwardedHeader::Forwarded => self.forwarded(fields),
        };
        Origin {
            peer,
            peer_is_trusted,
            dropped: &self.dropped,
            tls,
            peer_host,
            secure: claims.proto.and_then(is_secure).unwrap_or(tls),
            host: claims.host.filter(|host| is_host(host)).or(peer_host),
            chain: claims.chain,
            client: claims.client,
        }
    }

    /// Returns the place of the client in a chain whose nearest address comes first. If all are trusted, the client is
    /// the most distant.
    fn client(&self, chain: impl ExactSizeIterator<Item = IpAddr> + Clone) -> Option<usize> {
        chain.clone().position(|address| !self.trusts(address)).or(chain.len().checked_sub(1))
    }

    fn x_forwarded<'a>(&self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Claims<'a> {
        let chain: Vec<_> = values(fields.clone(), b"x-forwarded-for")
            .iter()
            .rev()
            .flat_map(|line| items(line))
            // An entry that is no address can't be trusted, nor can the entries before it.
            .map_while(address)
            .take(MAX_CHAIN)
            .collect();
        let client = self.client(chain.iter().copied());
        // Proxies that append have one value for each of the chain; others hand on or write a single one.
        let of_client = |name| {
            let lines = values(fields.clone(), name);
            let mut from_the_end = lines.iter().rev().flat_map(|line| items(line)).take(client.unwrap_or(0) + 1);
            let last = from_the_end.next()?;
            Some(from_the_end.last().unwrap_or(last))
        };
        Claims { proto: of_client(b"x-forwarded-proto"), host: of_client(b"x-forwarded-host"), client, chain }
    }

    fn forwarded<'a>(&self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Claims<'a> {
        let mut elements = Vec::new();
        for line in values(fields, b"forwarded") {
            read_elements(line, &mut elements);
        }
        elements.reverse();
        let client = self.client(elements.iter().map(|element| element.address));
        let element = client.and_then(|place| elements.get(place));
        Claims {
            proto: element.and_then(|element| element.proto),
            host: element.and_then(|element| element.host),
            client,
            chain: elements.iter().map(|element| element.address).collect(),
        }
    }
}

impl<'a> Origin<'a> {
    /// The client's address.
    pub(crate) fn client(&self) -> IpAddr {
        self.client.and_then(|place| self.chain.get(place)).copied().unwrap_or(self.peer)
    }

    /// Returns true if the client used TLS, to this balancer or to a proxy in front.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host that the client asked for, if it is one.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn host(&self) -> Option<&'a [u8]> {
        self.host
    }

    /// Returns true if a field must not be copied to the node. These are the fields that [`write`](Self::write) writes,
    /// and all claims of an untrusted peer about the client.
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        let is = |other: &[u8]| is_same_name(name, other);
        if self.peer_is_trusted {
            return WRITTEN.into_iter().any(is);
        }
        let begins_with = |start: &[u8]| name.get(..start.len()).is_some_and(|begin| is_same_name(begin, start));
        let ends_with = |end: &[u8]| name.len().checked_sub(end.len()).is_some_and(|at| is_same_name(&name[at..], end));
        begins_with(b"x-forwarded-")
            || CLAIM_ENDS.into_iter().any(ends_with)
            || CLAIMS.into_iter().any(is)
            || self.dropped.iter().any(|dropped| is(dropped.as_bytes()))
    }

    /// Writes the header fields for the node: all that is believed, and the peer as the last in the chain.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        for address in self.chain.iter().rev() {
            print(out, format_args!("{address}, "));
        }
        print(out, format_args!("{}\r\nX-Forwarded-Proto: {}\r\n", self.peer, scheme(self.secure)));
        if let Some(host) = self.host {
            out.extend_from_slice(b"X-Forwarded-Host: ");
            out.extend_from_slice(host);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"Forwarded: ");
        for (place, address) in self.chain.iter().enumerate().rev() {
            write_for(out, *address);
            if self.client == Some(place) {
                write_request(out, self.secure, self.host);
            }
            out.extend_from_slice(b", ");
        }
        write_for(out, self.peer);
        // A peer that is the client gets its claimed host. Otherwise the peer's own host counts.
        let host = if self.client.is_none() { self.host } else { self.peer_host };
        write_request(out, if self.client.is_none() { self.secure } else { self.tls }, host);
        out.extend_from_slice(b"\r\n");
    }
}

/// Returns true for two names that an application may treat as one: many read `X_Real_IP` as `X-Real-IP`.
fn is_same_name(name: &[u8], other: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == other.len() && name.iter().zip(other).all(|(one, other)| fold(*one) == fold(*other))
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

fn write_for(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => print(out, format_args!("for={address}")),
        IpAddr::V6(address) => print(out, format_args!("for=\"[{address}]\"")),
    }
}

fn write_request(out: &mut Vec<u8>, secure: bool, host: Option<&[u8]>) {
    print(out, format_args!(";proto={}", scheme(secure)));
    if let Some(host) = host {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(host);
        out.push(b'"');
    }
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes all.
    drop(out.write_fmt(text));
}

/// The values of all fields of this name, in their order.
fn values<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, name: &[u8]) -> Vec<&'a [u8]> {
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// The items of a list, the last first.
fn items(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// An address, with or without a port, an IPv6 one with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6))?;
    Some(address.to_canonical())
}

/// Returns whether a scheme uses TLS, or `None` for an unsupported scheme.
fn is_secure(scheme: &[u8]) -> Option<bool> {
    let is = |other: &&[u8]| scheme.eq_ignore_ascii_case(other);
    match () {
        () if [&b"https"[..], b"wss"].iter().any(is) => Some(true),
        () if [&b"http"[..], b"ws"].iter().any(is) => Some(false),
        () => None,
    }
}

/// Returns true for the characters of a host name or address, with or without a port.
fn is_host(text: &[u8]) -> bool {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    (1..=MAX_HOST).contains(&text.len()) && text.iter().all(valid)
}

/// One hop of `Forwarded`.
struct Element<'a> {
    address: IpAddr,
    proto: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

/// Reads the elements of a line of `Forwarded` behind the earlier ones. An element that is malformed or has no address
/// can't be trusted. Such an element removes all before it.
fn read_elements<'a>(mut line: &'a [u8], elements: &mut Vec<Element<'a>>) {
    loop {
        let (address, proto, host, rest) = match read_element(line) {
            Some(read) => read,
            // The end of the quotation is unknown.
            None => return elements.clear(),
        };
        match address {
            Some(address) => {
                if elements.len() == MAX_CHAIN {
                    elements.remove(0);
                }
                elements.push(Element { address, proto, host });
            }
            None => elements.clear(),
        }
        match rest {
            Some(rest) => line = rest,
            None => return,
        }
    }
}

type ReadElement<'a> = (Option<IpAddr>, Option<&'a [u8]>, Option<&'a [u8]>, Option<&'a [u8]>);

/// The address, scheme and host of the first element, and what follows behind its comma.
fn read_element(mut line: &[u8]) -> Option<ReadElement<'_>> {
    let (mut node, mut proto, mut host) = (None, None, None);
    loop {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let (name, rest) = (line[..equals].trim_ascii(), &line[equals + 1..]);
        let (value, rest) = read_value(rest)?;
        let slot = match () {
            () if name.eq_ignore_ascii_case(b"for") => Some(&mut node),
            () if name.eq_ignore_ascii_case(b"proto") => Some(&mut proto),
            () if name.eq_ignore_ascii_case(b"host") => Some(&mut host),
            () => None,
        };
        if let Some(slot) = slot
            && slot.replace(value).is_some()
        {
            // Each may be said once.
            return None;
        }
        let rest = rest.trim_ascii_start();
        match rest.split_first() {
            Some((b';', rest)) => line = rest,
            Some((b',', rest)) => return Some((node.and_then(address), proto, host, Some(rest))),
            Some(_) => return None,
            None => return Some((node.and_then(address), proto, host, None)),
        }
    }
}

/// A token or a quoted string, and what follows. No accepted value needs escapes, so escapes stay unchanged.
fn read_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(quoted) = line.strip_prefix(b"\"") else {
        let end = line.iter().position(|byte| b";, \t\"".contains(byte)).unwrap_or(line.len());
        return Some(line.split_at(end));
    };
    let mut escaped = false;
    let end = quoted.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    Some((&quoted[..end], &quoted[end + 1..]))
}

#[cfg(test)]
mod tests;
