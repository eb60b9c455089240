//! Claims: the data of a socket, and its rooms.

use serde::Deserialize;
use serde_json::{Map, Value};
use sociable::adapter::own_room;

use super::refusal::Refusal;

/// The claims of a token.
pub(super) type Claims = Map<String, Value>;

/// The place of a claim: its name, or a JSON Pointer (RFC 6901) such as `/realm_access/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ClaimPath(String);

impl ClaimPath {
    /// Returns the path of a claim with this name.
    pub(super) fn top(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name in the data of a socket: the last part of a pointer.
    pub(super) fn name(&self) -> &str {
        if self.0.starts_with('/') { self.0.rsplit('/').next().unwrap_or_default() } else { &self.0 }
    }

    /// Returns the claim. `null` counts as none.
    pub(super) fn find<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        let found = match self.0.strip_prefix('/') {
            None => claims.get(&self.0),
            Some(pointer) => {
                let (first, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
                claims.get(&first.replace("~1", "/").replace("~0", "~")).and_then(|value| value.pointer(rest))
            }
        };
        found.filter(|value| !value.is_null())
    }
}

impl TryFrom<String> for ClaimPath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let path = Self(text);
        if path.name().is_empty() { Err("the name of a claim is empty: use a name such as `sub`") } else { Ok(path) }
    }
}

impl std::str::FromStr for ClaimPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.to_owned().try_into()
    }
}

/// Returns the claims of these paths, by their names.
pub(super) fn chosen<'a>(paths: &'a [ClaimPath], claims: &'a Claims) -> impl Iterator<Item = (&'a str, &'a Value)> {
    paths.iter().filter_map(|path| Some((path.name(), path.find(claims)?)))
}

/// The name of a room with claims in braces, such as `user:{sub}`. `{{` and `}}` stand for the braces themselves.
///
/// A list claim makes one room for each entry. Without the claim there is no room.
///
/// ```
/// use sociable_gateway::jwt::RoomTemplate;
///
/// assert!("tenant:{tenant}:{/realm_access/roles}".parse::<RoomTemplate>().is_ok());
/// assert!("user:{sub".parse::<RoomTemplate>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RoomTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(ClaimPath),
}

/// The bounds of rooms by claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomLimits {
    pub(super) rooms: usize,
    pub(super) bytes: usize,
}

impl TryFrom<String> for RoomTemplate {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl std::str::FromStr for RoomTemplate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (mut parts, mut plain) = (vec![], String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(behind) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                plain.push_str(&brace[..1]);
                rest = behind;
                continue;
            }
            let inner = brace.strip_prefix('{').ok_or("the room has a `}` without a `{`: write `}}` for the brace itself")?;
            let (claim, behind) = inner.split_once('}').ok_or("the room has a `{` without a `}`: write `{{` for the brace itself")?;
            parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Claim(claim.parse()?)]);
            rest = behind;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        if parts.is_empty() { Err("the room has no name: use a name such as `user:{sub}`") } else { Ok(Self(parts)) }
    }
}

impl RoomTemplate {
    /// Adds the rooms by these claims, each once.
    fn add(&self, claims: &Claims, limits: RoomLimits, rooms: &mut Vec<String>) -> Result<(), Refusal> {
        let mut names = vec![String::new()];
        for part in &self.0 {
            let texts = match part {
                Part::Text(text) => vec![text.clone()],
                Part::Claim(path) => texts(path.find(claims), limits)?,
            };
            if names.len().saturating_mul(texts.len()) > limits.rooms {
                return Err(Refusal::Rooms);
            }
            names = names.iter().flat_map(|name| texts.iter().map(move |text| format!("{name}{text}"))).collect();
            if names.iter().any(|name| name.len() > limits.bytes) {
                return Err(Refusal::Rooms);
            }
        }
        for name in names {
            // Members of such a room would get the events for that socket.
            if own_room(&name).is_some() {
                return Err(Refusal::Rooms);
            }
            if !rooms.contains(&name) {
                rooms.push(name);
            }
        }
        if rooms.len() > limits.rooms { Err(Refusal::Rooms) } else { Ok(()) }
    }
}

/// Returns the texts of a claim: none without it, one, or one for each entry of a list.
fn texts(claim: Option<&Value>, limits: RoomLimits) -> Result<Vec<String>, Refusal> {
    match claim {
        None => Ok(vec![]),
        Some(Value::Array(entries)) if entries.len() > limits.rooms => Err(Refusal::Rooms),
        Some(Value::Array(entries)) => entries.iter().map(text).collect(),
        Some(value) => text(value).map(|text| vec![text]),
    }
}

/// Returns the text of a value for a room.
fn text(value: &Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err(Refusal::Rooms),
    }
}

/// Returns the rooms by these claims, each once.
pub(super) fn rooms(templates: &[RoomTemplate], claims: &Claims, limits: RoomLimits) -> Result<Vec<String>, Refusal> {
    let mut rooms = vec![];
    templates.iter().try_for_each(|template| template.add(claims, limits, &mut rooms))?;
    Ok(rooms)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: RoomLimits = RoomLimits { rooms: 4, bytes: 20 };

    fn rooms_of(templates: &[&str], claims: &Value) -> Result<Vec<String>, Refusal> {
        let templates: Vec<RoomTemplate> = templates.iter().map(|text| text.parse().unwrap()).collect();
        rooms(&templates, claims.as_object().unwrap(), LIMITS)
    }

    #[test]
    fn room_is_made_of_claims() {
        let claims =
            json!({ "sub": "ann", "n": 7, "admin": true, "groups": ["a", "b"], "realm": { "roles": ["x"] }, "a/b": "c", "no": null });
        for (template, rooms) in [
            ("all", &["all"][..]),
            ("user:{sub}", &["user:ann"]),
            ("{n}-{admin}", &["7-true"]),
            ("g:{groups}", &["g:a", "g:b"]),
            ("{groups}{groups}", &["aa", "ab", "ba", "bb"]),
            ("{/realm/roles}", &["x"]),
            ("{/a~1b}", &["c"]),
            ("{{{sub}}}", &["{ann}"]),
            ("x{missing}", &[]),
            ("x{no}", &[]),
            ("{/realm/missing}", &[]),
        ] {
            assert_eq!(rooms_of(&[template], &claims).unwrap(), rooms, "{template}");
        }
        assert_eq!(rooms_of(&["{sub}", "a{groups}", "{sub}"], &claims).unwrap(), ["ann", "aa", "ab"]);
    }

    #[test]
    fn rooms_are_refused_beyond_their_bounds() {
        let refused =
            |template: &str, claims: Value| assert_eq!(rooms_of(&[template], &claims), Err(Refusal::Rooms), "{template} {claims}");
        refused("{a}", json!({ "a": [1, 2, 3, 4, 5] }));
        refused("{a}{b}", json!({ "a": [1, 2, 3], "b": [1, 2] }));
        refused("user:{a}", json!({ "a": "x".repeat(16) }));
        refused("{a}", json!({ "a": "" }));
        refused("{a}", json!({ "a": { "b": 1 } }));
        refused("{a}", json!({ "a": ["b", null] }));
        assert_eq!(rooms_of(&["{a}", "b{a}"], &json!({ "a": [1, 2, 3] })), Err(Refusal::Rooms));
        assert!(rooms_of(&["{a}", "b{a}"], &json!({ "a": [1, 2] })).is_ok());
    }

    #[test]
    fn room_is_refused_when_it_looks_like_a_socket_id() {
        assert_eq!(rooms_of(&["{a}"], &json!({ "a": "AbCdEfGhIjKlMnOpQrSt" })), Err(Refusal::Rooms));
        assert_eq!(rooms_of(&["AbCdEfGhIj{a}"], &json!({ "a": "KlMnOpQrSt" })), Err(Refusal::Rooms));
        let limits = RoomLimits { bytes: 100, ..LIMITS };
        let claims = json!({ "a": "/chat#AbCdEfGhIjKlMnOpQrSt" });
        assert_eq!(rooms(&["{a}".parse().unwrap()], claims.as_object().unwrap(), limits), Err(Refusal::Rooms));
    }

    #[test]
    fn template_is_refused_when_its_braces_do_not_fit() {
        for wrong in ["", "{", "}", "a{b", "a}b", "{}", "{/}", "{a/}x}"] {
            assert!(wrong.parse::<RoomTemplate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn chosen_claims_are_named_by_their_last_part() {
        let claims = json!({ "sub": "ann", "https://a/role": "x", "realm": { "roles": [1] }, "none": null });
        let paths: Vec<ClaimPath> = ["sub", "https://a/role", "/realm/roles", "none", "missing"].map(|path| path.parse().unwrap()).into();
        let chosen: Vec<_> = chosen(&paths, claims.as_object().unwrap()).collect();
        assert_eq!(chosen, [("sub", &json!("ann")), ("https://a/role", &json!("x")), ("roles", &json!([1]))]);
    }
}
