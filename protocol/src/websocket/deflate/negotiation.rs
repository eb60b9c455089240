//! The agreement on permessage-deflate between a client and a server.

use thiserror::Error;

use super::MAX_WINDOW_BITS;

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The terms of a server for the compression of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// True if the server compresses each message alone.
    pub server_no_context_takeover: bool,
    /// True if the clients have to compress each message alone.
    pub client_no_context_takeover: bool,
    /// The largest window of the server, from 8 to 15.
    pub server_max_window_bits: Option<u8>,
    /// The largest window of a client, from 8 to 15. Below 15, offers of clients without a choice of their window are declined.
    pub client_max_window_bits: Option<u8>,
}

/// The parameters on which a client and a server have agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// True if the server compresses each message alone.
    pub server_no_context_takeover: bool,
    /// True if the client compresses each message alone.
    pub client_no_context_takeover: bool,
    /// The window of the server, from 8 to 15: the base-2 logarithm of its size in bytes.
    pub server_window_bits: u8,
    /// The window of the client.
    pub client_window_bits: u8,
}

/// The error of a header `Sec-WebSocket-Extensions` that breaks its grammar.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed Sec-WebSocket-Extensions: separate offers by commas, and parameters by semicolons")]
pub struct MalformedExtensions;

/// Decides on the offers in a client's header `Sec-WebSocket-Extensions`.
///
/// Returns the agreement and the header of the response: those of the first offer that the terms allow. `None` if there is no such offer. The
/// parameters of the response are in the order of the `ws` package.
///
/// ```
/// use sociable_protocol::websocket::deflate::{Terms, negotiate};
///
/// let terms = Terms {
///     server_no_context_takeover: true,
///     client_no_context_takeover: false,
///     server_max_window_bits: None,
///     client_max_window_bits: Some(12),
/// };
/// let (agreement, response) = negotiate("permessage-deflate; client_max_window_bits", &terms)?.unwrap();
/// assert_eq!(response, "permessage-deflate; client_max_window_bits=12; server_no_context_takeover");
/// assert_eq!((agreement.server_window_bits, agreement.client_window_bits), (15, 12));
/// # Ok::<(), sociable_protocol::websocket::deflate::MalformedExtensions>(())
/// ```
///
/// # Errors
///
/// The header breaks its grammar, even after an offer that the terms allow.
pub fn negotiate(header: &str, terms: &Terms) -> Result<Option<(Agreement, String)>, MalformedExtensions> {
    let mut rest = header;
    let mut agreed = None;
    loop {
        let name = token(&mut rest)?;
        let mut offer = Some(Offer::default());
        skip_space(&mut rest);
        while eat(&mut rest, ';') {
            skip_space(&mut rest);
            let (key, value) = parameter(&mut rest)?;
            offer = offer.and_then(|offer| offer.with(key, value.as_deref()));
            skip_space(&mut rest);
        }
        if name == NAME && agreed.is_none() {
            agreed = offer.and_then(|offer| offer.accept(terms));
        }
        if rest.is_empty() {
            return Ok(agreed);
        }
        if !eat(&mut rest, ',') {
            return Err(MalformedExtensions);
        }
        skip_space(&mut rest);
    }
}

/// The parameters of an offer or of a response, in the order of their first mention.
#[derive(Default)]
struct Offer {
    /// Each parameter with its value, if it has one.
    parameters: Vec<(&'static str, Option<u8>)>,
}

impl Offer {
    /// Adds a parameter. Returns `None` if it is unknown, repeated or of a wrong value: RFC 7692 has such offers declined.
    fn with(mut self, key: &str, value: Option<&str>) -> Option<Self> {
        let parameter = match (key, value) {
            (SERVER_NO_CONTEXT_TAKEOVER, None) => (SERVER_NO_CONTEXT_TAKEOVER, None),
            (CLIENT_NO_CONTEXT_TAKEOVER, None) => (CLIENT_NO_CONTEXT_TAKEOVER, None),
            (CLIENT_MAX_WINDOW_BITS, None) => (CLIENT_MAX_WINDOW_BITS, None),
            (SERVER_MAX_WINDOW_BITS, Some(bits)) => (SERVER_MAX_WINDOW_BITS, Some(window_bits(bits)?)),
            (CLIENT_MAX_WINDOW_BITS, Some(bits)) => (CLIENT_MAX_WINDOW_BITS, Some(window_bits(bits)?)),
            _ => return None,
        };
        let repeated = self.get(parameter.0).is_some();
        self.parameters.push(parameter);
        (!repeated).then_some(self)
    }

    fn get(&self, key: &str) -> Option<Option<u8>> {
        self.parameters.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn set(&mut self, key: &'static str, value: Option<u8>) {
        match self.parameters.iter_mut().find(|(name, _)| *name == key) {
            Some(parameter) => parameter.1 = value,
            None => self.parameters.push((key, value)),
        }
    }

    /// Turns the offer into a response within the terms. Returns `None` if there is none.
    fn accept(mut self, terms: &Terms) -> Option<(Agreement, String)> {
        let offered = self.get(CLIENT_MAX_WINDOW_BITS);
        if terms.server_no_context_takeover {
            self.set(SERVER_NO_CONTEXT_TAKEOVER, None);
        }
        if terms.client_no_context_takeover {
            self.set(CLIENT_NO_CONTEXT_TAKEOVER, None);
        }
        if let Some(bits) = terms.server_max_window_bits {
            let asked = self.get(SERVER_MAX_WINDOW_BITS).flatten().unwrap_or(MAX_WINDOW_BITS);
            self.set(SERVER_MAX_WINDOW_BITS, Some(bits.min(asked)));
        }
        match (offered, terms.client_max_window_bits) {
            // A client that names no such parameter must not get it.
            (None, Some(bits)) if bits < MAX_WINDOW_BITS => return None,
            (Some(offered), Some(bits)) => self.set(CLIENT_MAX_WINDOW_BITS, Some(bits.min(offered.unwrap_or(MAX_WINDOW_BITS)))),
            (Some(None), None) => self.parameters.retain(|(name, _)| *name != CLIENT_MAX_WINDOW_BITS),
            (Some(Some(_)) | None, _) => {}
        }
        let window = |key| self.get(key).flatten().unwrap_or(MAX_WINDOW_BITS);
        let agreement = Agreement {
            server_no_context_takeover: self.get(SERVER_NO_CONTEXT_TAKEOVER).is_some(),
            client_no_context_takeover: self.get(CLIENT_NO_CONTEXT_TAKEOVER).is_some(),
            server_window_bits: window(SERVER_MAX_WINDOW_BITS),
            client_window_bits: window(CLIENT_MAX_WINDOW_BITS),
        };
        let response = self.parameters.iter().fold(NAME.to_owned(), |text, (name, value)| match value {
            Some(value) => format!("{text}; {name}={value}"),
            None => format!("{text}; {name}"),
        });
        Some((agreement, response))
    }
}

/// Returns the window size in a parameter: a decimal from 8 to 15 without zeros in front.
fn window_bits(text: &str) -> Option<u8> {
    text.parse().ok().filter(|bits| (8..=MAX_WINDOW_BITS).contains(bits) && !text.starts_with(['0', '+']))
}

/// Reads a parameter, with its value if it has one.
fn parameter<'a>(rest: &mut &'a str) -> Result<(&'a str, Option<String>), MalformedExtensions> {
    let key = token(rest)?;
    let value = match (eat(rest, '='), rest.strip_prefix('"')) {
        (false, _) => None,
        (true, Some(quoted)) => {
            *rest = quoted;
            Some(unquote(rest)?)
        }
        (true, None) => Some(token(rest)?.to_owned()),
    };
    Ok((key, value))
}

/// Reads the rest of a quoted string. Between the quotes there has to be a token.
fn unquote(rest: &mut &str) -> Result<String, MalformedExtensions> {
    let mut value = String::new();
    loop {
        let byte = rest.bytes().next().ok_or(MalformedExtensions)?;
        let escaped = match byte {
            b'"' if !value.is_empty() => {
                *rest = &rest[1..];
                return Ok(value);
            }
            b'\\' => rest.as_bytes().get(1).copied().ok_or(MalformedExtensions)?,
            byte => byte,
        };
        if !is_token(escaped) {
            return Err(MalformedExtensions);
        }
        value.push(char::from(escaped));
        *rest = &rest[1 + usize::from(byte == b'\\')..];
    }
}

fn token<'a>(rest: &mut &'a str) -> Result<&'a str, MalformedExtensions> {
    let end = rest.bytes().position(|byte| !is_token(byte)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    if token.is_empty() { Err(MalformedExtensions) } else { Ok(token) }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn skip_space(rest: &mut &str) {
    *rest = rest.trim_start_matches([' ', '\t']);
}

fn eat(rest: &mut &str, expected: char) -> bool {
    rest.strip_prefix(expected).is_some_and(|after| {
        *rest = after;
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Terms = Terms {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };
    const OPEN: Terms = Terms { server_no_context_takeover: false, client_no_context_takeover: false, ..ALONE };

    fn response(header: &str, terms: &Terms) -> Option<String> {
        negotiate(header, terms).unwrap().map(|(_, response)| response)
    }

    #[test]
    fn response_is_that_of_ws_for_the_same_terms() {
        let small = Terms { server_max_window_bits: Some(12), client_max_window_bits: Some(10), ..OPEN };
        for (header, terms, expected) in [
            ("permessage-deflate", OPEN, "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits", OPEN, "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits=11", OPEN, "permessage-deflate; client_max_window_bits=11"),
            ("permessage-deflate; server_max_window_bits=9", OPEN, "permessage-deflate; server_max_window_bits=9"),
            (
                "permessage-deflate; client_max_window_bits; server_no_context_takeover",
                ALONE,
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
            (
                "permessage-deflate; client_max_window_bits",
                small,
                "permessage-deflate; client_max_window_bits=10; server_max_window_bits=12",
            ),
            ("x; y=\"z\", permessage-deflate; client_max_window_bits=\"1\\5\"", OPEN, "permessage-deflate; client_max_window_bits=15"),
        ] {
            assert_eq!(response(header, &terms).as_deref(), Some(expected), "{header}");
        }
    }

    #[test]
    fn smaller_window_is_agreed_when_the_sides_differ() {
        let terms = Terms { server_max_window_bits: Some(12), client_max_window_bits: Some(10), ..OPEN };
        let header = "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8";
        let (agreement, text) = negotiate(header, &terms).unwrap().unwrap();
        assert_eq!((agreement.server_window_bits, agreement.client_window_bits, &*text), (9, 8, header));
    }

    #[test]
    fn offer_is_declined_when_the_terms_or_the_rfc_forbid_it() {
        let small = Terms { client_max_window_bits: Some(14), ..OPEN };
        assert_eq!(response("permessage-deflate", &small), None, "the client has no choice of its window");
        for parameters in [
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=+9",
            "client_max_window_bits=256",
            "client_max_window_bits=x",
            "server_no_context_takeover=1",
            "client_no_context_takeover; client_no_context_takeover",
            "unknown",
        ] {
            assert_eq!(response(&format!("permessage-deflate; {parameters}"), &OPEN), None, "{parameters}");
        }
        assert_eq!(response("deflate-frame, PerMessage-Deflate", &OPEN), None);
    }

    #[test]
    fn next_offer_is_tried_when_one_is_declined() {
        let header = "permessage-deflate; unknown, permessage-deflate; server_no_context_takeover, permessage-deflate";
        assert_eq!(response(header, &OPEN).as_deref(), Some("permessage-deflate; server_no_context_takeover"));
    }

    #[test]
    fn malformed_header_is_refused() {
        for header in [
            "",
            ",",
            "a,",
            "a,,b",
            "a;",
            "a; b=",
            "a; b =c",
            "a; b= c",
            "a; b=\"",
            "a; b=\"\"",
            "a; b=\"c",
            "a; b=\"c d\"",
            "a; b=\"\\",
            "a b",
            "a; b=\"c\"d",
            "ä",
            "permessage-deflate, (",
        ] {
            assert_eq!(negotiate(header, &OPEN), Err(MalformedExtensions), "{header}");
        }
    }
}
