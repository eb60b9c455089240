//! The target of a request, read from its query and method, and the checks that need no session.

use std::sync::Arc;

use actix_http::header;
use actix_http::{Method, RequestHead};
use sociable_protocol::query::{Query, Repeated};

use super::jsonp;
use super::refused::Refused;
use crate::config::Config;
use crate::counters::Count;
use crate::handshake::Handshake;
use crate::state::EngineState;
use crate::transport::Transport;
use crate::version::EngineVersion;

/// The parts of a request that Engine.IO reads.
#[derive(Debug, Default)]
pub(crate) struct Target<'a> {
    query: Query<'a>,
    /// A parameter of the query that came more than once.
    repeated: Option<Repeated>,
    /// The callback for the payload, where the answer has to be a script.
    pub(crate) jsonp: Option<String>,
    /// True if the request asks for a WebSocket.
    pub(crate) upgrade: bool,
}

impl<'a> Target<'a> {
    pub(crate) fn of(head: &'a RequestHead) -> Self {
        let (query, repeated) = match Query::read(head.uri.query().unwrap_or_default()) {
            Ok(query) => (query, None),
            Err(repeated) => (Query::default(), Some(repeated)),
        };
        let jsonp = query.jsonp.as_deref().map(jsonp::callback);
        Self { query, repeated, jsonp, upgrade: wants_websocket(head) }
    }

    /// Returns the id of the request's session; none for a handshake.
    pub(crate) fn sid(&self) -> Option<&str> {
        self.query.session()
    }

    /// Checks the requirements of every request.
    pub(crate) fn check(&self, config: &Config, head: &RequestHead) -> Result<Transport, Refused> {
        if let Some(Repeated(name)) = self.repeated {
            return Err(Refused::bad_request(&format!("REPEATED_PARAMETER: {name}")));
        }
        let name = self.query.transport.as_deref();
        let known = name.and_then(Transport::from_name).filter(|transport| config.transports.contains(transport));
        let transport = known.ok_or_else(|| Refused::unknown_transport(name))?;
        let origin = head.headers.get(header::ORIGIN);
        if self.jsonp.is_some() && !config.jsonp {
            return Err(Refused::bad_request("JSONP_DISABLED"));
        }
        if origin.is_some_and(|origin| origin.as_bytes().iter().any(|byte| byte.is_ascii_control())) {
            return Err(Refused::bad_request("INVALID_ORIGIN"));
        }
        Ok(transport)
    }

    /// Returns the revision that the client speaks: 4, or 3 for any other value.
    pub(crate) fn version(&self) -> EngineVersion {
        EngineVersion::of(self.query.revision.as_deref(), self.query.base64 || self.jsonp.is_some())
    }

    /// Returns the revision that the session has to speak, if the request names one.
    pub(crate) fn claims(&self) -> Option<EngineVersion> {
        self.query.revision.is_some().then(|| self.version())
    }

    /// Checks the further requirements of a handshake, and asks the application.
    pub(crate) async fn check_handshake(
        &self,
        engine: &Arc<EngineState>,
        head: &RequestHead,
        handshake: &Handshake,
    ) -> Result<(), Refused> {
        if head.method != Method::GET {
            return Err(Refused::bad_method(&head.method));
        }
        if !self.upgrade && self.query.transport.as_deref() == Some("websocket") {
            return Err(Refused::bad_request("TRANSPORT_HANDSHAKE_ERROR"));
        }
        if let Some(allow) = &engine.config.allow_request
            && let Err(refusal) = allow(handshake.clone()).await
        {
            return Err(Refused::forbidden(&refusal));
        }
        if self.version().is_v3() && !engine.config.allow_eio3 {
            return Err(Refused::unsupported_revision(self.query.revision.as_deref()));
        }
        if engine.is_closing() {
            return Err(Refused::unavailable("The server is stopping"));
        }
        if !engine.has_room() {
            engine.count(Count::SessionsRefused);
            return Err(Refused::unavailable("Too many sessions"));
        }
        Ok(())
    }
}

/// Returns whether a request asks for a WebSocket.
pub(crate) fn wants_websocket(head: &RequestHead) -> bool {
    let protocol = head.headers.get(header::UPGRADE);
    head.method == Method::GET && protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
