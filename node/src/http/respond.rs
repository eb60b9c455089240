//! Responses: status, headers, compression.

use std::io::Write;
use std::sync::Arc;

use actix_http::header::{self, HeaderMap, HeaderValue};
use actix_http::{ConnectionType, RequestHead, StatusCode};
use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use sociable_protocol::Id;

use super::client_files::weighted;
use super::{Refused, header_list, header_str, jsonp, lasting};
use crate::engine::Shared;
use crate::handshake::Handshake;
use crate::transport::polling::Payload;
use crate::transport::upgrade::Admission;

/// The type of payloads that are text.
const TEXT: &str = "text/plain; charset=UTF-8";
/// Seconds after which a client may ask again that was refused for want of room.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The answer to a request, made on whichever thread owns the session.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    compress: bool,
    /// The session that was opened by the request.
    opened: Option<Id>,
    /// The connection can't be used any more.
    close: bool,
}

impl Reply {
    fn new(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type: Some(content_type), body, compress: false, opened: None, close: false }
    }

    /// Packets for a poll.
    pub(crate) fn payload(payload: Payload, compress: bool) -> Self {
        let kind = if payload.binary { "application/octet-stream" } else { TEXT };
        Self { compress, ..Self::new(StatusCode::OK, kind, payload.bytes) }
    }

    pub(crate) fn opened(id: Id, payload: Payload) -> Self {
        Self { opened: Some(id), ..Self::payload(payload, true) }
    }

    /// The same payload, for a page that takes scripts only. What is no text payload stays as it is.
    pub(super) fn into_script(mut self, callback: &str) -> Self {
        if self.content_type == Some(TEXT)
            && let Ok(payload) = std::str::from_utf8(&self.body)
        {
            self.body = jsonp::script(callback, payload).into_bytes();
        }
        self
    }

    /// Packets were taken.
    pub(crate) fn ok() -> Self {
        Self::new(StatusCode::OK, "text/html", "ok".into())
    }

    pub(crate) fn json(status: StatusCode, body: String) -> Self {
        Self::new(status, "application/json", body.into_bytes())
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { content_type: None, ..Self::new(status, "", vec![]) }
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }
}

/// Turns a reply into the response.
pub(super) fn respond(engine: &Arc<Shared>, head: &RequestHead, handshake: impl FnOnce() -> Handshake, reply: Reply) -> HttpResponse {
    let mut response = HttpResponse::new(reply.status);
    let headers = response.headers_mut();
    if let Some(kind) = reply.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if reply.status == StatusCode::OK {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if reply.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    // Some browsers of old guess at the type of what they get.
    if header_str(head, header::USER_AGENT).is_some_and(|agent| agent.contains(";MSIE") || agent.contains("Trident/")) {
        headers.insert(header::X_XSS_PROTECTION, HeaderValue::from_static("0"));
    }
    if let (Some(id), Some(cookie)) = (&reply.opened, &engine.config.cookie)
        && let Ok(value) = HeaderValue::from_str(&cookie.header(id.as_str()))
    {
        headers.append(header::SET_COOKIE, value);
    }
    decorate(engine, head, handshake, headers, reply.opened.is_some());
    let body = compressed(engine, head, &reply, headers).unwrap_or(reply.body);
    if reply.close {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response.set_body(lasting::body(engine, body))
}

/// The response that opens a WebSocket.
pub(super) fn switching(
    engine: &Arc<Shared>,
    head: &RequestHead,
    handshake: impl FnOnce() -> Handshake,
    admission: &Admission,
) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, admission.accept.clone());
    if let Some(protocol) = &admission.protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    decorate(engine, head, handshake, headers, admission.opens_session());
    response.head_mut().set_connection_type(ConnectionType::Upgrade);
    response
}

/// The response to a request for a WebSocket that is refused: the bare text.
pub(super) fn refuse_websocket(
    engine: &Arc<Shared>,
    head: &RequestHead,
    handshake: impl FnOnce() -> Handshake,
    refused: &Refused,
) -> HttpResponse {
    let (status, text) = refused.text();
    let mut response = HttpResponse::new(status);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    if text.contains("Sec-WebSocket-Version") {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13, 8"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    decorate(engine, head, handshake, headers, false);
    response.head_mut().set_connection_type(ConnectionType::Close);
    response.set_body(BoxBody::new(text.to_owned()))
}

/// Adds the headers of cross-origin resource sharing and those of the application.
pub(super) fn decorate(
    engine: &Arc<Shared>,
    head: &RequestHead,
    handshake: impl FnOnce() -> Handshake,
    headers: &mut HeaderMap,
    opens_session: bool,
) {
    let config = &engine.config;
    if let Some(cors) = &config.cors {
        cors.apply(header_str(head, header::ORIGIN), headers);
    }
    if config.headers.is_some() || config.initial_headers.is_some() {
        let handshake = handshake();
        if let Some(hook) = config.initial_headers.as_ref().filter(|_| opens_session) {
            hook(headers, &handshake);
        }
        if let Some(hook) = &config.headers {
            hook(headers, &handshake);
        }
    }
}

/// The answer to a request of a browser whether it may ask from another origin.
pub(super) fn preflight(engine: &Arc<Shared>, head: &RequestHead, handshake: &Handshake) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    decorate(engine, head, || handshake.clone(), headers, false);
    if let Some(cors) = &engine.config.cors {
        cors.apply_preflight(header_list(head, header::ACCESS_CONTROL_REQUEST_HEADERS).as_deref(), headers);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn compressed(engine: &Arc<Shared>, head: &RequestHead, reply: &Reply, headers: &mut HeaderMap) -> Option<Vec<u8>> {
    let threshold = engine.config.http_compression?;
    if !reply.compress || reply.body.len() < threshold {
        return None;
    }
    let accepted = header_list(head, header::ACCEPT_ENCODING)?;
    let accepts = |name: &str| accepted.split(',').map(weighted).any(|(coding, weight)| coding.eq_ignore_ascii_case(name) && weight > 0.0);
    let body = &reply.body;
    let (name, bytes) = if accepts("gzip") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).ok()?;
        ("gzip", encoder.finish().ok()?)
    } else if accepts("deflate") {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).ok()?;
        ("deflate", encoder.finish().ok()?)
    } else {
        return None;
    };
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Some(bytes)
}
