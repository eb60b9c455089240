//! The URL of a webhook, and how its events are delivered.

use std::fmt;

use reqwest::Url;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// The URL of a backend: `http` or `https`, without a name, a password or a fragment. [`Debug`] does not show the query.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HookUrl(Url);

/// The reason why a text is no URL of a backend.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlFault {
    /// The text is no URL.
    #[error("the text is no URL: write it as http://HOST:PORT/PATH")]
    Form,
    /// The scheme is neither `http` nor `https`.
    #[error("URL with the scheme `{0}`: use http or https")]
    Scheme(String),
    /// The URL has a name or a password.
    #[error("URL with a name or a password: remove them, and let the backend verify the signature")]
    Credentials,
    /// The URL has a fragment.
    #[error("URL with a fragment: remove the part from `#` on")]
    Fragment,
}

impl HookUrl {
    /// Returns the URL.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// Returns the URL without its query, for logs and metrics. A query may hold a secret.
    pub fn name(&self) -> String {
        let mut url = self.0.clone();
        url.set_query(None);
        url.into()
    }
}

impl TryFrom<String> for HookUrl {
    type Error = UrlFault;

    fn try_from(text: String) -> Result<Self, UrlFault> {
        text.parse()
    }
}

impl std::str::FromStr for HookUrl {
    type Err = UrlFault;

    fn from_str(text: &str) -> Result<Self, UrlFault> {
        let url = Url::parse(text).ok().filter(Url::has_host).ok_or(UrlFault::Form)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlFault::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlFault::Credentials);
        }
        if url.fragment().is_some() {
            return Err(UrlFault::Fragment);
        }
        Ok(Self(url))
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HookUrl").field(&self.name()).finish()
    }
}

/// A URL, and how events are delivered to it. In settings: a URL, or a table with the keys `url`, `wait`, `parallel` and `batch`.
///
/// ```
/// use sociable_gateway::webhooks::Target;
///
/// let target: Target = serde_json::from_str(r#"{"url":"http://backend:8000/socketio","wait":true}"#)?;
/// assert_eq!(target.wait, Some(true));
/// let target: Target = serde_json::from_str(r#""http://backend:8000/socketio""#)?;
/// assert_eq!(target.url.name(), "http://backend:8000/socketio");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL.
    pub url: HookUrl,
    /// Whether the answer is awaited. By default the answer to an event that asks for an acknowledgement is.
    ///
    /// Without waiting, such an event is acknowledged at once, with no arguments.
    pub wait: Option<bool>,
    /// Whether events of one socket may be delivered at the same time, and so in any order.
    pub parallel: bool,
    /// Whether events without waiting are delivered in batches.
    pub batch: bool,
}

impl Target {
    /// Returns a target with the defaults.
    pub fn new(url: HookUrl) -> Self {
        Self { url, wait: None, parallel: false, batch: false }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            url: HookUrl,
            wait: Option<bool>,
            #[serde(default)]
            parallel: bool,
            #[serde(default)]
            batch: bool,
        }
        struct UrlOrTable;
        impl<'de> Visitor<'de> for UrlOrTable {
            type Value = Target;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a table with the key `url`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Target, E> {
                text.parse().map(Target::new).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
                let Table { url, wait, parallel, batch } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Target { url, wait, parallel, batch })
            }
        }
        deserializer.deserialize_any(UrlOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_refused_with_a_remedy() {
        for (text, error) in [
            ("backend", "the text is no URL: write it as http://HOST:PORT/PATH"),
            ("/path?secret=1", "the text is no URL: write it as http://HOST:PORT/PATH"),
            ("ftp://a/", "URL with the scheme `ftp`: use http or https"),
            ("http://a:b@c/", "URL with a name or a password: remove them, and let the backend verify the signature"),
            ("http://a/#b", "URL with a fragment: remove the part from `#` on"),
        ] {
            assert_eq!(text.parse::<HookUrl>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn query_of_a_url_is_not_shown() {
        let url: HookUrl = "https://a/b?token=secret".parse().unwrap();
        assert_eq!(format!("{url:?}"), r#"HookUrl("https://a/b")"#);
    }

    #[test]
    fn target_is_a_url_or_a_table() {
        let read = serde_json::from_str::<Target>;
        assert_eq!(read(r#""http://a/""#).unwrap(), Target::new("http://a/".parse().unwrap()));
        assert!(read(r#"{"url":"http://a/","parallel":true}"#).unwrap().parallel);
        assert!(read("7").unwrap_err().to_string().contains("a URL, or a table with the key `url`"));
        assert!(read(r#"{"url":"http://a/","retry":1}"#).unwrap_err().to_string().contains("unknown field `retry`"));
    }
}
