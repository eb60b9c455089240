//! What a request asks for, read from its query and method, and the checks that need no session.

use std::sync::Arc;

use actix_http::header;
use actix_http::{Method, RequestHead};

use super::Refused;
use crate::config::{Config, Transport};
use crate::engine::Shared;
use crate::handshake::Handshake;

/// The parts of a request that Engine.IO looks at.
#[derive(Debug, Default)]
pub(crate) struct Target {
    transport: Option<String>,
    revision: Option<String>,
    /// Absent or empty: a new session is asked for.
    pub(crate) sid: Option<String>,
    /// The request wants to become a WebSocket.
    pub(crate) upgrade: bool,
}

impl Target {
    pub(crate) fn of(head: &RequestHead) -> Self {
        let mut target = Self { upgrade: wants_websocket(head), ..Self::default() };
        for (name, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
            // The last of several counts.
            match &*name {
                "transport" => target.transport = Some(value.into_owned()),
                "EIO" => target.revision = Some(value.into_owned()),
                "sid" => target.sid = Some(value.into_owned()).filter(|sid| !sid.is_empty()),
                _ => {}
            }
        }
        target
    }

    /// Checks what every request has to get right.
    pub(crate) fn check(&self, config: &Config, head: &RequestHead) -> Result<Transport, Refused> {
        let name = self.transport.as_deref();
        let known = name.and_then(Transport::from_name).filter(|transport| config.transports.contains(transport));
        let transport = known.ok_or_else(|| Refused::unknown_transport(name))?;
        let origin = head.headers.get(header::ORIGIN);
        if origin.is_some_and(|origin| origin.as_bytes().iter().any(|byte| byte.is_ascii_control())) {
            return Err(Refused::bad_request("INVALID_ORIGIN"));
        }
        Ok(transport)
    }

    /// Requests of a session have to speak its revision of the protocol.
    pub(crate) fn check_revision(&self) -> Result<(), Refused> {
        match self.revision.as_deref() {
            None | Some("4") => Ok(()),
            Some(_) => Err(Refused::bad_request("PROTOCOL_MISMATCH")),
        }
    }

    /// Checks what a request for a new session has to get right besides, and asks the application.
    pub(crate) async fn check_handshake(&self, engine: &Arc<Shared>, head: &RequestHead, handshake: &Handshake) -> Result<(), Refused> {
        if head.method != Method::GET {
            return Err(Refused::bad_method(&head.method));
        }
        if !self.upgrade && self.transport.as_deref() == Some("websocket") {
            return Err(Refused::bad_request("TRANSPORT_HANDSHAKE_ERROR"));
        }
        if let Some(allow) = &engine.config.allow_request
            && let Err(refusal) = allow(handshake.clone()).await
        {
            return Err(Refused::forbidden(&refusal));
        }
        if self.revision.as_deref() != Some("4") {
            return Err(Refused::unsupported_revision(self.revision.as_deref()));
        }
        if engine.is_closing() {
            return Err(Refused::unavailable("The server is stopping"));
        }
        if !engine.has_room() {
            return Err(Refused::unavailable("Too many sessions"));
        }
        Ok(())
    }
}

/// True for a request by which a WebSocket is opened.
pub(crate) fn wants_websocket(head: &RequestHead) -> bool {
    let protocol = head.headers.get(header::UPGRADE);
    head.method == Method::GET && protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
