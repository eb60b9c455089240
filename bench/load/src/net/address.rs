//! The address of a server on this machine.

use std::net::{AddrParseError, Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use thiserror::Error;

/// The address of a server: `127.0.0.1:3000`, with `ws://` or `http://` and a path if wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    socket: SocketAddrV4,
    path: String,
}

/// The reason why a text is no address of a server.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is no IPv4 address with a port.
    #[error("cannot read the address {0:?}: {1}; give IP:PORT")]
    Unreadable(String, AddrParseError),
    /// The address is not one of this machine.
    #[error("{0} is no loopback address: only servers in 127.0.0.0/8 are measured")]
    NotLoopback(Ipv4Addr),
    /// The path has characters that break a request line.
    #[error("the path has a space or control character")]
    Path,
}

impl Address {
    /// Returns the address and the port.
    pub fn socket(&self) -> SocketAddrV4 {
        self.socket
    }

    /// Returns the path, without parameters.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_prefix("ws://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let (host, path) = text.find('/').map_or((text, ""), |slash| text.split_at(slash));
        let socket: SocketAddrV4 = host.parse().map_err(|error| AddressError::Unreadable(host.into(), error))?;
        // `is_loopback` is true for 127.0.0.0/8 alone.
        if !socket.ip().is_loopback() {
            return Err(AddressError::NotLoopback(*socket.ip()));
        }
        let path = path.split('?').next().unwrap_or_default();
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::Path);
        }
        Ok(Self { socket, path: if path.len() > 1 { path.into() } else { "/socket.io/".into() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_this_machine_is_read() {
        for text in ["127.0.0.1:80", "ws://127.0.0.1:80", "http://127.0.0.1:80/", "ws://127.0.0.1:80/socket.io/?EIO=4"] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.socket().port(), address.path()), (80, "/socket.io/"), "{text}");
        }
        assert_eq!("127.9.8.7:1/other/".parse::<Address>().unwrap().path(), "/other/");
    }

    #[test]
    fn address_of_another_machine_is_refused() {
        for text in ["10.0.0.1:80", "128.0.0.1:80", "0.0.0.0:80", "255.255.255.255:80"] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::NotLoopback(_))), "{text}");
        }
        for text in ["localhost:80", "[::1]:80", "example.org:80", "127.0.0.1", "wss://127.0.0.1:80", "127.0.0.1.example.org:80", ""] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Unreadable(..))), "{text}");
        }
        assert_eq!("127.0.0.1:80/a b".parse::<Address>(), Err(AddressError::Path));
    }
}
