//! The affinity of new sessions: the part of a request that prefers a node.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

use crate::client::network::network;

/// The property that new sessions share to prefer the same node, as far as it has room. Affinity is for locality, for
/// example of caches, and not for correctness.
///
/// ```
/// use sociable_balancer_core::Affinity;
///
/// let affinity: Affinity = "cookie:user".parse()?;
/// assert_eq!(affinity, Affinity::Cookie("user".to_owned()));
/// assert!("cookie".parse::<Affinity>().is_err());
/// # Ok::<(), sociable_balancer_core::AffinityError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Affinity {
    /// No affinity: a session is placed at the node with the fewest.
    #[default]
    None,
    /// The client's address; of IPv6, its first 64 bits.
    Address,
    /// The value of a cookie.
    Cookie(String),
    /// The value of a parameter in the query.
    Query(String),
    /// The value of a header field. The name is in lower case.
    Header(String),
}

/// An error of a text for an [`Affinity`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AffinityError {
    /// The text has another prefix.
    #[error("invalid affinity {0:?}; write `none`, `address`, `cookie:NAME`, `query:NAME` or `header:NAME`")]
    Unknown(String),
    /// The name is missing or malformed.
    #[error("invalid name {1:?} of a {0}; write for instance `{0}:user-id`, with letters, digits and any of !#$%&'*+-.^_`|~")]
    Name(&'static str, String),
}

impl Affinity {
    /// The key of a request: equal keys prefer the same node. None if the request has none, or an empty one.
    ///
    /// `header` returns the value of a header field by its name in lower case.
    pub fn key<'a>(&self, client: IpAddr, query: Option<&'a str>, header: impl FnOnce(&str) -> Option<&'a [u8]>) -> Option<Cow<'a, [u8]>> {
        let key = match self {
            Self::None => None,
            Self::Address => Some(Cow::Owned(network(client).to_be_bytes().to_vec())),
            Self::Cookie(name) => cookie(header("cookie")?, name.as_bytes()).map(Cow::Borrowed),
            Self::Query(name) => form_urlencoded::parse(query?.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| match value {
                Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
                Cow::Owned(value) => Cow::Owned(value.into_bytes()),
            }),
            Self::Header(name) => header(name).map(Cow::Borrowed),
        };
        key.filter(|key| !key.is_empty())
    }
}

/// The value of the first cookie of this name.
fn cookie<'a>(cookies: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    cookies.split(|byte| *byte == b';').find_map(|cookie| cookie.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

impl TryFrom<String> for Affinity {
    type Error = AffinityError;

    fn try_from(text: String) -> Result<Self, AffinityError> {
        text.parse()
    }
}

impl FromStr for Affinity {
    type Err = AffinityError;

    fn from_str(text: &str) -> Result<Self, AffinityError> {
        match text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name))) {
            ("none", None) => Ok(Self::None),
            ("address", None) => Ok(Self::Address),
            ("cookie", given) => Ok(Self::Cookie(name("cookie", given)?)),
            ("query", given) => Ok(Self::Query(name("query", given)?)),
            ("header", given) => Ok(Self::Header(name("header", given)?.to_ascii_lowercase())),
            _ => Err(AffinityError::Unknown(text.to_owned())),
        }
    }
}

fn name(kind: &'static str, given: Option<&str>) -> Result<String, AffinityError> {
    let given = given.unwrap_or_default();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !given.is_empty() && given.bytes().all(valid) {
        true => Ok(given.to_owned()),
        false => Err(AffinityError::Name(kind, given.to_owned())),
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Address => f.write_str("address"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn key(affinity: &str, query: &'static str, header: (&str, &'static str)) -> Option<String> {
        let affinity: Affinity = affinity.parse().unwrap();
        let key = affinity.key(CLIENT, Some(query), |name| (name == header.0).then_some(header.1.as_bytes()))?;
        Some(String::from_utf8(key.into_owned()).unwrap())
    }

    #[test]
    fn affinity_reads_what_it_writes() {
        for text in ["none", "address", "cookie:io", "query:user", "header:x-user"] {
            assert_eq!(text.parse::<Affinity>().unwrap().to_string(), text);
        }
        assert_eq!("header:X-User".parse(), Ok(Affinity::Header("x-user".to_owned())));
    }

    #[test]
    fn affinity_error_names_a_remedy() {
        for text in ["", "ip", "address:x", "Cookie:x"] {
            let error = text.parse::<Affinity>().unwrap_err().to_string();
            assert!(error.contains("`cookie:NAME`"), "{error}");
        }
        for text in ["cookie", "cookie:", "cookie:a b", "cookie:a;b", "cookie:a:b"] {
            let error = text.parse::<Affinity>().unwrap_err().to_string();
            assert!(error.contains("`cookie:user-id`"), "{error}");
        }
    }

    #[test]
    fn affinity_finds_the_key() {
        assert_eq!(key("none", "user=7", ("cookie", "user=7")), None);
        assert_eq!(key("cookie:io", "", ("cookie", "a=1; io=x%20y ;iota=3")).as_deref(), Some("x%20y"));
        assert_eq!(key("query:user", "EIO=4&user=a%20b&user=c", ("", "")).as_deref(), Some("a b"));
        assert_eq!(key("header:X-User", "", ("x-user", "7")).as_deref(), Some("7"));
    }

    #[test]
    fn empty_key_counts_as_none() {
        assert_eq!(key("cookie:io", "", ("cookie", "a=1; iota=3")), None);
        assert_eq!(key("cookie:io", "", ("cookie", "io=")), None);
        assert_eq!(key("query:user", "EIO=4&users=1", ("", "")), None);
        assert_eq!(key("query:user", "user", ("", "")), None);
        assert_eq!(key("header:x-user", "", ("x-user", "")), None);
    }

    #[test]
    fn address_key_is_its_network() {
        let of = |address: &str| Affinity::Address.key(address.parse().unwrap(), None, |_| None);
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
