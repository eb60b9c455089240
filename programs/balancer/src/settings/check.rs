//! The check that settings go together.

use std::net::SocketAddr;

use sociable_program::log::FilterError;
use thiserror::Error;

use super::Settings;

/// Settings that do not go together.
#[derive(Debug, Error)]
pub(crate) enum CheckError {
    #[error("tls-cert has {certificates} files and tls-key {keys}: give one key for each certificate")]
    Pairs { certificates: usize, keys: usize },
    #[error("{0} without {1}: give both, or neither")]
    Alone(&'static str, &'static str),
    #[error(transparent)]
    Log(#[from] FilterError),
    #[error("proxy-protocol without trusted: give the networks of the proxies that send such headers")]
    NobodyTrusted,
    #[error("{0} and {1} are both {2}: give each an address or a port of its own")]
    Twice(&'static str, &'static str, SocketAddr),
    #[error("handover is empty: give a path, or leave it out")]
    NoPath,
}

impl Settings {
    /// Checks that settings go together.
    pub(crate) fn check(&self) -> Result<(), CheckError> {
        match (is_some(&self.tls_listen), is_some(&self.tls_cert)) {
            (true, false) => return Err(CheckError::Alone("tls-listen", "tls-cert")),
            (false, true) => return Err(CheckError::Alone("tls-cert", "tls-listen")),
            _ => {}
        }
        if self.proxy_protocol == Some(true) && !is_some(&self.trusted) {
            return Err(CheckError::NobodyTrusted);
        }
        if self.handover.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(CheckError::NoPath);
        }
        self.check_addresses()?;
        self.pairs().map(drop)
    }

    /// Checks that no address is used twice.
    fn check_addresses(&self) -> Result<(), CheckError> {
        let served = self.plain().into_iter().map(|address| ("listen", address));
        let served = served.chain(self.tls_listen.iter().flatten().map(|address| ("tls-listen", *address)));
        let mut all: Vec<_> = served.collect();
        all.extend(self.admin_addr.map(|address| ("admin-addr", address)));
        for (at, (name, address)) in all.iter().enumerate() {
            if let Some((other, _)) = all[..at].iter().find(|(_, other)| conflict(*address, *other)) {
                return Err(CheckError::Twice(other, name, *address));
            }
        }
        Ok(())
    }
}

/// Returns whether a list has an entry.
fn is_some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// Returns whether one process cannot listen on both.
fn conflict(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && (any || one.ip() == other.ip())
}
