//! The fields of a request that concern the connection and the framing, read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::body::Framing;
use super::head::{RequestHead, Version};
use super::refusal::Refusal;

/// The most names in `Connection`.
const MAX_CONNECTION_NAMES: usize = 16;

/// `Sec-WebSocket-Accept`.
pub(crate) type Accept = [u8; 28];

/// The fields that concern the connection and the framing.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) length: Option<u64>,
    chunked: bool,
    pub(super) body: Framing,
    pub(super) close: bool,
    /// Further names in `Connection`: fields that are not for the node.
    named: Vec<&'a [u8]>,
    wants_upgrade: bool,
    websocket: bool,
    websocket_version: Option<&'a [u8]>,
    websocket_key: Option<&'a [u8]>,
    pub(super) expects_continue: bool,
}

impl<'a> Fields<'a> {
    /// Reads all fields of a head.
    pub(super) fn read(head: &RequestHead<'a>) -> Result<Self, Refusal> {
        let mut read = Self {
            host: None,
            length: None,
            chunked: false,
            body: Framing::Empty,
            close: head.version == Version::Http10,
            named: vec![],
            wants_upgrade: false,
            websocket: false,
            websocket_version: None,
            websocket_key: None,
            expects_continue: false,
        };
        for field in head.fields {
            if let Some(known) = Known::of(field.name) {
                read.read_known(known, field.value, head.version)?;
            }
        }
        if read.named.len() > MAX_CONNECTION_NAMES {
            return Err(Refusal::LongHead);
        }
        if read.host.is_some_and(|host| !is_plain_host(host)) {
            return Err(Refusal::Ambiguous);
        }
        read.body = match (read.length, read.chunked || head.streams_body) {
            (Some(_), true) => return Err(Refusal::Ambiguous),
            (None, true) => Framing::Chunked,
            (None | Some(0), false) => Framing::Empty,
            (Some(length), false) => Framing::Length(length),
        };
        Ok(read)
    }

    fn read_known(&mut self, known: Known, value: &'a [u8], version: Version) -> Result<(), Refusal> {
        match known {
            Known::Host => set_once(&mut self.host, value)?,
            Known::ContentLength => set_once(&mut self.length, length(value)?)?,
            Known::TransferEncoding => {
                if self.chunked || version == Version::Http10 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Ambiguous);
                }
                self.chunked = true;
            }
            Known::Connection => tokens(value).for_each(|token| self.read_connection(token)),
            Known::Upgrade => self.websocket |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket")),
            Known::WebSocketVersion => set_once(&mut self.websocket_version, value)?,
            Known::WebSocketKey => set_once(&mut self.websocket_key, value)?,
            Known::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expects_continue = true,
            Known::Expect => return Err(Refusal::Unsupported),
            Known::OfTheConnection => {}
        }
        Ok(())
    }

    fn read_connection(&mut self, token: &'a [u8]) {
        if token.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if token.eq_ignore_ascii_case(b"upgrade") {
            self.wants_upgrade = true;
        } else if !token.eq_ignore_ascii_case(b"keep-alive") {
            self.named.push(token);
        }
    }

    /// Returns the value that a node has to answer if the request asks for a WebSocket. A wish for another protocol is not passed on.
    pub(super) fn upgrade(&self, head: &RequestHead<'_>) -> Result<Option<Accept>, Refusal> {
        let key = match head.version {
            Version::Http11 if self.wants_upgrade && self.websocket => self.websocket_key,
            Version::Http2 if head.websocket_key.is_some() => head.websocket_key.as_ref().map(<[u8; 24]>::as_slice),
            Version::Http10 | Version::Http11 | Version::Http2 => return Ok(None),
        };
        if self.websocket_version.is_some_and(|version| version != b"13") {
            return Err(Refusal::Version);
        }
        match key {
            Some(key) if head.method == "GET" && self.body == Framing::Empty && is_key(key) => Ok(Some(accept(key))),
            _ => Err(Refusal::WebSocket),
        }
    }

    /// Returns true for a field that is not copied.
    pub(super) fn is_ours(&self, name: &str) -> bool {
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
    /// A field for the next hop alone.
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

/// Returns false for a text that is ambiguous as a host, or contains more.
pub(super) fn is_plain_host(host: &[u8]) -> bool {
    host.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b'/' | b'@'))
}

/// Sets a field that may occur only once.
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

/// Returns true for 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24 && STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// Returns the value that a server answers to a key (RFC 6455, 4.2.2).
pub(crate) fn accept(key: &[u8]) -> Accept {
    let mut accept = [0; 28];
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    // The digest has 20 bytes, which are 28 characters.
    let _ = STANDARD.encode_slice(digest, &mut accept);
    accept
}

/// Writes a field.
pub(crate) fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
