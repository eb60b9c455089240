//! Unresolved addresses of nodes, from the configuration and announcements.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hickory_resolver::proto::rr::Name;

use super::error::DiscoveryError;

/// An unresolved address of a node: a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

impl HostPort {
    /// Returns the address, unless it was given by a name.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Address(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// Returns an address by a name.
    pub(super) fn named(name: String, port: u16) -> Self {
        Self { host: Host::Name(name), port }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// Returns true if a resolver can resolve the text.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.bytes().all(fits) && Name::from_ascii(text).is_ok()
}

impl FromStr for HostPort {
    type Err = DiscoveryError;

    fn from_str(text: &str) -> Result<Self, DiscoveryError> {
        let wrong = || DiscoveryError::HostPort(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(wrong()) } else { Ok(address.into()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        // A name that looks like an address is not looked up: 10.0.0.256.
        let numeric =
            host.strip_suffix('.').unwrap_or(host).rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if numeric || !is_name(host) {
            return Err(wrong());
        }
        Ok(Self { host: Host::Name(host.to_owned()), port })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip()), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.socket_addr()) {
            (_, Some(address)) => address.fmt(f),
            (Host::Name(name), _) => write!(f, "{name}:{}", self.port),
            (Host::Address(ip), None) => write!(f, "{ip}:{}", self.port),
        }
    }
}

/// A name that stands for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsTarget {
    /// All its IPv4 and IPv6 addresses are nodes, at this port: `dns://NAME:PORT`.
    Addresses(HostPort),
    /// All hosts of a service are nodes, at the ports of its records: `srv://_socketio._tcp.NAME`. Priorities and
    /// weights are ignored.
    Service(String),
}

impl FromStr for DnsTarget {
    type Err = DiscoveryError;

    fn from_str(text: &str) -> Result<Self, DiscoveryError> {
        let wrong = || DiscoveryError::DnsTarget(text.to_owned());
        match text.split_once("://") {
            Some(("dns", name)) => {
                // An address needs no looking up.
                let name = name.parse::<HostPort>().ok().filter(|name| name.socket_addr().is_none());
                name.map(Self::Addresses).ok_or_else(wrong)
            }
            Some(("srv", name)) if is_name(name) => Ok(Self::Service(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for DnsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(name) => write!(f, "dns://{name}"),
            Self::Service(name) => write!(f, "srv://{name}"),
        }
    }
}
