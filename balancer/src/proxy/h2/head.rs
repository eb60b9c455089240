//! The heads of HTTP/2: a request becomes a [`RequestHead`], and an [`AnswerHead`] the answer for hyper.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request, response};
use hyper::ext::Protocol;

use crate::http::answer::AnswerHead;
use crate::http::head::{Field, MAX_FIELDS, MAX_HEAD, RequestHead, Version, WebSocketKey};
use crate::http::refusal::Refusal;

/// Reads the head of a request. `cookies` are its [`cookies`] joined, and `fields` is the memory for its fields.
///
/// Names and values are valid in HTTP/1.1 too: their types exclude line ends.
pub(super) fn read_request<'a>(
    parts: &'a request::Parts,
    has_body: bool,
    cookies: Option<&'a [u8]>,
    fields: &'a mut [Field<'a>; MAX_FIELDS],
) -> Result<RequestHead<'a>, Refusal> {
    let websocket = match parts.extensions.get::<Protocol>() {
        Some(protocol) if protocol.as_str() == "websocket" => true,
        Some(_) => return Err(Refusal::Unsupported),
        None => false,
    };
    let mut written = 0;
    let mut push = |name, value: &'a [u8]| {
        // A reader of HTTP/1.1 takes the spaces around a value away.
        let field = Field { name, value: value.trim_ascii() };
        *fields.get_mut(written).ok_or(Refusal::LongHead)? = field;
        written += 1;
        Ok(())
    };
    push("host", host(parts)?)?;
    for (name, value) in &parts.headers {
        match name.as_str() {
            "host" | "cookie" => {}
            // HTTP/2 has frames instead of these fields.
            "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection" => return Err(Refusal::Ambiguous),
            // HTTP/2 needs no key. The node gets one of the balancer.
            "sec-websocket-key" if websocket => {}
            name => push(name, value.as_bytes())?,
        }
    }
    if let Some(cookies) = cookies {
        push("cookie", cookies)?;
    }
    let head = RequestHead {
        version: Version::Http2,
        method: if websocket { Method::GET.as_str() } else { parts.method.as_str() },
        target: parts.uri.path_and_query().map_or("/", |target| target.as_str()),
        fields: &fields[..written],
        streams_body: has_body && !websocket && !parts.headers.contains_key(header::CONTENT_LENGTH),
        websocket_key: websocket.then(websocket_key),
    };
    if head.size() > MAX_HEAD { Err(Refusal::LongHead) } else { Ok(head) }
}

/// Returns the cookies as one field. A client of HTTP/2 may split them, and a server of HTTP/1.1 does not expect that.
pub(super) fn cookies(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let mut cookies = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let first = cookies.next()?;
    let mut joined = Cow::Borrowed(first);
    for cookie in cookies {
        let joined = joined.to_mut();
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie);
    }
    Some(joined)
}

fn websocket_key() -> WebSocketKey {
    let mut key = [0; 24];
    // 16 bytes are 24 characters.
    let _ = STANDARD.encode_slice(fastrand::u128(..).to_ne_bytes(), &mut key);
    key
}

/// Returns the host. A request may name it twice, but not differently.
fn host(head: &request::Parts) -> Result<&[u8], Refusal> {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = authority.into_iter().chain(head.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes));
    let host = hosts.next().ok_or(Refusal::Malformed)?;
    if hosts.all(|other| other.eq_ignore_ascii_case(host)) { Ok(host) } else { Err(Refusal::Ambiguous) }
}

/// Returns the head of an answer. HTTP/2 has no fields of the connection, and no switch.
pub(super) fn answer(head: &AnswerHead<'_>) -> Result<response::Parts, http::Error> {
    let switched = head.is_switched();
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = if switched { StatusCode::OK } else { StatusCode::from_u16(head.status())? };
    for field in head.fields() {
        let name = HeaderName::from_bytes(field.name.as_bytes())?;
        if !switched || name != header::SEC_WEBSOCKET_ACCEPT {
            parts.headers.append(name, HeaderValue::from_bytes(field.value)?);
        }
    }
    if let Some(length) = head.length() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(parts)
}

/// Returns the answer to a request that is refused.
pub(super) fn refusal(refusal: Refusal, websocket: bool, retry_after: u32) -> (response::Parts, &'static str) {
    let ((status, _), (kind, body)) = (refusal.status(), refusal.body(websocket));
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = &mut parts.headers;
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(header::CONTENT_LENGTH, body.len().into());
    if refusal.is_temporary() {
        fields.insert(header::RETRY_AFTER, retry_after.into());
    }
    if refusal == Refusal::Version {
        fields.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    (parts, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::forwarded::{ForwardedHeader, Forwarding};
    use crate::http::answer::{self, Asked};
    use crate::http::body::Framing;
    use crate::http::head::NO_FIELD;
    use crate::http::request::{Request, RequestContext};
    use crate::route::affinity::Affinity;
    use crate::route::target::EnginePaths;

    fn with_context<T>(interpret: impl FnOnce(&RequestContext<'_>) -> T) -> T {
        let engine = EnginePaths::new(["/socket.io/"]);
        let forwarding = Forwarding::new(vec![], ForwardedHeader::default(), vec![]);
        let peer = "192.0.2.1:50000".parse().unwrap();
        interpret(&RequestContext { engine: &engine, affinity: &Affinity::None, forwarding: &forwarding, peer, tls: true, recorded: false })
    }

    fn read(request: http::Request<()>, has_body: bool) -> Result<Request, Refusal> {
        let parts = request.into_parts().0;
        let cookies = cookies(&parts.headers);
        let mut fields = [NO_FIELD; MAX_FIELDS];
        let head = read_request(&parts, has_body, cookies.as_deref(), &mut fields)?;
        with_context(|context| Request::interpret(&head, context))
    }

    fn written(request: http::Request<()>, has_body: bool) -> String {
        String::from_utf8(read(request, has_body).unwrap().head).unwrap()
    }

    #[test]
    fn both_versions_write_the_same_head_for_the_node() {
        let fields = [("accept", "*/*"), ("x-real-ip", "203.0.113.9"), ("te", "trailers"), ("x-spaced", " a b\t"), ("cookie", "a=1")];
        let mut http1 = String::from("GET /socket.io/?EIO=4 HTTP/1.1\r\nhost: example.com\r\n");
        let mut http2 = http::Request::get("https://example.com/socket.io/?EIO=4");
        for (name, value) in fields {
            http1 += &format!("{name}: {value}\r\n");
            http2 = http2.header(name, value);
        }
        let (request, _) = with_context(|context| Request::read(format!("{http1}\r\n").as_bytes(), context)).unwrap().unwrap();
        let http2 = written(http2.body(()).unwrap(), false);
        assert_eq!(String::from_utf8(request.head).unwrap(), http2);
        assert!(http2.contains("x-spaced: a b\r\n") && !http2.contains("te:") && !http2.contains("203.0.113.9"), "{http2}");
    }

    #[test]
    fn cookies_are_joined_when_a_client_splits_them() {
        let split = http::Request::get("https://example.com/").header("cookie", "a=1").header("cookie", "b=2");
        assert!(written(split.body(()).unwrap(), false).contains("cookie: a=1; b=2\r\n"));
    }

    #[test]
    fn body_is_chunked_when_only_frames_mark_its_end() {
        let post = || http::Request::post("https://example.com/");
        let framing = |request, has_body| read(request, has_body).unwrap().body;
        assert_eq!(framing(post().body(()).unwrap(), true), Framing::Chunked);
        assert_eq!(framing(post().body(()).unwrap(), false), Framing::Empty);
        assert_eq!(framing(post().header("content-length", "3").body(()).unwrap(), true), Framing::Length(3));
    }

    #[test]
    fn connect_for_a_websocket_gets_a_key_for_the_node() {
        let connect = || http::Request::connect("https://example.com/").extension(Protocol::from_static("websocket"));
        let request = read(connect().header("sec-websocket-key", "x").body(()).unwrap(), true).unwrap();
        let head = String::from_utf8(request.head).unwrap();
        assert!(request.upgrade.is_some() && head.starts_with("GET / HTTP/1.1\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
        let key = head.split_once("sec-websocket-key: ").unwrap().1.split_once("\r\n").unwrap().0;
        assert_eq!((key.len(), head.matches("sec-websocket-key").count()), (24, 1));
        let refused = |request: http::request::Builder| read(request.body(()).unwrap(), true).unwrap_err();
        assert_eq!(refused(connect().header("sec-websocket-version", "8")), Refusal::Version);
        assert_eq!(refused(connect().header("content-length", "3")), Refusal::WebSocket);
        assert_eq!(refused(http::Request::connect("https://example.com/")), Refusal::Unsupported);
    }

    #[test]
    fn head_is_refused_when_ambiguous() {
        let refused = |request: http::request::Builder| read(request.body(()).unwrap(), true).unwrap_err();
        let get = || http::Request::get("https://example.com/");
        for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"] {
            assert_eq!(refused(get().header(name, "x")), Refusal::Ambiguous, "{name}");
        }
        assert_eq!(refused(get().header("host", "example.org")), Refusal::Ambiguous);
        assert_eq!(refused(get().header("content-length", "3").header("content-length", "3")), Refusal::Ambiguous);
        assert_eq!(refused(get().header("content-length", "+3")), Refusal::Ambiguous);
        assert_eq!(refused(get().header("x", "x".repeat(MAX_HEAD))), Refusal::LongHead);
        assert_eq!(refused((0..MAX_FIELDS).fold(get(), |get, n| get.header(format!("x-{n}"), "x"))), Refusal::LongHead);
    }

    #[test]
    fn answer_head_has_no_fields_of_the_connection() {
        let asked = Asked { upgrade: None, bodiless: false, chunks: false, close: false };
        let of_client = |input: &str| {
            let mut parts = None;
            let keep = |head: &AnswerHead<'_>| {
                parts = Some(answer(head).unwrap());
                Ok(())
            };
            answer::read(input.as_bytes(), &asked, keep).unwrap().unwrap();
            let parts = parts.unwrap();
            let fields = parts.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            (parts.status.as_u16(), fields.collect::<Vec<_>>())
        };
        let input = "HTTP/1.1 200 OK\r\nX-A: b\r\nConnection: close\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(of_client(input), (200, vec!["x-a: b".into(), "content-length: 4".into()]));
        assert_eq!(of_client("HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n"), (404, vec![]));
        assert_eq!(of_client("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), (200, vec!["content-length: 0".into()]));
    }

    #[test]
    fn refusal_has_the_time_of_a_retry() {
        let (parts, body) = refusal(Refusal::NoNode, false, 3);
        assert_eq!(
            (parts.status.as_u16(), &parts.headers["retry-after"], body),
            (503, &HeaderValue::from_static("3"), Refusal::NoNode.text())
        );
        assert_eq!(parts.headers["content-length"], body.len().to_string());
        let (parts, body) = refusal(Refusal::UnknownSession, false, 3);
        assert_eq!((parts.status.as_u16(), body), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
        assert_eq!((refusal(Refusal::UnknownSession, true, 3).1, parts.headers.get("retry-after")), ("Session ID unknown", None));
    }
}
