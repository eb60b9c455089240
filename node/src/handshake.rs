//! What is kept of the request that opened a session.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::RequestHead;
use actix_http::header::HeaderMap;

use crate::http::Attached;

/// The request that opened a session: its address, query, headers and peer. Cheap to clone.
///
/// It is kept as long as the session, so it is packed: one allocation for the URL and one for all headers.
#[derive(Clone)]
pub struct Handshake(Arc<Inner>);

struct Inner {
    url: Box<str>,
    /// Each header as `name`, `\n`, `value`, `\n`: neither may hold a line break.
    headers: Box<str>,
    peer: Option<SocketAddr>,
    secure: bool,
    /// What engine middleware attached, if there is any.
    attached: Option<Box<Attached>>,
    /// Milliseconds since the Unix epoch.
    issued: u64,
}

impl Handshake {
    pub(crate) fn new(head: &RequestHead, peer: Option<SocketAddr>, secure: bool, attached: Attached) -> Self {
        let issued = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let url = head.uri.path_and_query().map_or("/", |url| url.as_str()).into();
        let attached = (!attached.is_empty()).then(|| Box::new(attached));
        Self(Arc::new(Inner { url, headers: pack(&head.headers), peer, secure, attached, issued }))
    }

    /// Path and query as they were requested.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The query without the question mark, undecoded.
    pub fn query_string(&self) -> &str {
        self.0.url.split_once('?').map_or("", |(_, query)| query)
    }

    /// The names and values of the query, decoded. A name may come more than once; the last counts.
    ///
    /// ```
    /// # fn show(handshake: &sociable::Handshake) {
    /// for (name, value) in handshake.query() {
    ///     println!("{name} = {value}");
    /// }
    /// # }
    /// ```
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query_string().as_bytes())
    }

    /// The value of a query parameter: of the last one, if the name comes more than once.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query().filter(|(key, _)| key == name).last().map(|(_, value)| value)
    }

    /// All headers; names are in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut lines = self.0.headers.split('\n');
        std::iter::from_fn(move || Some((lines.next()?, lines.next()?)))
    }

    /// The value of a header, of the first if there are several. `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The value of a cookie of the request.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers().filter(|(key, _)| *key == "cookie").flat_map(|(_, value)| value.split(';'));
        cookies.filter_map(|cookie| cookie.split_once('=')).find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    }

    /// What an engine middleware attached to the request; see [`EngineRequest::attach`](crate::engine::EngineRequest::attach).
    pub fn attached<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.attached.as_ref()?.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// The other end of the TCP connection: behind a proxy, the proxy.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// True if the connection is encrypted.
    pub fn secure(&self) -> bool {
        self.0.secure
    }

    /// True if the request came from a page of some origin, that is, has the header `Origin`.
    pub fn xdomain(&self) -> bool {
        self.header("origin").is_some()
    }

    /// When the request came, in milliseconds since the Unix epoch.
    pub fn issued(&self) -> u64 {
        self.0.issued
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold secrets: cookies and tokens. So does the query.
        let path = self.0.url.split('?').next();
        f.debug_struct("Handshake").field("path", &path).field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

fn pack(headers: &HeaderMap) -> Box<str> {
    let mut packed = String::with_capacity(headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum());
    for (name, value) in headers {
        packed.push_str(name.as_str());
        packed.push('\n');
        match value.to_str() {
            Ok(text) => packed.push_str(text),
            // As Node does: a byte a character.
            Err(_) => packed.extend(value.as_bytes().iter().map(|&byte| char::from(byte))),
        }
        packed.push('\n');
    }
    packed.pop();
    packed.into_boxed_str()
}
