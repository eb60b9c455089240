//! Users, and the signed tokens that name them: as a cookie for pages, as a bearer token or `auth.token` for other programs.
//!
//! A node remembers no login. Every node with the same key verifies a token, so clients may come to any node.

use std::future::{Ready, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, CookieJar, Key, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::text::Name;

/// The name of the cookie.
pub const COOKIE: &str = "login";

/// A logged-in user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: Name,
}

impl User {
    /// Returns the room of all sockets of the user.
    pub fn room(&self) -> String {
        format!("user:{}", self.name)
    }
}

/// The logins: they issue and verify tokens.
#[derive(Clone)]
pub struct Logins {
    key: Key,
    lifetime: Duration,
    secure: bool,
}

impl Logins {
    /// Returns logins that sign with this key, and are valid for so long.
    pub fn new(key: Key, lifetime: Duration) -> Self {
        Self { key, lifetime, secure: false }
    }

    /// Sets whether browsers send the cookie over HTTPS alone.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Returns a token for a user: the signature, the end of the login in seconds of the Unix epoch, and the name.
    pub fn issue(&self, user: &User) -> String {
        let end = now() + self.lifetime.as_secs();
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.key).add(Cookie::new(COOKIE, format!("{end}.{}", user.name)));
        jar.get(COOKIE).map(|cookie| cookie.value().to_owned()).unwrap_or_default()
    }

    /// Returns the user of a token. A forged or expired token has none.
    pub fn user(&self, token: &str) -> Option<User> {
        let mut jar = CookieJar::new();
        jar.add_original(Cookie::new(COOKIE, token.to_owned()));
        let signed = jar.signed(&self.key).get(COOKIE)?;
        let (end, name) = signed.value().split_once('.')?;
        let name = Name::try_from(name.to_owned()).ok()?;
        (end.parse::<u64>().ok()? > now()).then_some(User { name })
    }

    /// Returns the cookie with a token.
    pub fn cookie(&self, token: String) -> Cookie<'static> {
        let age = CookieAge::seconds(self.lifetime.as_secs().try_into().unwrap_or(i64::MAX));
        // Strict: no page of another site can open a connection in the name of the user.
        Cookie::build(COOKIE, token).path("/").http_only(true).secure(self.secure).same_site(SameSite::Strict).max_age(age).finish()
    }

    /// Returns the cookie that removes the login from the browser.
    pub fn removal(&self) -> Cookie<'static> {
        let mut cookie = self.cookie(String::new());
        cookie.make_removal();
        cookie
    }
}

/// The user of a request, by its bearer token or its cookie.
impl FromRequest for User {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let cookie = request.cookie(COOKIE);
        let token = bearer.or(cookie.as_ref().map(Cookie::value));
        let logins = request.app_data::<Data<Logins>>();
        ready(logins.zip(token).and_then(|(logins, token)| logins.user(token)).ok_or(Problem::NotLoggedIn))
    }
}

/// Returns the seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> User {
        User { name: Name::try_from("Ada".to_owned()).unwrap() }
    }

    #[test]
    fn token_names_its_user_on_every_node() {
        let key = Key::generate();
        let nodes = [Logins::new(key.clone(), Duration::from_secs(60)), Logins::new(key, Duration::from_secs(60))];
        assert_eq!(nodes[1].user(&nodes[0].issue(&ada())), Some(ada()));
    }

    #[test]
    fn token_is_refused_when_forged_or_expired() {
        let logins = Logins::new(Key::generate(), Duration::from_secs(60));
        let token = logins.issue(&ada());
        assert_eq!(logins.user(&token.replace("Ada", "Bob")), None);
        assert_eq!(Logins::new(Key::generate(), Duration::from_secs(60)).user(&token), None);
        for nonsense in ["", "1.Ada", "\u{e9}"] {
            assert_eq!(logins.user(nonsense), None, "{nonsense}");
        }
        let expired = Logins { lifetime: Duration::ZERO, ..logins };
        assert_eq!(expired.user(&expired.issue(&ada())), None);
    }
}
