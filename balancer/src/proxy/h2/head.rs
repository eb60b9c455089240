//! Heads of HTTP/2 as those of HTTP/1.1, and back.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request, response};
use hyper::ext::Protocol;

use crate::http::answer::is_of_the_connection;
use crate::http::head::write_field;
use crate::http::refusal::Refusal;

/// The most fields of a node's answer, of which some are the balancer's.
const MAX_FIELDS: usize = 128;

/// A request of HTTP/2 as the head of one of HTTP/1.1.
///
/// Names and values are those that HTTP/1.1 allows: the types don't hold others, so that no line can be begun within one.
pub(super) fn write(head: &request::Parts, has_body: bool) -> Result<Vec<u8>, Refusal> {
    let websocket = match head.extensions.get::<Protocol>() {
        Some(protocol) if protocol.as_str() == "websocket" => true,
        Some(_) => return Err(Refusal::Unsupported),
        None => false,
    };
    let method = if websocket { &Method::GET } else { &head.method };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let host = host(head)?;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field("host", host, &mut out);
    for (name, value) in &head.headers {
        match name.as_str() {
            "host" | "cookie" => {}
            // Their meaning is told by frames.
            "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection" => return Err(Refusal::Ambiguous),
            // Only HTTP/1.1 needs one.
            "sec-websocket-key" if websocket => {}
            name => write_field(name, value.as_bytes(), &mut out),
        }
    }
    // A client may cut it into pieces, which a server of HTTP/1.1 does not expect.
    let cookies: Vec<_> = head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        write_field("cookie", &cookies.join(&b"; "[..]), &mut out);
    }
    if websocket {
        let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        write_field("connection", b"Upgrade", &mut out);
        write_field("upgrade", b"websocket", &mut out);
        write_field("sec-websocket-key", key.as_bytes(), &mut out);
    } else if has_body && !head.headers.contains_key(header::CONTENT_LENGTH) {
        write_field("transfer-encoding", b"chunked", &mut out);
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// Whom it is for. It may be told twice, but not differently.
fn host(head: &request::Parts) -> Result<&[u8], Refusal> {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut told = authority.into_iter().chain(head.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes));
    let host = told.next().ok_or(Refusal::Malformed)?;
    if told.all(|other| other.eq_ignore_ascii_case(host)) { Ok(host) } else { Err(Refusal::Ambiguous) }
}

/// Reads the head of an answer as the balancer writes it, and tells its length. What HTTP/2 does not know is left out.
pub(super) fn read(input: &[u8]) -> io::Result<(response::Parts, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = parsed.parse(input).map_err(io::Error::other)? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let (mut head, ()) = Response::new(()).into_parts();
    let switched = parsed.code == Some(101);
    head.status =
        if switched { StatusCode::OK } else { StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(io::Error::other)? };
    head.headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter().filter(|field| !is_of_the_connection(field.name)) {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(io::Error::other)?;
        let value = HeaderValue::from_bytes(field.value).map_err(io::Error::other)?;
        if !switched || name != header::SEC_WEBSOCKET_ACCEPT && name != header::CONTENT_LENGTH {
            head.headers.append(name, value);
        }
    }
    Ok((head, length))
}
