//! The cookie of a session.

/// The cookie that a polling handshake sets, with the session id as its value.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// The name: `io` by default.
    pub name: String,
    /// The path: `/` by default; `None` leaves it out.
    pub path: Option<String>,
    /// True to hide the cookie from scripts: true by default.
    pub http_only: bool,
    /// The value of `SameSite`: `Lax` by default; `None` leaves it out.
    pub same_site: Option<String>,
    /// True to send the cookie over TLS only: false by default.
    pub secure: bool,
}

impl Default for Cookie {
    fn default() -> Self {
        Self { name: "io".into(), path: Some("/".into()), http_only: true, same_site: Some("Lax".into()), secure: false }
    }
}

impl Cookie {
    /// Returns the default cookie with another name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(crate) fn header(&self, value: &str) -> String {
        let mut header = format!("{}={value}", self.name);
        if let Some(path) = &self.path {
            header.push_str("; Path=");
            header.push_str(path);
        }
        if self.http_only {
            header.push_str("; HttpOnly");
        }
        if self.secure {
            header.push_str("; Secure");
        }
        if let Some(same_site) = &self.same_site {
            header.push_str("; SameSite=");
            header.push_str(same_site);
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_has_the_attributes_of_the_javascript_server() {
        assert_eq!(Cookie::default().header("abc"), "io=abc; Path=/; HttpOnly; SameSite=Lax");
    }
}
