//! Whom a request is for, read from its target and nothing else.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sociable_protocol::{Id, NodeTag};

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The owner of a session.
    Session(NodeTag),
    /// Nobody: it has a session id that no node can have made.
    BadSession,
    /// Whoever takes a new session.
    Handshake,
    /// Any node.
    Other,
}

/// Two session ids in one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TwoSessions;

/// The paths under which Engine.IO is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnginePaths(Vec<String>);

impl EnginePaths {
    /// A slash at the end is of no account.
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        Self(paths.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect())
    }

    /// Whom the target of a request with this method is for.
    pub(crate) fn route(&self, method: &str, target: &str) -> Result<Route, TwoSessions> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // As the node reads it: there `%2e` is a dot.
        let path = percent_decode_str(path).decode_utf8_lossy();
        let Some(rest) =
            self.0.iter().find_map(|engine| path.strip_prefix(engine.as_str())).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return Ok(Route::Other);
        };
        let mut sid: Option<Cow<'_, str>> = None;
        let mut transport = false;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            transport |= name == "transport";
            // Which of them counts would be up to whoever reads it.
            if name == "sid" && !value.is_empty() && sid.replace(value.clone()).is_some_and(|first| first != value) {
                return Err(TwoSessions);
            }
        }
        Ok(match sid {
            Some(sid) => Id::try_from(&*sid).map_or(Route::BadSession, |id| Route::Session(id.tag())),
            // A new session is asked for by GET. Who asks in another way is told so by a node.
            // All that is under the path is as the path itself, but for the files of the client.
            None if method == "GET" && (transport || matches!(rest, "" | "/")) => Route::Handshake,
            None => Route::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "AbCdeeeeeeeeeeeeeeee";

    fn route(method: &str, target: &str) -> Result<Route, TwoSessions> {
        EnginePaths::new(["/socket.io/", "/live"]).route(method, target)
    }

    #[test]
    fn a_session_id_leads_to_its_owner() {
        let owner = Ok(Route::Session("AbCd".parse().unwrap()));
        assert_eq!(route("GET", &format!("/socket.io/?EIO=4&transport=polling&sid={SID}")), owner);
        assert_eq!(route("POST", &format!("/socket.io?sid={SID}&EIO=4")), owner);
        assert_eq!(route("GET", &format!("/live/?s%69d=%41bCdeeeeeeeeeeeeeeee&t={SID}")), owner);
        assert_eq!(route("GET", &format!("/socket.io/?sid={SID}&sid={SID}")), owner, "the same twice");
        assert_eq!(route("OPTIONS", &format!("/socket.io/?sid={SID}")), owner, "a preflight");
    }

    #[test]
    fn what_is_no_session_id_leads_to_nobody() {
        for sid in ["x", "AbCdeeeeeeeeeeeeeee", "AbCdeeeeeeeeeeeeeeeee", "AbCd+eeeeeeeeeeeeeee", "AbCd%00eeeeeeeeeeeeeee", "%ff"] {
            assert_eq!(route("GET", &format!("/socket.io/?sid={sid}")), Ok(Route::BadSession), "{sid}");
        }
        assert_eq!(route("GET", &format!("/socket.io/?sid={SID}&sid=AbCdfeeeeeeeeeeeeeee")), Err(TwoSessions));
    }

    #[test]
    fn a_new_session_is_asked_for_by_get_without_an_id() {
        assert_eq!(route("GET", "/socket.io/?EIO=4&transport=polling"), Ok(Route::Handshake));
        assert_eq!(route("GET", "/live?EIO=4&sid=&transport=websocket"), Ok(Route::Handshake));
        assert_eq!(route("POST", "/socket.io/?EIO=4&transport=polling"), Ok(Route::Other));
        assert_eq!(route("GET", "/socket.io/socket.io.js"), Ok(Route::Other));
        for path in ["/socket%2eio/", "/%73ocket.io", "/socket.io/x", "/socket.io//"] {
            assert_eq!(route("GET", &format!("{path}?EIO=4&transport=polling")), Ok(Route::Handshake), "{path}");
            assert_eq!(
                route("GET", &format!("{path}?EIO=4&transport=polling&sid={SID}")),
                Ok(Route::Session("AbCd".parse().unwrap())),
                "{path}"
            );
        }
    }

    #[test]
    fn other_paths_have_no_sessions() {
        assert_eq!(route("GET", &format!("/?sid={SID}")), Ok(Route::Other));
        assert_eq!(route("GET", &format!("/socket.iox?sid={SID}")), Ok(Route::Other));
        assert_eq!(route("GET", "/"), Ok(Route::Other));
    }
}
