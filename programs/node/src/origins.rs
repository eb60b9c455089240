//! Origins in flags, as browsers send them.

use thiserror::Error;

/// The reason why a text is no origin.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum OriginFault {
    #[error("an origin has a scheme: write it as https://example.com")]
    NoScheme,
    #[error("an origin ends with its host or port: write it as https://example.com, without a path")]
    Path,
    #[error("an origin is one scheme and host, with a port if needed: write it as https://example.com")]
    Other,
    #[error("`*` is no origin here: leave the flag out for all origins")]
    Any,
}

/// Parses an origin whose pages may read responses, or `*` for every origin.
pub(crate) fn readable(text: &str) -> Result<String, OriginFault> {
    if text == "*" { Ok(text.into()) } else { origin(text) }
}

/// Parses an origin whose pages may connect.
pub(crate) fn allowed(text: &str) -> Result<String, OriginFault> {
    if text == "*" { Err(OriginFault::Any) } else { origin(text) }
}

/// Parses an origin of the web, of an application such as `capacitor://localhost`, or the `null` of a page without one.
///
/// Browsers send origins in lower case. Servers compare them byte by byte.
fn origin(text: &str) -> Result<String, OriginFault> {
    if text == "null" {
        return Ok(text.into());
    }
    let (scheme, host) = text.split_once("://").ok_or(OriginFault::NoScheme)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if host.contains('/') {
        return Err(OriginFault::Path);
    }
    let is_host = |c: char| c.is_ascii_graphic() && !"?#@*\\".contains(c);
    if !is_scheme || host.is_empty() || !host.chars().all(is_host) {
        return Err(OriginFault::Other);
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for text in
            ["https://a.example", "http://127.0.0.1:8081", "http://[::1]:3000", "capacitor://localhost", "chrome-extension://abc", "null"]
        {
            assert_eq!((readable(text), allowed(text)), (Ok(text.into()), Ok(text.into())));
        }
        assert_eq!(readable("HTTPS://A.Example"), Ok("https://a.example".into()));
        assert_eq!((readable("*"), allowed("*")), (Ok("*".into()), Err(OriginFault::Any)));
    }

    #[test]
    fn text_that_no_browser_sends_is_refused() {
        for (text, fault) in [
            ("a.example", OriginFault::NoScheme),
            ("localhost:3000", OriginFault::NoScheme),
            ("//a.example", OriginFault::NoScheme),
            ("", OriginFault::NoScheme),
            ("https://a.example/", OriginFault::Path),
            ("https://a.example/chat", OriginFault::Path),
            ("https://", OriginFault::Other),
            ("://a.example", OriginFault::Other),
            ("https://*.a.example", OriginFault::Other),
            ("https://ada@a.example", OriginFault::Other),
            ("https://a.example https://b.example", OriginFault::Path),
        ] {
            assert_eq!(readable(text), Err(fault), "{text}");
            assert_eq!(allowed(text), Err(fault), "{text}");
        }
    }
}
