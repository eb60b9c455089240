//! Responses: status, headers, compression.

use std::sync::Arc;

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_http::{ConnectionType, RequestHead, StatusCode};
use actix_web::HttpResponse;
use actix_web::body::BoxBody;

use super::coding::weighted;
use super::compression::compress_once;
use super::headers::{header_list, header_str};
use super::lasting;
use super::refused::Refused;
use super::reply::Reply;
use crate::config::Config;
use crate::handshake::Handshake;
use crate::state::EngineState;
use crate::transport::upgrade::Admission;

/// The seconds after which a client may retry that was refused for lack of room.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Returns the response for a reply.
pub(super) fn respond(engine: &Arc<EngineState>, head: &RequestHead, handshake: impl FnOnce() -> Handshake, reply: Reply) -> HttpResponse {
    let mut response = HttpResponse::new(reply.status);
    let headers = response.headers_mut();
    for (name, value) in essentials(&reply) {
        headers.insert(name, value);
    }
    if header_str(head, header::USER_AGENT).is_some_and(guesses_types) {
        headers.insert(header::X_XSS_PROTECTION, HeaderValue::from_static("0"));
    }
    if let (Some(id), Some(cookie)) = (&reply.opened, &engine.config.cookie)
        && let Ok(value) = HeaderValue::from_str(&cookie.header(id.as_str()))
    {
        headers.append(header::SET_COOKIE, value);
    }
    decorate(engine, head, handshake, headers, reply.opened.is_some());
    let body = match compressed(&engine.config, &reply, header_list(head, header::ACCEPT_ENCODING).as_deref()) {
        Some((coding, body)) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            body
        }
        None => reply.body,
    };
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

/// Returns the header fields of a reply that depend on nothing else.
pub(super) fn essentials(reply: &Reply) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
    let kind = reply.content_type.map(|kind| (header::CONTENT_TYPE, HeaderValue::from_static(kind)));
    let cached = (reply.status == StatusCode::OK).then(|| (header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    let retried = (reply.status == StatusCode::SERVICE_UNAVAILABLE).then_some((header::RETRY_AFTER, RETRY_AFTER));
    kind.into_iter().chain(cached).chain(retried)
}

/// Returns whether a browser is so old that it guesses content types.
pub(super) fn guesses_types(agent: &str) -> bool {
    agent.contains(";MSIE") || agent.contains("Trident/")
}

/// Returns the body of a reply in a coding that the client accepts, if it may and is long enough.
pub(super) fn compressed(config: &Config, reply: &Reply, accepted: Option<&str>) -> Option<(&'static str, Vec<u8>)> {
    let threshold = config.http_compression?;
    if !reply.compress || reply.body.len() < threshold {
        return None;
    }
    let accepted = accepted?;
    let accepts = |name: &str| accepted.split(',').map(weighted).any(|(coding, weight)| coding.eq_ignore_ascii_case(name) && weight > 0.0);
    compress_once(&reply.body, accepts)
}
