//! Responses: status, headers, compression.

use std::sync::Arc;

use actix_http::header::{self, HeaderMap, HeaderValue};
use actix_http::{ConnectionType, RequestHead, StatusCode};
use actix_web::HttpResponse;
use actix_web::body::BoxBody;

use super::coding::weighted;
use super::compression::compress_once;
use super::headers::{header_list, header_str};
use super::lasting;
use super::refused::Refused;
use super::reply::Reply;
use crate::handshake::Handshake;
use crate::state::EngineState;
use crate::transport::upgrade::Admission;

/// The seconds after which a client may retry that was refused for lack of room.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Returns the response for a reply.
pub(super) fn respond(engine: &Arc<EngineState>, head: &RequestHead, handshake: impl FnOnce() -> Handshake, reply: Reply) -> HttpResponse {
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
    // Old browsers guess the content type.
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

/// Returns the response that opens a WebSocket.
pub(super) fn switching(
    engine: &Arc<EngineState>,
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
    if let Some(extensions) = &admission.extensions {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions.clone());
    }
    decorate(engine, head, handshake, headers, admission.opens_session());
    response.head_mut().set_connection_type(ConnectionType::Upgrade);
    response
}

/// Returns the response to a refused request for a WebSocket: the bare text.
pub(super) fn refuse_websocket(
    engine: &Arc<EngineState>,
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
    engine: &Arc<EngineState>,
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

/// Returns the response to a preflight request.
pub(super) fn preflight(engine: &Arc<EngineState>, head: &RequestHead, handshake: &Handshake) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    decorate(engine, head, || handshake.clone(), headers, false);
    if let Some(cors) = &engine.config.cors {
        cors.apply_preflight(header_list(head, header::ACCESS_CONTROL_REQUEST_HEADERS).as_deref(), headers);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn compressed(engine: &Arc<EngineState>, head: &RequestHead, reply: &Reply, headers: &mut HeaderMap) -> Option<Vec<u8>> {
    let threshold = engine.config.http_compression?;
    if !reply.compress || reply.body.len() < threshold {
        return None;
    }
    let accepted = header_list(head, header::ACCEPT_ENCODING)?;
    let accepts = |name: &str| accepted.split(',').map(weighted).any(|(coding, weight)| coding.eq_ignore_ascii_case(name) && weight > 0.0);
    let (name, bytes) = compress_once(&reply.body, accepts)?;
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Some(bytes)
}
