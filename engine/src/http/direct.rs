//! Requests of polling sessions that pass by the `App`: read from the bytes of a connection, and answered in bytes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_http::header::{self, HeaderMap};
use bytes::Bytes;
use sociable_protocol::Id;
use sociable_protocol::query::Query;

use super::reply::Reply;
use super::respond;
use crate::config::Config;
use crate::serve::line::Line;
use crate::state::EngineState;
use crate::transport::{Transport, polling};
use crate::version::EngineVersion;

/// The most header fields of a request that passes by the `App`. Browsers send 20.
const MAX_FIELDS: usize = 48;

/// A whole request of an existing session.
#[derive(Debug)]
pub(crate) struct DirectRequest {
    id: Id,
    claims: Option<EngineVersion>,
    /// The origin, where the response depends on it.
    origin: Option<String>,
    /// The accepted codings, where the response may be compressed.
    codings: Option<String>,
    /// The packets of a POST, and whether they are binary. None for a poll.
    packets: Option<(Bytes, bool)>,
}

/// Returns whether requests may pass by the `App` with these options. `idle` is the time after which the HTTP server closes a connection.
pub(crate) fn is_possible(config: &Config, idle: Duration) -> bool {
    let hooks = !config.middleware.is_empty() || config.headers.is_some() || config.origins.is_some();
    // The HTTP server takes a waiting poll for an idle connection. A ping answers the poll before.
    !hooks && config.transports.contains(&Transport::Polling) && config.ping_interval < idle
}

impl DirectRequest {
    /// Reads a request. None if `bytes` are not exactly one request of a polling session, or if its answer is the `App`'s.
    pub(crate) fn read(config: &Config, bytes: &[u8]) -> Option<Self> {
        let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let head = match request.parse_with_uninit_headers(bytes, &mut fields) {
            Ok(httparse::Status::Complete(head)) if request.version == Some(1) => head,
            _ => return None,
        };
        let (path, query) = request.path?.split_once('?')?;
        let body = &bytes[head..];
        let is_post = match request.method? {
            "GET" => false,
            "POST" => true,
            _ => return None,
        };
        if path != config.path || body.len() > config.max_payload() {
            return None;
        }
        let fields = Fields::read(request.headers)?;
        let fits = if is_post { fields.length == Some(body.len()) } else { fields.length.is_none() && body.is_empty() };
        let query = Query::read(query).ok().filter(|query| fits && query.jsonp.is_none())?;
        if query.transport.as_deref() != Some(Transport::Polling.as_str()) {
            return None;
        }
        let claims = query.revision.is_some().then(|| EngineVersion::of(query.revision.as_deref(), query.base64));
        // Binary bodies are refused in revision 4, which is the `App`'s to answer.
        if fields.binary && !matches!(claims, Some(EngineVersion::V3 { .. })) {
            return None;
        }
        Some(Self {
            id: Id::try_from(query.session()?).ok()?,
            claims,
            origin: fields.origin.filter(|_| config.cors.is_some()).map(str::to_owned),
            codings: fields.codings.filter(|_| !is_post && config.http_compression.is_some()).map(str::to_owned),
            packets: is_post.then(|| (Bytes::copy_from_slice(body), fields.binary)),
        })
    }

    /// Returns the response as bytes. None if the `App` has to answer, because the request is refused.
    pub(crate) async fn answer(self, engine: Arc<EngineState>, line: Rc<Line>) -> Option<Vec<u8>> {
        let Self { id, claims, origin, codings, packets } = self;
        let reply = match packets {
            Some((packets, binary)) => polling::post(&engine, id, claims, Some(packets), binary).await,
            None => polling::get_on(&line, &engine, id, claims).await,
        };
        reply.ok().map(|reply| encode(&engine.config, &reply, origin.as_deref(), codings.as_deref()))
    }
}

/// The header fields that matter to a request of a session.
#[derive(Default)]
struct Fields<'a> {
    length: Option<usize>,
    binary: bool,
    origin: Option<&'a str>,
    codings: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Returns none if a field changes how the request or its response is framed, comes twice, or needs an answer of its own.
    fn read(fields: &[httparse::Header<'a>]) -> Option<Self> {
        let mut read = Self::default();
        for field in fields {
            let text = || std::str::from_utf8(field.value).ok();
            let is = |name: header::HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
            match field.name.len() {
                6 if is(header::EXPECT) => return None,
                6 if is(header::ORIGIN) => {
                    once(&mut read.origin, text().filter(|origin| !origin.bytes().any(|byte| byte.is_ascii_control()))?)?
                }
                7 if is(header::UPGRADE) => return None,
                10 if is(header::CONNECTION) && !field.value.eq_ignore_ascii_case(b"keep-alive") => return None,
                10 if is(header::USER_AGENT) && respond::guesses_types(text()?) => return None,
                12 if is(header::CONTENT_TYPE) => read.binary = field.value == b"application/octet-stream",
                14 if is(header::CONTENT_LENGTH) => once(&mut read.length, length(field.value)?)?,
                15 if is(header::ACCEPT_ENCODING) => once(&mut read.codings, text()?)?,
                17 if is(header::TRANSFER_ENCODING) => return None,
                _ => {}
            }
        }
        Some(read)
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Returns the value of a `Content-Length`: digits alone.
pub(crate) fn length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn encode(config: &Config, reply: &Reply, origin: Option<&str>, codings: Option<&str>) -> Vec<u8> {
    let compressed = respond::compressed(config, reply, codings);
    let body = compressed.as_ref().map_or(&*reply.body, |(_, body)| body);
    let mut bytes = Vec::with_capacity(256 + body.len());
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
    put(&[b"HTTP/1.1 ", reply.status.as_str().as_bytes(), b" ", reply.status.canonical_reason().unwrap_or_default().as_bytes()]);
    for (name, value) in respond::essentials(reply) {
        put(&[b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    if let Some((coding, _)) = &compressed {
        put(&[b"\r\ncontent-encoding: ", coding.as_bytes(), b"\r\nvary: Accept-Encoding"]);
    }
    if let Some(cors) = &config.cors {
        let mut headers = HeaderMap::new();
        cors.apply(origin, &mut headers);
        for (name, value) in &headers {
            put(&[b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
    }
    with_date(|date| put(&[b"\r\ndate: ", date.as_bytes()]));
    put(&[b"\r\ncontent-length: ", body.len().to_string().as_bytes(), b"\r\n\r\n", body]);
    bytes
}

/// Passes the date for a response, which this thread formats once a second.
fn with_date(put: impl FnOnce(&str)) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|(formatted, date)| {
        if *formatted != second || date.is_empty() {
            (*formatted, *date) = (second, httpdate::fmt_http_date(now));
        }
        put(date);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "AbCdeeeeeeeeeeeeeeee";

    fn read(method: &str, query: &str, fields: &str, body: &str) -> Option<DirectRequest> {
        let config = Config::with_path("/engine.io").check().unwrap();
        let request = format!("{method} /engine.io/?{query} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        DirectRequest::read(&config, request.as_bytes())
    }

    #[test]
    fn request_of_a_session_is_read() {
        let query = format!("EIO=4&transport=polling&t=abc&sid={SID}");
        let poll =
            read("GET", &query, "Accept: */*\r\nOrigin: http://a\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n", "").unwrap();
        assert_eq!((poll.id.as_str(), poll.packets, poll.codings.as_deref()), (SID, None, Some("gzip")));
        assert_eq!(poll.origin, None, "no response depends on it");
        assert_eq!(poll.claims, Some(EngineVersion::V4 { base64: false }));
        let post = read("POST", &query, "Content-Type: text/plain\r\nContent-Length: 2\r\n", "4a").unwrap();
        assert_eq!(post.packets, Some((Bytes::from("4a"), false)));
        let binary = "Content-Type: application/octet-stream\r\nContent-Length: 2\r\n";
        let post = read("POST", &query.replace("EIO=4", "EIO=3"), binary, "\u{0}\u{1}").unwrap();
        assert_eq!(post.packets, Some((Bytes::from_static(&[0, 1]), true)));
    }

    #[test]
    fn other_request_is_left_to_the_app() {
        let query = format!("EIO=4&transport=polling&sid={SID}");
        let length = |length: usize| format!("Content-Length: {length}\r\n");
        for (method, query, fields, body) in [
            ("PUT", &*query, &*length(2), "4a"),
            ("GET", "EIO=4&transport=polling", "", ""),
            ("GET", "EIO=4&transport=polling&sid=short", "", ""),
            ("GET", &format!("EIO=4&transport=websocket&sid={SID}"), "", ""),
            ("GET", &format!("{query}&sid={SID}"), "", ""),
            ("GET", &format!("{query}&j=0"), "", ""),
            ("GET", &query, "Upgrade: websocket\r\n", ""),
            ("GET", &query, "Connection: close\r\n", ""),
            ("GET", &query, "User-Agent: Mozilla (compatible;MSIE 9)\r\n", ""),
            ("GET", &query, "Origin: a\r\nOrigin: b\r\n", ""),
            ("GET", &query, &length(0), ""),
            ("GET", &query, "", "GET"),
            ("POST", &query, "", "4a"),
            ("POST", &query, &length(3), "4a"),
            ("POST", &query, &length(1), "4a"),
            ("POST", &query, "Content-Length: +2\r\n", "4a"),
            ("POST", &query, "Content-Length: 2\r\nContent-Length: 2\r\n", "4a"),
            ("POST", &query, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "4a"),
            ("POST", &query, "Content-Length: 2\r\nExpect: 100-continue\r\n", "4a"),
            ("POST", &query, "Content-Length: 2\r\nContent-Type: application/octet-stream\r\n", "4a"),
            ("POST", &query, &length(1_000_001), &"x".repeat(1_000_001)),
        ] {
            assert!(read(method, query, fields, body).is_none(), "{method} {query} {fields}");
        }
        let config = Config::with_path("/engine.io").check().unwrap();
        for request in [
            format!("GET /engine.io/?{query} HTTP/1.0\r\n\r\n"),
            format!("GET /engine.io/?{query} HTTP/1.1\r\nHost: a\r\n"),
            format!("GET /engine.io/other?{query} HTTP/1.1\r\n\r\n"),
            format!("GET http://a/engine.io/?{query} HTTP/1.1\r\n\r\n"),
            format!("GET /engine.io/?{query} HTTP/1.1\r\nHost : a\r\n\r\n"),
        ] {
            assert!(DirectRequest::read(&config, request.as_bytes()).is_none(), "{request}");
        }
    }

    #[test]
    fn options_that_look_at_every_request_keep_it_in_the_app() {
        let config = Config::with_path("/engine.io");
        let idle = Duration::from_secs(75);
        assert!(is_possible(&config, idle));
        assert!(!is_possible(&Config { ping_interval: idle, ..config.clone() }, idle));
        assert!(!is_possible(&Config { transports: vec![Transport::WebSocket], ..config.clone() }, idle));
        assert!(!is_possible(&Config { headers: Some(Arc::new(|_, _| ())), ..config }, idle));
    }
}
