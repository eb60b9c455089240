//! A request: its head interpreted strictly, and written once for the node.
//!
//! A head that two servers could read differently is refused. The node thus sees the same request as the balancer. The
//! head for the node is written from the interpreted parts, never copied. Both hold for HTTP/1.1 and HTTP/2.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use sociable_protocol::query::loggable;

use super::access_log::AccessRecord;
use super::body::Framing;
use super::fields::{Accept, Fields, is_plain_host, write_field};
use super::head::{MAX_FIELDS, NO_FIELD, RequestHead, Version};
use super::refusal::Refusal;
use crate::client::forwarded::{Forwarding, Origin};
use crate::route::affinity::Affinity;
use crate::route::target::{EnginePaths, Route};

/// The most fields of a request that a node reads.
const MAX_FIELDS_OF_NODE: usize = 96;
/// Up to so many fields, the balancer's own fit without a count.
const FEW_FIELDS: usize = 80;
/// The longest target.
const MAX_TARGET: usize = 8 * 1024;

/// The context in which a head is interpreted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext<'a> {
    pub(crate) engine: &'a EnginePaths,
    pub(crate) affinity: &'a Affinity,
    pub(crate) forwarding: &'a Forwarding,
    /// The address of the peer.
    pub(crate) peer: SocketAddr,
    /// True if the client uses TLS.
    pub(crate) tls: bool,
    /// True if the access log needs the request.
    pub(crate) recorded: bool,
}

/// A request, from its head.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) route: Route,
    /// The head for the node.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Framing,
    /// The value that the node has to answer to open the WebSocket, if one is asked for.
    pub(crate) upgrade: Option<Accept>,
    /// True if the connection may be reused behind the request.
    pub(crate) keep_alive: bool,
    /// True if the client supports chunks.
    pub(crate) chunks: bool,
    /// True if the answer has no body, whatever its head says.
    pub(crate) bodiless: bool,
    /// True if the client sends its body only after a 100.
    pub(crate) expects_continue: bool,
    /// The address of the client.
    pub(crate) client: IpAddr,
    /// The key of a new session's placement.
    pub(crate) affinity: Option<Box<[u8]>>,
    /// For the log.
    pub(crate) record: Option<Box<AccessRecord>>,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestKind {
    Handshake,
    Poll,
    Post,
    Upgrade,
    Other,
}

/// A request and the length of its head, or `None` for an incomplete head.
pub(crate) type Read = Option<(Request, usize)>;

impl Request {
    /// Reads the request of HTTP/1.1 at the start of the input.
    ///
    /// # Errors
    ///
    /// The refusal. The end of the request is unknown then, so the connection must close.
    pub(crate) fn read(input: &[u8], context: &RequestContext<'_>) -> Result<Read, Refusal> {
        let mut fields = [NO_FIELD; MAX_FIELDS];
        let Some((head, length)) = RequestHead::parse(input, &mut fields)? else { return Ok(None) };
        Ok(Some((Self::interpret(&head, context)?, length)))
    }

    /// Returns the kind.
    pub(crate) fn kind(&self) -> RequestKind {
        match (self.route, self.body) {
            _ if self.upgrade.is_some() => RequestKind::Upgrade,
            (Route::Handshake, _) => RequestKind::Handshake,
            (Route::Session(_), Framing::Empty) => RequestKind::Poll,
            (Route::Session(_), _) => RequestKind::Post,
            (Route::Other | Route::BadSession | Route::Repeated, _) => RequestKind::Other,
        }
    }

    /// Interprets a head of any version.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub(crate) fn interpret(head: &RequestHead<'_>, context: &RequestContext<'_>) -> Result<Self, Refusal> {
        let method = head.method;
        if head.target.len() > MAX_TARGET {
            return Err(Refusal::LongTarget);
        }
        let (authority, target) = split_target(method, head.target)?;
        let fields = Fields::read(head)?;
        let host = match (authority, fields.host) {
            (Some(authority), _) => authority.as_bytes(),
            (None, Some(host)) => host,
            // HTTP/1.0 has none.
            (None, None) if head.version == Version::Http10 => b"",
            (None, None) => return Err(Refusal::Malformed),
        };
        let upgrade = fields.upgrade(head)?;
        let route = context.engine.route(method, target);
        let names = head.fields.iter().map(|field| (field.name.as_bytes(), field.value));
        let origin = context.forwarding.read(context.peer.ip(), context.tls, Some(host), names);
        let client = origin.client();
        let written = write_head(head, target, host, &fields, &origin, upgrade.is_some())?;
        let affinity = if route == Route::Handshake { affinity_key(head, target, client, context.affinity) } else { None };
        let record = context
            .recorded
            .then(|| Box::new(AccessRecord { client, method: method.into(), target: loggable(target), begun: Instant::now() }));
        Ok(Self {
            route,
            head: written,
            body: fields.body,
            upgrade,
            keep_alive: head.version != Version::Http10 && !fields.close,
            chunks: head.version == Version::Http11,
            bodiless: method == "HEAD",
            expects_continue: head.version == Version::Http11 && fields.expects_continue && fields.body != Framing::Empty,
            client,
            affinity,
            record,
        })
    }
}

/// Writes the head for the node.
fn write_head(
    head: &RequestHead<'_>,
    target: &str,
    host: &[u8],
    fields: &Fields<'_>,
    origin: &Origin<'_>,
    upgrades: bool,
) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    for field in head.fields.iter().filter(|field| !fields.is_ours(field.name) && !origin.replaces(field.name.as_bytes())) {
        write_field(field.name, field.value, &mut out);
    }
    origin.write(&mut out);
    if upgrades {
        out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n");
        if let Some(key) = &head.websocket_key {
            write_field("sec-websocket-key", key, &mut out);
        }
    }
    match fields.body {
        // A client without a body has a length of 0.
        Framing::Empty if fields.length.is_some() => out.extend_from_slice(b"content-length: 0\r\n"),
        Framing::Empty | Framing::Close => {}
        Framing::Length(length) => drop(write!(out, "content-length: {length}\r\n")),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    // Behind the first line, and before the empty one.
    if head.fields.len() > FEW_FIELDS && memchr::memchr_iter(b'\n', &out).count() > MAX_FIELDS_OF_NODE + 2 {
        return Err(Refusal::LongHead);
    }
    Ok(out)
}

/// The key by which a new session is placed.
fn affinity_key(head: &RequestHead<'_>, target: &str, client: IpAddr, affinity: &Affinity) -> Option<Box<[u8]>> {
    let field = |name: &str| head.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    let query = target.split_once('?').map(|(_, query)| query);
    affinity.key(client, query, field).map(|key| key.into_owned().into())
}

/// The authority of a target in absolute form, and the path with the query.
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, &'a str), Refusal> {
    if method == "CONNECT" || method == "TRACE" {
        return Err(Refusal::Unsupported);
    }
    if target.contains('#') || target.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Refusal::Malformed);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")).ok_or(Refusal::Malformed)?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    match (authority.is_empty() || !is_plain_host(authority.as_bytes()), path) {
        (true, _) => Err(Refusal::Malformed),
        (false, "") => Ok((Some(authority), "/")),
        (false, path) if path.starts_with('/') => Ok((Some(authority), path)),
        (false, _) => Err(Refusal::Malformed),
    }
}
