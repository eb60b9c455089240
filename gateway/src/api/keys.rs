//! The keys of backends, and what each may do.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;
use ring::rand::SystemRandom;
use ring::{digest, hmac};
use serde::Deserialize;
use thiserror::Error;

use super::limits::{Limiter, Limits, Permit, Rate};
use super::problem::{Problem, ProblemKind};
use super::scope::{Allowed, Scope};

/// The shortest secret, in bytes.
const MIN_SECRET: usize = 32;

/// The longest name of a key, in bytes.
const MAX_NAME: usize = 64;

/// The keys of a file, by name.
///
/// ```
/// use sociable_gateway::api::{KeyFile, Keys};
///
/// let file: KeyFile = serde_json::from_str(
///     r#"{"keys":{"shop":{"secret":"a text of 32 bytes or more, drawn at random","operations":["emit"],"rooms":["order:"]}}}"#,
/// )?;
/// let keys = Keys::new(file)?;
/// assert_eq!(keys.names(), ["shop"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    #[serde(default)]
    keys: BTreeMap<KeyName, KeySettings>,
}

/// The name of a key, which logs and metrics show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct KeyName(Arc<str>);

impl TryFrom<String> for KeyName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if is_plain && (1..=MAX_NAME).contains(&name.len()) {
            Ok(Self(name.into()))
        } else {
            Err(format!("wrong name of a key: use 1 to {MAX_NAME} of the characters A-Z a-z 0-9 - _ ."))
        }
    }
}

/// One key of a file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Settings")]
struct KeySettings {
    digest: SecretDigest,
    scope: Scope,
    rate: Option<PerSecond>,
    burst: Option<NonZeroU32>,
    concurrency: Option<NonZeroU32>,
}

/// One key as the file has it. Each value checks itself, so that a fault has its place in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    sha256: Option<Hex>,
    secret: Option<Secret>,
    operations: Vec<Allowed>,
    namespaces: Option<Vec<NamespacePattern>>,
    rooms: Option<Vec<String>>,
    rate: Option<PerSecond>,
    burst: Option<NonZeroU32>,
    concurrency: Option<NonZeroU32>,
}

impl TryFrom<Settings> for KeySettings {
    type Error = &'static str;

    fn try_from(settings: Settings) -> Result<Self, &'static str> {
        let digest = match (settings.sha256, settings.secret) {
            (Some(Hex(digest)), None) | (None, Some(Secret(digest))) => digest,
            (None, None) => return Err("the key has no secret: add `sha256` or `secret`"),
            (Some(_), Some(_)) => return Err("the key has two secrets: leave out `sha256` or `secret`"),
        };
        let namespaces = settings.namespaces.map(|patterns| patterns.into_iter().map(|NamespacePattern(pattern)| pattern).collect());
        let scope = Scope { operations: settings.operations, namespaces, rooms: settings.rooms };
        Ok(Self { digest, scope, rate: settings.rate, burst: settings.burst, concurrency: settings.concurrency })
    }
}

/// A namespace, or a pattern of namespaces with `*`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct NamespacePattern(String);

impl TryFrom<String> for NamespacePattern {
    type Error = &'static str;

    fn try_from(pattern: String) -> Result<Self, &'static str> {
        if pattern.starts_with(['/', '*']) {
            Ok(Self(pattern))
        } else {
            Err("wrong namespace: begin it with `/`, such as `/chat` or `/team-*`")
        }
    }
}

/// Operations a second.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
struct PerSecond(f64);

impl TryFrom<f64> for PerSecond {
    type Error = &'static str;

    fn try_from(rate: f64) -> Result<Self, &'static str> {
        if rate.is_finite() && rate > 0.0 { Ok(Self(rate)) } else { Err("wrong `rate`: use a number above 0") }
    }
}

/// The SHA-256 digest of a secret. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SecretDigest([u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(..)")
    }
}

impl SecretDigest {
    fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// A digest in hexadecimal. Errors do not quote it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Hex(SecretDigest);

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let mut digest = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("wrong `sha256`: use the 64 hexadecimal digits of `printf %s SECRET | sha256sum`");
        }
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
            *byte = pair.iter().fold(0, |number, digit| number * 16 + value(*digit));
        }
        Ok(Self(SecretDigest(digest)))
    }
}

/// A secret in plain text, of which the digest is kept. Errors do not quote it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Secret(SecretDigest);

impl TryFrom<String> for Secret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() < MIN_SECRET {
            return Err(format!("`secret` is shorter than {MIN_SECRET} characters: draw one by `openssl rand -hex 32`"));
        }
        Ok(Self(SecretDigest::of(&text)))
    }
}

/// The reason why keys cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeysError {
    /// Two keys have one secret.
    #[error("keys `{0}` and `{1}` have the same secret: give each its own")]
    SameSecret(String, String),
}

/// The keys of an API. Clones share the same keys, which can be [replaced](Self::replace) while the API runs.
#[derive(Clone)]
pub struct Keys {
    current: Arc<RwLock<Arc<Table>>>,
    /// The key of the table's index, drawn at random.
    index: hmac::Key,
}

/// The keys by the HMAC of their digests.
///
/// The time of a search depends on the HMAC, of which nobody outside knows anything. Thus it tells nothing about the secrets.
type Table = HashMap<[u8; 32], Arc<Key>>;

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.names()).finish()
    }
}

/// A key of a backend.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: Arc<str>,
    settings: KeySettings,
    limiter: Arc<Limiter>,
}

/// The requests of a key.
#[derive(Debug)]
pub(crate) struct KeyUsage {
    pub(crate) name: Arc<str>,
    /// Requests that run now.
    pub(crate) running: u64,
    /// Requests since the start.
    pub(crate) admitted: u64,
    /// Requests since the start that were beyond the rate or the concurrency.
    pub(crate) limited: u64,
}

/// No keys: every request is refused.
///
/// # Panics
///
/// The system has no source of random numbers.
impl Default for Keys {
    fn default() -> Self {
        Self {
            current: Arc::default(),
            index: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("the system has random numbers"),
        }
    }
}

impl Keys {
    /// Returns the keys of a file.
    ///
    /// # Errors
    ///
    /// Two keys have the same secret.
    ///
    /// # Panics
    ///
    /// The system has no random numbers.
    pub fn new(file: KeyFile) -> Result<Self, KeysError> {
        let keys = Self::default();
        keys.replace(file)?;
        Ok(keys)
    }

    /// Replaces all keys. A key of the same name keeps its rate and its running requests.
    ///
    /// # Errors
    ///
    /// Two keys have the same secret. The keys stay as they are.
    pub fn replace(&self, file: KeyFile) -> Result<(), KeysError> {
        let old: HashMap<_, _> = self.current.read().values().map(|key| (Arc::clone(&key.name), Arc::clone(&key.limiter))).collect();
        let mut table = Table::new();
        for (KeyName(name), settings) in file.keys {
            let limiter = old.get(&name).cloned().unwrap_or_default();
            let place = self.place(&settings.digest);
            let key = Arc::new(Key { name, settings, limiter });
            if let Some(other) = table.insert(place, Arc::clone(&key)) {
                return Err(KeysError::SameSecret(other.name.to_string(), key.name.to_string()));
            }
        }
        *self.current.write() = Arc::new(table);
        Ok(())
    }

    /// Returns the names of the keys, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.current.read().values().map(|key| key.name.to_string()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the requests of each key, sorted by name.
    pub(crate) fn usage(&self) -> Vec<KeyUsage> {
        let of = |key: &Arc<Key>| {
            let (running, admitted, limited) = key.limiter.usage();
            KeyUsage { name: Arc::clone(&key.name), running: running.into(), admitted, limited }
        };
        let mut all: Vec<_> = self.current.read().values().map(of).collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Returns the key with this secret.
    fn find(&self, secret: &str) -> Option<Arc<Key>> {
        let place = self.place(&SecretDigest::of(secret));
        self.current.read().get(&place).cloned()
    }

    fn place(&self, digest: &SecretDigest) -> [u8; 32] {
        let mut place = [0; 32];
        place.copy_from_slice(hmac::sign(&self.index, &digest.0).as_ref());
        place
    }

    /// Returns the key of a value of `Authorization`.
    pub(crate) fn authorize(&self, authorization: Option<&str>) -> Result<Arc<Key>, Problem> {
        let refused = |detail| Problem::new(ProblemKind::Unauthorized, detail).of_parameter("Authorization");
        let value = authorization.ok_or_else(|| refused("the request has no key: send `Authorization: Bearer <secret>`"))?;
        let secret = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, secret)| secret.trim());
        let secret = secret.ok_or_else(|| refused("the key is no bearer token: send `Authorization: Bearer <secret>`"))?;
        self.find(secret).ok_or_else(|| refused("the key is unknown: send the secret of a key of this API"))
    }
}

impl Key {
    pub(crate) fn scope(&self) -> &Scope {
        &self.settings.scope
    }

    /// Counts a request of this key.
    pub(crate) fn enter(&self, limits: &Limits) -> Result<Permit, Problem> {
        let entered = (|| {
            let permit = self.limiter.enter(self.settings.concurrency.map_or(limits.concurrency, NonZeroU32::get))?;
            if let Some(rate) = self.rate(limits) {
                self.limiter.take(rate, Instant::now())?;
            }
            Ok(permit)
        })();
        self.limiter.count(entered.is_ok());
        entered
    }

    /// Takes the further operations of a batch from the rate.
    pub(crate) fn owe(&self, operations: usize) {
        self.limiter.owe(operations);
    }

    fn rate(&self, limits: &Limits) -> Option<Rate> {
        let per_second = self.settings.rate.map(|PerSecond(rate)| rate).or(limits.rate)?;
        let burst = self.settings.burst.map(NonZeroU32::get).or(limits.burst).map_or(per_second, f64::from).max(1.0);
        Some(Rate { per_second, burst })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn file(text: &str) -> Result<KeyFile, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn one(fields: &str) -> Result<KeyFile, String> {
        file(&format!(r#"{{"keys":{{"shop":{{"operations":["*"],{fields}}}}}}}"#))
    }

    #[test]
    fn key_is_found_by_its_secret_alone() {
        let hex = "b0c0d4d0d0b7ccc1ba9cf5fec1fdf9d2e0b2b2e1b2b6b2f0a8b4b5f2f9d1d5b0";
        let other = format!(r#""other":{{"operations":[],"sha256":"{hex}"}}"#);
        let keys =
            Keys::new(file(&format!(r#"{{"keys":{{"shop":{{"operations":["emit"],"secret":"{SECRET}"}},{other}}}}}"#)).unwrap()).unwrap();
        let name =
            |authorization: Option<&str>| keys.authorize(authorization).map(|key| key.name.to_string()).map_err(|problem| problem.kind());
        assert_eq!(name(Some(&format!("Bearer {SECRET}"))).as_deref(), Ok("shop"));
        assert_eq!(name(Some(&format!("bearer  {SECRET}"))).as_deref(), Ok("shop"));
        for wrong in
            [None, Some(SECRET), Some("Bearer"), Some("Bearer "), Some(&*format!("Basic {SECRET}")), Some(&*format!("Bearer {hex}"))]
        {
            assert_eq!(name(wrong), Err(ProblemKind::Unauthorized), "{wrong:?}");
        }
    }

    #[test]
    fn digest_of_a_secret_is_that_of_sha256sum() {
        let hex = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";
        let keys = Keys::new(one(&format!(r#""sha256":"{}""#, hex.to_uppercase())).unwrap()).unwrap();
        assert!(keys.find(SECRET).is_some());
    }

    #[test]
    fn wrong_settings_are_refused_without_the_secret() {
        let wrong = [
            r#""rate":1"#.to_owned(),
            format!(r#""secret":"{SECRET}","sha256":"{SECRET}{SECRET}""#),
            r#""secret":"0123456789""#.to_owned(),
            format!(r#""sha256":"{SECRET}""#),
            format!(r#""sha256":"{SECRET}{SECRET}","rate":0"#),
            format!(r#""secret":"{SECRET}","burst":0"#),
            format!(r#""secret":"{SECRET}","room":[]"#),
            format!(r#""secret":"{SECRET}","namespaces":["/a","chat"]"#),
        ];
        for fields in wrong {
            let error = one(&fields).unwrap_err();
            assert!(!error.contains("0123456789"), "{error}");
        }
        assert!(file(r#"{"keys":{"shop":{"operations":["fly"]}}}"#).unwrap_err().contains("choose of *, emit"));
        assert!(file(&format!(r#"{{"keys":{{"a b":{{"operations":[],"secret":"{SECRET}"}}}}}}"#)).unwrap_err().contains("wrong name"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let file = one(&format!(r#""secret":"{SECRET}""#)).unwrap();
        let keys = Keys::new(file.clone()).unwrap();
        assert_eq!(format!("{keys:?}"), r#"Keys(["shop"])"#);
        assert!(format!("{file:?}").contains("SecretDigest(..)"));
    }

    #[test]
    fn replaced_key_keeps_its_running_requests() {
        let limits = Limits::default();
        let settings = |secret: &str| one(&format!(r#""secret":"{secret}","concurrency":1"#)).unwrap();
        let keys = Keys::new(settings(SECRET)).unwrap();
        let running = keys.find(SECRET).unwrap().enter(&limits).unwrap();
        keys.replace(settings(OTHER)).unwrap();
        assert!(keys.find(SECRET).is_none());
        assert!(keys.find(OTHER).unwrap().enter(&limits).is_err());
        drop(running);
        assert!(keys.find(OTHER).unwrap().enter(&limits).is_ok());
    }

    #[test]
    fn two_keys_cannot_have_one_secret() {
        let both =
            file(&format!(r#"{{"keys":{{"a":{{"operations":[],"secret":"{SECRET}"}},"b":{{"operations":[],"secret":"{SECRET}"}}}}}}"#));
        let error = Keys::new(both.unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "keys `a` and `b` have the same secret: give each its own");
    }
}
