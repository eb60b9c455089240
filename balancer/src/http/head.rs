//! The head of a request: read more strictly than any server would, and written anew for the node.
//!
//! Whatever could be read in two ways is refused here, so that the node behind can't see another request than the balancer did. Nothing is
//! passed on as it came: the head that the node gets is made from what was understood.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use sociable_protocol::query::loggable;

use super::body::Framing;
use super::refusal::Refusal;
use crate::client::forwarded::Forwarding;
use crate::route::affinity::Affinity;
use crate::route::target::{EnginePaths, Route};

/// The longest head, and the most fields in it.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;
/// The most fields of a request that a node reads.
const MAX_FIELDS_OF_NODE: usize = 96;
/// So many are surely not too many with those that the balancer adds.
const FEW_FIELDS: usize = 80;
/// The longest target.
const MAX_TARGET: usize = 8 * 1024;
/// The most names in `Connection`.
const MAX_CONNECTION_NAMES: usize = 16;

/// What a request is read by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext<'a> {
    pub(crate) engine: &'a EnginePaths,
    pub(crate) affinity: &'a Affinity,
    pub(crate) forwarding: &'a Forwarding,
    /// Who is connected.
    pub(crate) peer: SocketAddr,
    /// Whether by TLS.
    pub(crate) tls: bool,
    /// Whether somebody wants to know what was asked for.
    pub(crate) recorded: bool,
}

/// A request, as far as its head tells.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) route: Route,
    /// The head for the node.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Framing,
    /// What the node has to answer to open the WebSocket that is asked for.
    pub(crate) upgrade: Option<Accept>,
    /// Whether the connection may go on behind it.
    pub(crate) keep_alive: bool,
    /// Whether chunks are understood.
    pub(crate) chunks: bool,
    /// Whether the answer has no body whatever it says.
    pub(crate) bodiless: bool,
    /// Whether the body comes only if it is asked for.
    pub(crate) expects_continue: bool,
    /// Who asks.
    pub(crate) client: IpAddr,
    /// By what a new session is placed.
    pub(crate) affinity: Option<Box<[u8]>>,
    /// For the log.
    pub(crate) record: Option<Box<AccessRecord>>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestKind {
    Handshake,
    Poll,
    Post,
    Upgrade,
    Other,
}

/// What the log says of a request.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    client: IpAddr,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) begun: Instant,
}

impl AccessRecord {
    /// Of a request that can't be read.
    pub(crate) fn unread(client: IpAddr) -> Self {
        Self { client, method: String::new(), target: String::new(), begun: Instant::now() }
    }

    /// Writes it down. The status is 0 if the client got no whole answer; `by` is the node that answered, or why none was asked.
    pub(crate) fn log(&self, status: u16, by: &str) {
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(target: "sociable::access", client = %self.client, method = self.method, target = self.target, status, by, micros);
    }
}

/// `Sec-WebSocket-Accept`.
pub(crate) type Accept = [u8; 28];

/// A request and the length of its head, or nothing yet: more of it has to come.
pub(crate) type Read = Option<(Request, usize)>;

impl Request {
    /// Reads the request that begins the input.
    ///
    /// # Errors
    ///
    /// The refusal. Where the request ends is not known then: the connection is to be closed.
    pub(crate) fn read(input: &[u8], reading: &RequestContext<'_>) -> Result<Read, Refusal> {
        // Some clients put a line end behind a body.
        let skipped = if input.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(length) = head_length(&input[skipped..])? else {
            return if input.len() >= MAX_HEAD { Err(Refusal::LongHead) } else { Ok(None) };
        };
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(&input[skipped..skipped + length]) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::LongHead),
            Err(_) => return Err(Refusal::Malformed),
        }
        let request = Self::interpret(&parsed, reading)?;
        Ok(Some((request, skipped + length)))
    }

    /// What it is for.
    pub(crate) fn kind(&self) -> RequestKind {
        match (self.route, self.body) {
            _ if self.upgrade.is_some() => RequestKind::Upgrade,
            (Route::Handshake, _) => RequestKind::Handshake,
            (Route::Session(_), Framing::Empty) => RequestKind::Poll,
            (Route::Session(_), _) => RequestKind::Post,
            (Route::Other | Route::BadSession | Route::Repeated, _) => RequestKind::Other,
        }
    }

    fn interpret(parsed: &httparse::Request<'_, '_>, reading: &RequestContext<'_>) -> Result<Self, Refusal> {
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::Malformed);
        };
        if target.len() > MAX_TARGET {
            return Err(Refusal::LongTarget);
        }
        let (authority, target) = split_target(method, target)?;
        let fields = Fields::read(parsed.headers, version)?;
        let host = match (authority, fields.host) {
            (Some(authority), _) => authority.as_bytes(),
            (None, Some(host)) => host,
            // HTTP/1.0 has none.
            (None, None) if version == 0 => b"",
            (None, None) => return Err(Refusal::Malformed),
        };
        let upgrade = if version == 0 { None } else { fields.upgrade(method)? };
        let route = reading.engine.route(method, target);
        let names = parsed.headers.iter().map(|field| (field.name.as_bytes(), field.value));
        let origin = reading.forwarding.read(reading.peer.ip(), reading.tls, Some(host), names);
        let client = origin.client();

        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(method.as_bytes());
        head.push(b' ');
        head.extend_from_slice(target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        head.extend_from_slice(host);
        head.extend_from_slice(b"\r\n");
        for field in parsed.headers.iter().filter(|field| !fields.is_ours(field.name) && !origin.replaces(field.name.as_bytes())) {
            write_field(field.name, field.value, &mut head);
        }
        origin.write(&mut head);
        if upgrade.is_some() {
            head.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n");
        }
        match fields.body {
            // Whoever posts nothing says so.
            Framing::Empty if fields.length.is_some() => head.extend_from_slice(b"content-length: 0\r\n"),
            Framing::Empty | Framing::Close => {}
            Framing::Length(length) => drop(write!(head, "content-length: {length}\r\n")),
            Framing::Chunked => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        head.extend_from_slice(b"\r\n");
        // Behind the first line, and before the empty one.
        if parsed.headers.len() > FEW_FIELDS && memchr::memchr_iter(b'\n', &head).count() > MAX_FIELDS_OF_NODE + 2 {
            return Err(Refusal::LongHead);
        }

        let affinity = match route {
            Route::Handshake => {
                let field = |name: &str| parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
                let query = target.split_once('?').map(|(_, query)| query);
                reading.affinity.key(client, query, field).map(|key| key.into_owned().into())
            }
            _ => None,
        };
        let record = reading
            .recorded
            .then(|| Box::new(AccessRecord { client, method: method.into(), target: loggable(target), begun: Instant::now() }));
        Ok(Self {
            route,
            head,
            body: fields.body,
            upgrade,
            keep_alive: version == 1 && !fields.close,
            chunks: version == 1,
            bodiless: method == "HEAD",
            expects_continue: version == 1 && fields.expects_continue && fields.body != Framing::Empty,
            client,
            affinity,
            record,
        })
    }
}

/// The length of the head, if all of it is there. Lines end with CR and LF, and none goes on with the one before.
fn head_length(input: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', input) {
        let line = match input[begin..end].split_last() {
            Some((b'\r', line)) => line,
            _ => return Err(Refusal::Ambiguous),
        };
        match line.first() {
            None => return if end + 1 > MAX_HEAD { Err(Refusal::LongHead) } else { Ok(Some(end + 1)) },
            Some(b' ' | b'\t') => return Err(Refusal::Ambiguous),
            Some(_) => {}
        }
        // What httparse would take for the end of a line, and some servers for nothing.
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return Err(Refusal::Ambiguous);
        }
        begin = end + 1;
    }
    Ok(None)
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

/// The fields that concern the connection and the framing.
#[derive(Debug)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    body: Framing,
    close: bool,
    /// Further names in `Connection`: fields that are not for the node.
    named: Vec<&'a [u8]>,
    wants_upgrade: bool,
    websocket: bool,
    websocket_version: Option<&'a [u8]>,
    websocket_key: Option<&'a [u8]>,
    expects_continue: bool,
}

impl<'a> Fields<'a> {
    fn read(fields: &[httparse::Header<'a>], version: u8) -> Result<Self, Refusal> {
        let mut read = Self {
            host: None,
            length: None,
            body: Framing::Empty,
            close: version == 0,
            named: vec![],
            wants_upgrade: false,
            websocket: false,
            websocket_version: None,
            websocket_key: None,
            expects_continue: false,
        };
        let mut chunked = false;
        for field in fields {
            let (name, value) = (field.name, field.value);
            match Known::of(name) {
                Some(Known::Host) => set_once(&mut read.host, value)?,
                Some(Known::ContentLength) => set_once(&mut read.length, length(value)?)?,
                Some(Known::TransferEncoding) => {
                    if chunked || version == 0 || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Refusal::Ambiguous);
                    }
                    chunked = true;
                }
                Some(Known::Connection) => {
                    for token in tokens(value) {
                        if token.eq_ignore_ascii_case(b"close") {
                            read.close = true;
                        } else if token.eq_ignore_ascii_case(b"upgrade") {
                            read.wants_upgrade = true;
                        } else if !token.eq_ignore_ascii_case(b"keep-alive") {
                            read.named.push(token);
                        }
                    }
                }
                Some(Known::Upgrade) => read.websocket |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket")),
                Some(Known::WebSocketVersion) => set_once(&mut read.websocket_version, value)?,
                Some(Known::WebSocketKey) => set_once(&mut read.websocket_key, value)?,
                Some(Known::Expect) if value.eq_ignore_ascii_case(b"100-continue") => read.expects_continue = true,
                Some(Known::Expect) => return Err(Refusal::Unsupported),
                Some(Known::OfTheConnection) | None => {}
            }
        }
        if read.named.len() > MAX_CONNECTION_NAMES {
            return Err(Refusal::LongHead);
        }
        if read.host.is_some_and(|host| !is_plain_host(host)) {
            return Err(Refusal::Ambiguous);
        }
        read.body = match (read.length, chunked) {
            (Some(_), true) => return Err(Refusal::Ambiguous),
            (None, true) => Framing::Chunked,
            (None | Some(0), false) => Framing::Empty,
            (Some(length), false) => Framing::Length(length),
        };
        Ok(read)
    }

    /// What is to be answered if a WebSocket is asked for. Another protocol is not spoken, and the wish for it not passed on.
    fn upgrade(&self, method: &str) -> Result<Option<Accept>, Refusal> {
        if !(self.wants_upgrade && self.websocket) {
            return Ok(None);
        }
        if self.websocket_version.is_some_and(|version| version != b"13") {
            return Err(Refusal::Version);
        }
        match self.websocket_key {
            Some(key) if method == "GET" && self.body == Framing::Empty && is_key(key) => Ok(Some(accept(key))),
            _ => Err(Refusal::WebSocket),
        }
    }

    /// True for a field that is not passed on as it came.
    fn is_ours(&self, name: &str) -> bool {
        let ours = match Known::of(name) {
            Some(Known::WebSocketVersion | Known::WebSocketKey) | None => false,
            Some(_) => true,
        };
        ours || self.named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Fields with a meaning for the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    WebSocketVersion,
    WebSocketKey,
    Expect,
    /// For the next hop alone.
    OfTheConnection,
}

impl Known {
    fn of(name: &str) -> Option<Self> {
        const NAMES: [(&str, Known); 14] = [
            ("host", Known::Host),
            ("content-length", Known::ContentLength),
            ("transfer-encoding", Known::TransferEncoding),
            ("connection", Known::Connection),
            ("upgrade", Known::Upgrade),
            ("sec-websocket-version", Known::WebSocketVersion),
            ("sec-websocket-key", Known::WebSocketKey),
            ("expect", Known::Expect),
            ("keep-alive", Known::OfTheConnection),
            ("proxy-connection", Known::OfTheConnection),
            ("proxy-authorization", Known::OfTheConnection),
            ("te", Known::OfTheConnection),
            ("trailer", Known::OfTheConnection),
            ("http2-settings", Known::OfTheConnection),
        ];
        NAMES.into_iter().find_map(|(known, meaning)| known.eq_ignore_ascii_case(name).then_some(meaning))
    }
}

/// False for what could be read as more than one host, or as more than a host.
fn is_plain_host(host: &[u8]) -> bool {
    host.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b'/' | b'@'))
}

/// Sets what may be there once.
fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Ambiguous),
    }
}

fn length(value: &[u8]) -> Result<u64, Refusal> {
    // Digits alone: no sign, no list, no blank.
    if value.is_empty() || value.len() > 15 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Ambiguous);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// The elements of a list.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// True for 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24 && STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// What a server answers to a key (RFC 6455, 4.2.2).
pub(crate) fn accept(key: &[u8]) -> Accept {
    let mut accept = [0; 28];
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    // The digest has 20 bytes, which are 28 characters.
    let _ = STANDARD.encode_slice(digest, &mut accept);
    accept
}

pub(crate) fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
