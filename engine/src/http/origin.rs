//! The origins whose pages may use the server.

use actix_http::RequestHead;
use actix_http::header::{self, HeaderName};

use super::headers::header_str;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origins whose pages may use the server.
#[derive(Clone, Debug)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Returns these origins.
    pub fn new<T: Into<String>>(origins: impl IntoIterator<Item = T>) -> Self {
        Self(origins.into_iter().map(|origin| origin.into().to_ascii_lowercase()).collect())
    }

    /// Returns whether all of them are written as browsers write them.
    pub(crate) fn are_valid(&self) -> bool {
        let host = |c: char| c.is_ascii_graphic() && !"/?#@*\\".contains(c);
        let valid = |origin: &String| match origin.split_once("://") {
            Some((scheme, rest)) => !scheme.is_empty() && !rest.is_empty() && rest.chars().all(host),
            None => origin == "null",
        };
        !self.0.is_empty() && self.0.iter().all(valid)
    }

    /// Returns whether the request comes from a listed page, or from no page of another origin.
    pub(super) fn allow(&self, head: &RequestHead, jsonp: bool) -> bool {
        let mut origins = head.headers.get_all(header::ORIGIN).peekable();
        if origins.peek().is_some() {
            return origins.all(|origin| origin.to_str().is_ok_and(|origin| self.lists(origin)));
        }
        let referred = || header_str(head, header::REFERER).and_then(origin_of).is_some_and(|origin| self.lists(origin));
        !is_cross_origin(header_str(head, FETCH_SITE), jsonp) || referred()
    }

    fn lists(&self, origin: &str) -> bool {
        self.0.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }
}

/// Returns whether a request without an `Origin` may come from another origin's page, by its `Sec-Fetch-Site`. Browsers without that header can still
/// load scripts, so JSONP counts as such.
pub(crate) fn is_cross_origin(fetch_site: Option<&str>, jsonp: bool) -> bool {
    fetch_site.map_or(jsonp, |site| !matches!(site, "same-origin" | "none"))
}

/// Returns the origin in a `Referer`.
fn origin_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    Some(&url[..end])
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn allows(jsonp: bool, headers: &[(HeaderName, &'static str)]) -> bool {
        let mut head = RequestHead::default();
        for (name, value) in headers {
            head.headers.append(name.clone(), HeaderValue::from_static(value));
        }
        Origins::new(["https://A.example", "http://localhost:3000"]).allow(&head, jsonp)
    }

    #[test]
    fn unlisted_origin_is_refused() {
        for (origin, allowed) in [
            ("https://a.example", true),
            ("http://localhost:3000", true),
            ("http://a.example", false),
            ("https://a.example:444", false),
            ("https://a.example.evil.example", false),
            ("https://evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(allows(false, &[(header::ORIGIN, origin)]), allowed, "{origin}");
        }
        assert!(!allows(false, &[(header::ORIGIN, "https://a.example"), (header::ORIGIN, "https://evil.example")]));
    }

    #[test]
    fn request_without_origin_is_judged_by_its_page() {
        for (jsonp, site, referer, allowed) in [
            (false, None, None, true),
            (true, None, None, false),
            (true, None, Some("https://a.example/page?a=1"), true),
            (true, None, Some("https://a.example"), true),
            (true, None, Some("https://a.example@evil.example/"), false),
            (true, Some("same-origin"), None, true),
            (false, Some("none"), None, true),
            (false, Some("cross-site"), None, false),
            (false, Some("same-site"), Some("https://evil.a.example/"), false),
            (true, Some("cross-site"), Some("https://a.example/"), true),
        ] {
            let site = site.map(|site| (FETCH_SITE, site));
            let referer = referer.map(|referer| (header::REFERER, referer));
            let headers: Vec<_> = site.into_iter().chain(referer).collect();
            assert_eq!(allows(jsonp, &headers), allowed, "{jsonp} {headers:?}");
        }
    }

    #[test]
    fn list_accepts_only_origins() {
        assert!(Origins::new(["https://a.example", "http://[::1]:3000", "null"]).are_valid());
        for wrong in ["*", "a.example", "https://", "https://a.example/", "https://*.a.example", "://a", ""] {
            assert!(!Origins::new([wrong]).are_valid(), "{wrong}");
        }
        assert!(!Origins::new([""; 0]).are_valid());
    }
}
