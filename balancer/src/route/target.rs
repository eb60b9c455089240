//! The route of a request, read from its target and nothing else.

use percent_encoding::percent_decode_str;
use sociable_protocol::Id;
use sociable_protocol::query::Query;

/// The route of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The owner of a session.
    Session(Id),
    /// No node: the session id is none that a node can have made.
    BadSession,
    /// No node: a parameter that decides the receiver is repeated, which every node refuses.
    Repeated,
    /// Any node that takes a new session.
    Handshake,
    /// Any node.
    Other,
}

/// The paths under which Engine.IO is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnginePaths(Vec<String>);

impl EnginePaths {
    /// A slash at the end is of no account.
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        Self(paths.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect())
    }

    /// Returns the route of a request by its method and target.
    pub(crate) fn route(&self, method: &str, target: &str) -> Route {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // As the node reads it: there `%2e` is a dot.
        let path = percent_decode_str(path).decode_utf8_lossy();
        let Some(rest) =
            self.0.iter().find_map(|engine| path.strip_prefix(engine.as_str())).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return Route::Other;
        };
        let Ok(query) = Query::read(query) else { return Route::Repeated };
        match query.session() {
            Some(sid) => Id::try_from(sid).map_or(Route::BadSession, Route::Session),
            // GET opens a new session. A node answers other methods with an error. All paths below count as the path
            // itself, except the files of the client.
            None if method == "GET" && (query.transport.is_some() || matches!(rest, "" | "/")) => Route::Handshake,
            None => Route::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "AbCdeeeeeeeeeeeeeeee";

    fn route(method: &str, target: &str) -> Route {
        EnginePaths::new(["/socket.io/", "/live"]).route(method, target)
    }

    #[test]
    fn session_id_routes_to_its_owner() {
        let owner = Route::Session(SID.parse().unwrap());
        assert_eq!(route("GET", &format!("/socket.io/?EIO=4&transport=polling&sid={SID}")), owner);
        assert_eq!(route("POST", &format!("/socket.io?sid={SID}&EIO=4")), owner);
        assert_eq!(route("GET", &format!("/live/?s%69d=%41bCdeeeeeeeeeeeeeeee&t={SID}")), owner);
        assert_eq!(route("OPTIONS", &format!("/socket.io/?sid={SID}")), owner, "a preflight");
    }

    #[test]
    fn bad_session_id_routes_to_no_node() {
        for sid in ["x", "AbCdeeeeeeeeeeeeeee", "AbCdeeeeeeeeeeeeeeeee", "AbCd+eeeeeeeeeeeeeee", "AbCd%00eeeeeeeeeeeeeee", "%ff"] {
            assert_eq!(route("GET", &format!("/socket.io/?sid={sid}")), Route::BadSession, "{sid}");
        }
    }

    #[test]
    fn repeated_parameter_routes_to_no_node() {
        for query in ["sid=a&sid=b", "sid=a&sid=a", "sid=&sid", "%73id=a&sid=", "transport=a&transport=", "EIO=4&EIO=4"] {
            assert_eq!(route("GET", &format!("/socket.io/?{query}")), Route::Repeated, "{query}");
            assert_eq!(route("GET", &format!("/other?{query}")), Route::Other, "{query}");
        }
        assert_eq!(route("GET", &format!("/live?sid={SID}&t=1&sid=")), Route::Repeated);
    }

    #[test]
    fn get_without_session_id_is_a_handshake() {
        assert_eq!(route("GET", "/socket.io/?EIO=4&transport=polling"), Route::Handshake);
        assert_eq!(route("GET", "/live?EIO=4&sid=&transport=websocket"), Route::Handshake);
        assert_eq!(route("POST", "/socket.io/?EIO=4&transport=polling"), Route::Other);
        assert_eq!(route("GET", "/socket.io/socket.io.js"), Route::Other);
        for path in ["/socket%2eio/", "/%73ocket.io", "/socket.io/x", "/socket.io//"] {
            assert_eq!(route("GET", &format!("{path}?EIO=4&transport=polling")), Route::Handshake, "{path}");
            assert_eq!(route("GET", &format!("{path}?EIO=4&transport=polling&sid={SID}")), Route::Session(SID.parse().unwrap()), "{path}");
        }
    }

    #[test]
    fn other_paths_have_no_sessions() {
        assert_eq!(route("GET", &format!("/?sid={SID}")), Route::Other);
        assert_eq!(route("GET", &format!("/socket.iox?sid={SID}")), Route::Other);
        assert_eq!(route("GET", "/"), Route::Other);
    }
}
