//! Session ids, by which the page logs in again without the password.
//!
//! A session id is a signed text: the expiry, the name of the user, and an HMAC of both. Every node checks it without any storage. The key comes from
//! the hash of the user, so a new password ends all sessions of its user.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;

use super::users::Users;

/// The longest session id, in bytes: that of the longest name fits.
const MAX_BYTES: usize = 512;

pub(super) struct SessionIds {
    secret: Vec<u8>,
    age: Duration,
}

impl SessionIds {
    pub(super) fn new(secret: &[u8], age: Duration) -> Self {
        Self { secret: secret.to_owned(), age }
    }

    /// Returns a session id of a user. `now` is in seconds since the Unix epoch.
    pub(super) fn issue(&self, user: &str, hash: &str, now: u64) -> String {
        let expiry = now.saturating_add(self.age.as_secs());
        let mac = hmac::sign(&self.key(hash), message(user, expiry).as_bytes());
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        format!("{expiry}.{}.{}", encode(user.as_bytes()), encode(mac.as_ref()))
    }

    /// Returns the user of a session id, unless it has expired or is not valid.
    pub(super) fn user_of<'a>(&self, id: &str, users: &'a Users, now: u64) -> Option<&'a str> {
        if id.len() > MAX_BYTES {
            return None;
        }
        let (expiry, rest) = id.split_once('.')?;
        let (user, mac) = rest.split_once('.')?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let expiry: u64 = expiry.parse().ok()?;
        let user = String::from_utf8(decode(user)?).ok()?;
        let (user, hash) = users.find(&user)?;
        hmac::verify(&self.key(hash), message(user, expiry).as_bytes(), &decode(mac)?).ok()?;
        (now < expiry).then_some(user)
    }

    fn key(&self, hash: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[hash.as_bytes(), b"\0", &self.secret].concat())
    }
}

fn message(user: &str, expiry: u64) -> String {
    format!("sociable admin session\0{expiry}\0{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuQ1C5zJXoQ2lS8u0NsLz5yN1rJ7Q6y2m";

    fn users(hash: &str) -> Users {
        [("ada", hash), ("bob", HASH)].map(|(name, hash)| (name.to_owned(), hash.to_owned())).into_iter().collect()
    }

    fn ids(secret: &[u8]) -> SessionIds {
        SessionIds::new(secret, Duration::from_secs(60))
    }

    #[test]
    fn session_id_names_its_user_until_it_expires() {
        let id = ids(b"").issue("ada", HASH, 1000);
        assert_eq!(ids(b"").user_of(&id, &users(HASH), 1059), Some("ada"));
        assert_eq!(ids(b"").user_of(&id, &users(HASH), 1060), None);
    }

    #[test]
    fn session_id_ends_with_password_secret_and_user() {
        let id = ids(b"").issue("ada", HASH, 1000);
        assert_eq!(ids(b"").user_of(&id, &users("other"), 1000), None);
        assert_eq!(ids(b"a secret").user_of(&id, &users(HASH), 1000), None);
        assert_eq!(ids(b"").user_of(&id, &Users::default(), 1000), None);
    }

    #[test]
    fn altered_session_id_is_refused() {
        let id = ids(b"").issue("ada", HASH, 1000);
        let parts: Vec<_> = id.split('.').collect();
        let bob = BASE64_URL_SAFE_NO_PAD.encode("bob");
        for wrong in [
            format!("9999.{}.{}", parts[1], parts[2]),
            format!("{}.{bob}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{id}a"),
            "a".repeat(MAX_BYTES + 1),
            "..".into(),
            String::new(),
        ] {
            assert_eq!(ids(b"").user_of(&wrong, &users(HASH), 1000), None, "{wrong}");
        }
    }
}
