//! Cross-origin resource sharing, with the answers of the npm module `cors`.

use std::fmt;
use std::sync::Arc;

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use regex::Regex;

/// The pages of other origins that may read responses of this server.
///
/// A request of an unlisted origin is still served; its response lacks the headers that let the page read it. Use
/// [`allow_request`](crate::EngineBuilder::allow_request) to refuse such requests.
///
/// ```
/// use sociable_engine::Cors;
///
/// let any = Cors::any();
/// let some = Cors::list(["https://example.com", "https://example.org"]).credentials(true);
/// let matching = Cors::matching(|origin| origin.ends_with(".example.com"));
/// ```
#[derive(Clone)]
pub struct Cors {
    origin: Origin,
    credentials: bool,
    methods: String,
    allowed_headers: Option<String>,
    exposed_headers: Option<String>,
    max_age: Option<u32>,
}

#[derive(Clone)]
enum Origin {
    Any,
    /// One origin, named in every response.
    Fixed(String),
    Listed(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cors").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Cors {
    fn new(origin: Origin) -> Self {
        Self {
            origin,
            credentials: false,
            methods: "GET,HEAD,PUT,PATCH,POST,DELETE".into(),
            allowed_headers: None,
            exposed_headers: None,
            max_age: None,
        }
    }

    /// Allows every origin, by `*`. Browsers then send no credentials.
    pub fn any() -> Self {
        Self::new(Origin::Any)
    }

    /// Allows one origin. `*` stands for every origin.
    pub fn origin(origin: impl Into<String>) -> Self {
        match origin.into() {
            any if any == "*" => Self::any(),
            one => Self::new(Origin::Fixed(one)),
        }
    }

    /// Allows these origins.
    pub fn list<T: Into<String>>(origins: impl IntoIterator<Item = T>) -> Self {
        let origins: Vec<String> = origins.into_iter().map(Into::into).collect();
        Self::matching(move |origin| origins.iter().any(|listed| listed == origin))
    }

    /// Allows the origins that match the pattern.
    pub fn pattern(pattern: Regex) -> Self {
        Self::matching(move |origin| pattern.is_match(origin))
    }

    /// Allows the origins for which the function returns true.
    pub fn matching(allowed: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::new(Origin::Listed(Arc::new(allowed)))
    }

    /// Sets whether cookies and other credentials may be sent along: no by default.
    pub fn credentials(mut self, allow: bool) -> Self {
        self.credentials = allow;
        self
    }

    /// Sets the methods that a preflight response lists, separated by commas.
    pub fn methods(mut self, methods: impl Into<String>) -> Self {
        self.methods = methods.into();
        self
    }

    /// Sets the headers that a request may have, separated by commas. By default all requested ones.
    pub fn allowed_headers(mut self, headers: impl Into<String>) -> Self {
        self.allowed_headers = Some(headers.into());
        self
    }

    /// Sets the headers of a response that a page may read, separated by commas.
    pub fn exposed_headers(mut self, headers: impl Into<String>) -> Self {
        self.exposed_headers = Some(headers.into());
        self
    }

    /// Sets how many seconds a browser may cache the preflight response.
    pub fn max_age(mut self, seconds: u32) -> Self {
        self.max_age = Some(seconds);
        self
    }

    /// Adds the headers of every response.
    pub(crate) fn apply(&self, origin: Option<&str>, headers: &mut HeaderMap) {
        match &self.origin {
            Origin::Any => put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            Origin::Fixed(one) => {
                put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, one);
                vary(headers, "Origin");
            }
            Origin::Listed(allowed) => {
                if let Some(origin) = origin.filter(|origin| allowed(origin)) {
                    put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                }
                vary(headers, "Origin");
            }
        }
        if self.credentials {
            put(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if let Some(exposed) = &self.exposed_headers {
            put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Adds the further headers of a preflight response.
    pub(crate) fn apply_preflight(&self, requested: Option<&str>, headers: &mut HeaderMap) {
        put(headers, header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods);
        if self.allowed_headers.is_none() {
            vary(headers, "Access-Control-Request-Headers");
        }
        if let Some(allowed) = self.allowed_headers.as_deref().or(requested) {
            put(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
        if let Some(seconds) = self.max_age {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Left out: an invalid value comes from the application's own options or from the client's own header.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn vary(headers: &mut HeaderMap, on: &'static str) {
    headers.append(header::VARY, HeaderValue::from_static(on));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cors: &Cors, origin: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        cors.apply(origin, &mut headers);
        cors.apply_preflight(Some("x-token"), &mut headers);
        let mut lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.join("\n").replace("access-control-", "")
    }

    #[test]
    fn any_origin_is_allowed_by_star() {
        let expected =
            "allow-headers: x-token\nallow-methods: GET,HEAD,PUT,PATCH,POST,DELETE\nallow-origin: *\nvary: Access-Control-Request-Headers";
        assert_eq!(headers(&Cors::any(), Some("https://a.example")), expected);
    }

    #[test]
    fn listed_origin_is_reflected_and_others_are_not() {
        let cors = Cors::list(["https://a.example"]).credentials(true).methods("GET").allowed_headers("x-other").max_age(60);
        let always = "allow-credentials: true\nallow-headers: x-other\nallow-methods: GET\n";
        assert_eq!(
            headers(&cors, Some("https://a.example")),
            format!("{always}allow-origin: https://a.example\nmax-age: 60\nvary: Origin")
        );
        assert_eq!(headers(&cors, Some("https://b.example")), format!("{always}max-age: 60\nvary: Origin"));
        assert_eq!(headers(&cors, None), format!("{always}max-age: 60\nvary: Origin"));
    }
}
