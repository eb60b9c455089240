//! The scope of a key: the operations, namespaces and rooms that it may use.

use serde::Deserialize;

use super::problem::{Problem, ProblemKind};
use super::routes::Route;

/// An operation that a key may use: its name, or `*` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Allowed(Option<Route>);

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name == "*" {
            return Ok(Self(None));
        }
        let known = Route::ALL.iter().copied().filter(|route| *route != Route::Batch);
        match known.clone().find(|route| route.name() == name) {
            Some(route) => Ok(Self(Some(route))),
            None => Err(format!("unknown operation: choose of *, {}", known.map(Route::name).collect::<Vec<_>>().join(", "))),
        }
    }
}

/// The scope of a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scope {
    pub(crate) operations: Vec<Allowed>,
    /// Patterns with `*`. Every namespace if it is `None`.
    pub(crate) namespaces: Option<Vec<String>>,
    /// Prefixes. Every room, and all sockets of a namespace, if it is `None`.
    pub(crate) rooms: Option<Vec<String>>,
}

impl Scope {
    /// Checks the operation. A batch is checked for each of its operations.
    pub(crate) fn check_operation(&self, route: Route) -> Result<(), Problem> {
        let is_allowed =
            route == Route::Batch || self.operations.iter().any(|Allowed(allowed)| allowed.is_none_or(|allowed| allowed == route));
        is_allowed.then_some(()).ok_or_else(|| {
            let detail = format!("the key may not use `{}`: add it to `operations` of the key", route.name());
            Problem::new(ProblemKind::Forbidden, detail)
        })
    }

    /// Checks the namespace.
    pub(crate) fn check_namespace(&self, name: &str) -> Result<(), Problem> {
        let is_allowed = self.namespaces.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| matches(pattern, name)));
        let refused = || Problem::new(ProblemKind::Forbidden, "the key may not use this namespace: add it to `namespaces` of the key");
        is_allowed.then_some(()).ok_or_else(refused)
    }

    /// Checks the rooms of an operation. `None` stands for all sockets of the namespace.
    pub(crate) fn check_rooms<'a>(&self, rooms: Option<&'a [String]>, pointer: &'static str) -> Result<(), Problem> {
        let Some(prefixes) = &self.rooms else { return Ok(()) };
        let is_allowed = |room: &'a String| prefixes.iter().any(|prefix| room.starts_with(prefix));
        match rooms {
            None => Err(Problem::new(ProblemKind::Forbidden, "the key may not use all sockets: name rooms of its scope").at(pointer)),
            Some(rooms) => match rooms.iter().position(|room| !is_allowed(room)) {
                Some(index) => {
                    let detail = "the key may not use this room: add a prefix of its name to `rooms` of the key";
                    Err(Problem::new(ProblemKind::Forbidden, detail).at(format!("{pointer}/{index}")))
                }
                None => Ok(()),
            },
        }
    }

    /// Checks the beginning of the names of rooms to be listed.
    pub(crate) fn check_prefix(&self, prefix: &str) -> Result<(), Problem> {
        let is_allowed = self.rooms.as_ref().is_none_or(|prefixes| prefixes.iter().any(|allowed| prefix.starts_with(allowed)));
        is_allowed.then_some(()).ok_or_else(|| {
            let detail = "the key may not list these rooms: send a `prefix` that begins with one of `rooms` of the key";
            Problem::new(ProblemKind::Forbidden, detail).at("/prefix")
        })
    }
}

/// Returns whether a name matches a pattern, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        // The earliest place leaves the most for the other parts.
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_any_text() {
        for (pattern, name) in
            [("/", "/"), ("*", "/chat"), ("/org-*", "/org-"), ("/org-*", "/org-7/x"), ("/*-a-*-b", "/x-a-a-b-b"), ("/a*a", "/aa")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("/", "/chat"), ("/org-*", "/org"), ("/a*a", "/a"), ("/*-a-*-b", "/x-a-b"), ("", "/"), ("/*b", "/bc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn rooms_of_a_limited_key_need_a_prefix() {
        let scope = Scope { rooms: Some(vec!["user:".into()]), ..Scope::default() };
        let rooms = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(scope.check_rooms(Some(&rooms(&["user:1", "user:2"])), "/rooms").is_ok());
        assert!(scope.check_rooms(Some(&rooms(&["user:1", "admin"])), "/rooms").is_err());
        assert!(scope.check_rooms(None, "/rooms").is_err());
        assert!(Scope::default().check_rooms(None, "/rooms").is_ok());
        assert!(scope.check_prefix("user:").is_ok() && scope.check_prefix("user:7").is_ok());
        assert!(scope.check_prefix("").is_err() && scope.check_prefix("user").is_err());
        assert!(Scope::default().check_prefix("").is_ok());
    }
}
