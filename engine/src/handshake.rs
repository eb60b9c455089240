//! The parts of a handshake that a session keeps.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::RequestHead;
use actix_http::header::{self, HeaderMap, HeaderName};
use sociable_protocol::maps::ByType;

use crate::http::origin::is_cross_origin;

/// The values that middleware attached to a request, one of each type.
pub(crate) type Attached = ByType<Arc<dyn Any + Send + Sync>>;

/// The headers that are kept first: they identify the client and the origin of its page.
static FIRST: [HeaderName; 7] = [
    header::ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-forwarded-for"),
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::USER_AGENT,
];

/// The headers of which the first line counts. The lines of all others are joined.
static SINGLE: [HeaderName; 18] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::ETAG,
    header::EXPIRES,
    header::FROM,
    header::HOST,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHORIZATION,
    header::REFERER,
    header::RETRY_AFTER,
    header::SERVER,
    header::USER_AGENT,
];

/// The request that opened a session: its address, query, headers and peer. Clones are cheap.
///
/// A session keeps it for its whole life. So it is packed into one allocation, bounded by
/// [`max_handshake_bytes`](crate::EngineBuilder::max_handshake_bytes). [`allow_request`](crate::EngineBuilder::allow_request) sees the whole request.
#[derive(Clone)]
pub struct Handshake(Arc<Inner>);

struct Inner {
    /// The URL, then each header as `\n`, `name`, `\n`, `value`. No part contains a line break.
    packed: Box<str>,
    /// The length of the URL.
    url: usize,
    peer: Option<SocketAddr>,
    secure: bool,
    truncated: bool,
    /// The values that engine middleware attached, if any.
    attached: Option<Arc<Attached>>,
    /// The time in milliseconds since the Unix epoch.
    issued: u64,
}

impl Handshake {
    pub(crate) fn new(head: &RequestHead, peer: Option<SocketAddr>, secure: bool, attached: Attached) -> Self {
        let issued = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let url = head.uri.path_and_query().map_or("/", |url| url.as_str());
        let packed = pack(url, &head.headers);
        let attached = (!attached.is_empty()).then(|| Arc::new(attached));
        Self(Arc::new(Inner { packed, url: url.len(), peer, secure, truncated: false, attached, issued }))
    }

    /// Returns the part that a session keeps, at most `bytes` long. A header, or the query, is kept whole or not at all.
    pub(crate) fn bounded(self, bytes: usize) -> Self {
        if self.0.packed.len() <= bytes {
            return self;
        }
        let path = self.url().split('?').next().unwrap_or_default();
        let url = [self.url(), path].into_iter().find(|url| url.len() <= bytes).unwrap_or("/");
        let mut packed = String::with_capacity(bytes.max(url.len()));
        packed.push_str(url);
        let first = |name: &str| FIRST.iter().any(|first| first == name);
        let ordered = FIRST.iter().flat_map(|name| self.headers().filter(move |(key, _)| name == key));
        for (name, value) in ordered.chain(self.headers().filter(|(name, _)| !first(name))) {
            if packed.len() + name.len() + value.len() + 2 <= bytes {
                for part in ["\n", name, "\n", value] {
                    packed.push_str(part);
                }
            }
        }
        let Inner { peer, secure, issued, .. } = *self.0;
        let (url, packed, attached) = (url.len(), packed.into_boxed_str(), self.0.attached.clone());
        Self(Arc::new(Inner { packed, url, peer, secure, truncated: true, attached, issued }))
    }

    /// Returns the number of bytes that it keeps.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.0.packed.len()
    }

    /// Returns whether the query or some headers were left out, to fit into [`max_handshake_bytes`](crate::EngineBuilder::max_handshake_bytes).
    pub fn truncated(&self) -> bool {
        self.0.truncated
    }

    /// Returns path and query as they were requested.
    pub fn url(&self) -> &str {
        &self.0.packed[..self.0.url]
    }

    /// Returns the query without the question mark, undecoded.
    pub fn query_string(&self) -> &str {
        self.url().split_once('?').map_or("", |(_, query)| query)
    }

    /// Returns the names and values of the query, decoded. For a repeated name, the last value counts.
    ///
    /// ```
    /// # fn show(handshake: &sociable_engine::Handshake) {
    /// for (name, value) in handshake.query() {
    ///     println!("{name} = {value}");
    /// }
    /// # }
    /// ```
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query_string().as_bytes())
    }

    /// Returns the value of a query parameter. For a repeated name, the last value counts.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query().filter(|(key, _)| key == name).last().map(|(_, value)| value)
    }

    /// Returns the kept headers, each once, with names in lower case.
    ///
    /// See [`header`](Self::header) for headers of several lines, and [`truncated`](Self::truncated) for missing ones.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut lines = self.0.packed[self.0.url..].split('\n').skip(1);
        std::iter::from_fn(move || Some((lines.next()?, lines.next()?)))
    }

    /// Returns the value of a header. `name` is in lower case.
    ///
    /// The lines of one header are joined as in Node: by `"; "` for `cookie`, else by `", "`. For headers with one value, such as `host`,
    /// `authorization` and `user-agent`, the first line counts.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Returns the value of a cookie of the request.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers().filter(|(key, _)| *key == "cookie").flat_map(|(_, value)| value.split(';'));
        cookies.filter_map(|cookie| cookie.split_once('=')).find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    }

    /// Returns a value that engine middleware attached to the request; see [`EngineRequest::attach`](crate::EngineRequest::attach).
    pub fn attached<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.attached.as_ref()?.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// Returns the peer address of the TCP connection: behind a proxy, that of the proxy.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Returns whether the connection is encrypted.
    pub fn secure(&self) -> bool {
        self.0.secure
    }

    /// Returns whether the request came from a page of some origin: whether it has the header `Origin`.
    pub fn xdomain(&self) -> bool {
        self.header("origin").is_some()
    }

    /// Returns whether a page of another origin may have sent the request, although it has no header `Origin`.
    ///
    /// Browsers send no `Origin` with scripts, which JSONP uses to poll. `Sec-Fetch-Site` decides. If the browser sends neither, every JSONP request
    /// counts.
    pub fn is_cross_origin(&self) -> bool {
        is_cross_origin(self.header("sec-fetch-site"), self.query().any(|(name, _)| name == "j"))
    }

    /// Returns when the request came, in milliseconds since the Unix epoch.
    pub fn issued(&self) -> u64 {
        self.0.issued
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and query may contain secrets, such as cookies and tokens.
        let path = self.url().split('?').next();
        f.debug_struct("Handshake").field("path", &path).field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

fn pack(url: &str, headers: &HeaderMap) -> Box<str> {
    let length = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum::<usize>();
    let mut packed = String::with_capacity(url.len() + length);
    packed.push_str(url);
    let mut before = None;
    // The lines of one header are adjacent.
    for (name, value) in headers {
        if before.replace(name) == Some(name) {
            if SINGLE.contains(name) {
                continue;
            }
            packed.push_str(if name == header::COOKIE { "; " } else { ", " });
        } else {
            for part in ["\n", name.as_str(), "\n"] {
                packed.push_str(part);
            }
        }
        match value.to_str() {
            Ok(text) => packed.push_str(text),
            // As Node does: one character for each byte.
            Err(_) => packed.extend(value.as_bytes().iter().map(|&byte| char::from(byte))),
        }
    }
    packed.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn handshake(url: &str, headers: &[(&'static str, &str)]) -> Handshake {
        let mut head = RequestHead::default();
        head.uri = url.parse().unwrap();
        for (name, value) in headers {
            head.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Handshake::new(&head, None, false, Attached::default())
    }

    #[test]
    fn short_handshake_is_kept_whole() {
        let kept = handshake("/engine.io/?a=1", &[("x-a", "1"), ("cookie", "b=2")]).bounded(4096);
        assert_eq!((kept.url(), kept.query_value("a").as_deref(), kept.truncated()), ("/engine.io/?a=1", Some("1"), false));
        assert_eq!((kept.header("x-a"), kept.cookie("b"), kept.headers().count()), (Some("1"), Some("2"), 2));
        assert_eq!(handshake("/", &[]).headers().count(), 0);
    }

    #[test]
    fn header_lines_are_joined_as_in_node() {
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("host", "a"),
            ("cookie", "a=1"),
            ("x-forwarded-for", "10.1.2.3"),
            ("cookie", "b=2"),
            ("host", "b"),
            ("authorization", "one"),
            ("authorization", "two"),
            ("origin", "https://a.example"),
            ("origin", "https://b.example"),
        ];
        let kept = handshake("/", &lines);
        for (name, value) in [
            ("x-forwarded-for", "6.6.6.6, 10.1.2.3"),
            ("host", "a"),
            ("cookie", "a=1; b=2"),
            ("authorization", "one"),
            ("origin", "https://a.example, https://b.example"),
        ] {
            assert_eq!(kept.header(name), Some(value));
            assert_eq!(kept.headers().filter(|(key, _)| *key == name).count(), 1);
        }
        assert_eq!(kept.cookie("b"), Some("2"));
    }

    #[test]
    fn long_handshake_keeps_identifying_headers() {
        let long = "x".repeat(5000);
        let kept = handshake("/engine.io/?a=1", &[("x-long", &long), ("x-short", "1"), ("origin", "https://a.example")]).bounded(100);
        assert!(kept.truncated() && kept.kept_bytes() <= 100);
        assert_eq!(kept.headers().collect::<Vec<_>>(), [("origin", "https://a.example"), ("x-short", "1")]);
        assert_eq!(kept.query_value("a").as_deref(), Some("1"));
    }

    #[test]
    fn long_query_is_left_out_as_a_whole() {
        let long = "x".repeat(5000);
        let kept = handshake(&format!("/engine.io/?a={long}"), &[("host", "a")]).bounded(100);
        assert_eq!((kept.url(), kept.header("host"), kept.truncated()), ("/engine.io/", Some("a"), true));
        assert_eq!(handshake(&format!("/{long}"), &[]).bounded(100).url(), "/");
    }
}
