//! The head of a request, split into its parts and not interpreted yet.
//!
//! HTTP/1.1 and HTTP/2 both produce a [`RequestHead`], and [`Request`](super::request::Request) interprets it. A head
//! borrows its parts from the input, and owns no memory.

use super::refusal::Refusal;

/// The longest head, in bytes of HTTP/1.1.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// The most fields of a head.
pub(crate) const MAX_FIELDS: usize = 100;
/// The bytes of a head besides names and values: of the first and the empty line, and of each field.
const LINE: usize = "  HTTP/1.1\r\n\r\n".len();
const EACH: usize = ": \r\n".len();

/// A header field.
pub(crate) type Field<'a> = httparse::Header<'a>;

/// No field yet: a head is read into `[NO_FIELD; MAX_FIELDS]`.
pub(crate) const NO_FIELD: Field<'static> = httparse::EMPTY_HEADER;

/// The version of HTTP of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    Http2,
}

/// `Sec-WebSocket-Key`: 16 bytes in base64.
pub(crate) type WebSocketKey = [u8; 24];

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead<'a> {
    pub(crate) version: Version,
    pub(crate) method: &'a str,
    /// The path with the query, or an absolute target.
    pub(crate) target: &'a str,
    /// All fields in their order.
    pub(crate) fields: &'a [Field<'a>],
    /// A body without a length follows in frames of HTTP/2. No field announces it.
    pub(crate) streams_body: bool,
    /// The request is an extended CONNECT of HTTP/2 for a WebSocket. The balancer drew this key for the node.
    pub(crate) websocket_key: Option<WebSocketKey>,
}

impl<'a> RequestHead<'a> {
    /// Reads the head of HTTP/1.1 at the start of the input, and its length. Returns `None` for an incomplete head.
    ///
    /// # Errors
    ///
    /// The refusal. The end of the request is unknown then, so the connection must close.
    pub(crate) fn parse(input: &'a [u8], fields: &'a mut [Field<'a>; MAX_FIELDS]) -> Result<Option<(Self, usize)>, Refusal> {
        // Some clients put a line end behind a body.
        let skipped = if input.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(length) = head_length(&input[skipped..])? else {
            return if input.len() - skipped >= MAX_HEAD { Err(Refusal::LongHead) } else { Ok(None) };
        };
        let mut parsed = httparse::Request::new(fields);
        match parsed.parse(&input[skipped..skipped + length]) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::LongHead),
            Err(_) => return Err(Refusal::Malformed),
        }
        let httparse::Request { method: Some(method), path: Some(target), version: Some(version), headers } = parsed else {
            return Err(Refusal::Malformed);
        };
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        Ok(Some((Self { version, method, target, fields: headers, streams_body: false, websocket_key: None }, skipped + length)))
    }

    /// The bytes of the head in HTTP/1.1.
    pub(crate) fn size(&self) -> usize {
        let fields = self.fields.iter().map(|field| field.name.len() + field.value.len() + EACH);
        self.method.len() + self.target.len() + LINE + fields.sum::<usize>()
    }
}

/// Returns the length of the head, if it is complete. Lines end with CR and LF, and none continues the one before.
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
        // httparse takes a lone CR for the end of a line, and some servers take NUL for nothing.
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return Err(Refusal::Ambiguous);
        }
        begin = end + 1;
    }
    Ok(None)
}
