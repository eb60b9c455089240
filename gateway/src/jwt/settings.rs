//! The settings of tokens, with their defaults and checks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::algorithm::Algorithm;
use super::claims::{ClaimPath, RoomTemplate};

/// The longest time of a setting.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of tokens. In TOML, keys are in kebab case, and times are milliseconds with the suffix `-ms`.
///
/// ```
/// use sociable_gateway::jwt::Settings;
///
/// let settings: Settings = serde_json::from_str(
///     r#"{"jwks":"https://login.example.com/jwks.json","issuer":"https://login.example.com","audience":"chat","rooms":["user:{sub}"]}"#,
/// )?;
/// settings.check()?;
/// assert_eq!(settings.audience, ["chat"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Settings {
    /// The file with public keys in PEM. Exactly one of `keys`, `jwks` and `secret-file` is set.
    pub keys: Option<PathBuf>,
    /// The URL or the file of a set of keys, by RFC 7517.
    pub jwks: Option<Jwks>,
    /// The file with a shared secret of at least 32 bytes.
    pub secret_file: Option<PathBuf>,
    /// The algorithms that tokens may have: by default all that fit the keys.
    pub algorithms: Vec<Algorithm>,
    /// The issuers that tokens may have. By default the issuer is not checked.
    #[serde(deserialize_with = "one_or_many")]
    pub issuer: Vec<String>,
    /// The audiences that tokens may have. By default a token that names an audience is refused.
    #[serde(deserialize_with = "one_or_many")]
    pub audience: Vec<String>,
    /// The difference between clocks that is tolerated, in whole seconds: 60 s by default.
    #[serde(rename = "leeway-ms", deserialize_with = "millis")]
    pub leeway: Duration,
    /// Whether a token must have the claim `exp`: yes by default.
    pub require_expiry: bool,
    /// Whether a socket is disconnected when its token has expired: no by default.
    pub disconnect_when_expired: bool,
    /// The query parameter of the handshake that may have the token: none by default. Access logs of proxies show URLs.
    pub query_parameter: Option<String>,
    /// The claims that become data of the socket: `sub` by default.
    pub claims: Vec<ClaimPath>,
    /// The rooms that a socket joins, with claims in braces: none by default.
    pub rooms: Vec<RoomTemplate>,
    /// The most rooms that a token names: 100 by default. Further ones refuse the client.
    pub max_rooms: usize,
    /// The longest name of such a room, in bytes: 256 by default.
    pub room_bytes: usize,
    /// The longest token, in bytes: 8 KiB by default.
    pub token_bytes: usize,
    /// The time after which keys are read again. By default a URL is asked every 5 minutes, and a file is read every second.
    #[serde(rename = "refresh-ms", deserialize_with = "some_millis")]
    pub refresh: Option<Duration>,
    /// The shortest time between two attempts because of an unknown key: 10 s by default.
    #[serde(rename = "unknown-key-ms", deserialize_with = "millis")]
    pub unknown_key: Duration,
    /// The time for one request for keys: 5 s by default.
    #[serde(rename = "timeout-ms", deserialize_with = "millis")]
    pub timeout: Duration,
    /// The longest file or answer with keys, in bytes: 256 KiB by default.
    pub answer_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: None,
            jwks: None,
            secret_file: None,
            algorithms: vec![],
            issuer: vec![],
            audience: vec![],
            leeway: Duration::from_secs(60),
            require_expiry: true,
            disconnect_when_expired: false,
            query_parameter: None,
            claims: vec![ClaimPath::top("sub")],
            rooms: vec![],
            max_rooms: 100,
            room_bytes: 256,
            token_bytes: 8 << 10,
            refresh: None,
            unknown_key: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            answer_bytes: 256 << 10,
        }
    }
}

/// The place of a set of keys. In settings: a URL with `http` or `https`, or the path of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Jwks(pub(super) Place);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    Url(Url),
    File(PathBuf),
}

/// The query is left out, since it may have a secret.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{}", url.as_str().split('?').next().unwrap_or_default()),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl TryFrom<String> for Jwks {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if !text.contains("://") {
            return Ok(Self(Place::File(text.into())));
        }
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or("`jwks` is no URL with http or https: write it as https://HOST/PATH")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`jwks` has a name or a password: remove them, because public keys need none");
        }
        Ok(Self(Place::Url(url)))
    }
}

impl std::str::FromStr for Jwks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.to_owned().try_into()
    }
}

/// The reason why settings of tokens cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsFault {
    /// There is no place of keys.
    #[error("tokens have no keys: set `keys`, `jwks` or `secret-file`")]
    NoKeys,
    /// There is more than one place of keys.
    #[error("tokens have keys in several places: set one of `keys`, `jwks` and `secret-file`")]
    SeveralKeys,
    /// An algorithm does not fit the place of the keys.
    #[error("`algorithms` has `{}`, which {place} cannot verify: remove it", .algorithm.name())]
    Algorithm {
        /// The algorithm.
        algorithm: Algorithm,
        /// The key of the setting that names the place.
        place: &'static str,
    },
    /// A number is zero, or too large.
    #[error("`{key}` is {found}: use {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// The value in the settings.
        found: String,
        /// The range of values, in words.
        range: &'static str,
    },
    /// Two claims would have the same name in the data of a socket.
    #[error("`claims` has two claims with the name `{0}`: remove one")]
    SameClaim(String),
    /// The name of the query parameter is empty.
    #[error("`query-parameter` is empty: name a parameter, or remove it")]
    EmptyParameter,
}

impl Settings {
    /// Checks the settings. The keys themselves are not read.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), SettingsFault> {
        let places = [self.keys.is_some(), self.jwks.is_some(), self.secret_file.is_some()];
        match places.into_iter().filter(|set| *set).count() {
            0 => return Err(SettingsFault::NoKeys),
            1 => {}
            _ => return Err(SettingsFault::SeveralKeys),
        }
        // A public key must not be taken for a secret, nor a published secret for a key.
        let (place, is_hmac) = match () {
            () if self.keys.is_some() => ("`keys`", Some(false)),
            () if self.secret_file.is_some() => ("`secret-file`", Some(true)),
            () if matches!(self.jwks, Some(Jwks(Place::Url(_)))) => ("`jwks` with a URL", Some(false)),
            () => ("`jwks`", None),
        };
        if let Some(algorithm) = self.algorithms.iter().find(|algorithm| is_hmac.is_some_and(|is_hmac| algorithm.is_hmac() != is_hmac)) {
            return Err(SettingsFault::Algorithm { algorithm: *algorithm, place });
        }
        self.check_numbers()?;
        for (place, claim) in self.claims.iter().enumerate() {
            if self.claims[..place].iter().any(|other| other.name() == claim.name()) {
                return Err(SettingsFault::SameClaim(claim.name().to_owned()));
            }
        }
        match &self.query_parameter {
            Some(name) if name.is_empty() => Err(SettingsFault::EmptyParameter),
            _ => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), SettingsFault> {
        let refresh = self.refresh.unwrap_or(MAX_TIME);
        for (key, time) in [("refresh-ms", refresh), ("unknown-key-ms", self.unknown_key), ("timeout-ms", self.timeout)] {
            if time.is_zero() || time > MAX_TIME {
                return Err(SettingsFault::Range { key, found: time.as_millis().to_string(), range: "1 to 86400000" });
            }
        }
        if self.leeway > MAX_TIME {
            return Err(SettingsFault::Range { key: "leeway-ms", found: self.leeway.as_millis().to_string(), range: "0 to 86400000" });
        }
        for (key, number) in [
            ("max-rooms", self.max_rooms),
            ("room-bytes", self.room_bytes),
            ("token-bytes", self.token_bytes),
            ("answer-bytes", self.answer_bytes),
        ] {
            if number == 0 || number > u32::MAX as usize {
                return Err(SettingsFault::Range { key, found: number.to_string(), range: "1 to 4294967295" });
            }
        }
        Ok(())
    }
}

/// Reads a time in milliseconds.
fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Reads a time in milliseconds that may be left out.
fn some_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    millis(deserializer).map(Some)
}

/// Reads a text or a list of texts.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        serde_json::from_str(text).unwrap()
    }

    fn fault(text: &str) -> String {
        read(text).check().unwrap_err().to_string()
    }

    #[test]
    fn settings_need_exactly_one_place_of_keys() {
        assert_eq!(fault("{}"), "tokens have no keys: set `keys`, `jwks` or `secret-file`");
        let several = "tokens have keys in several places: set one of `keys`, `jwks` and `secret-file`";
        assert_eq!(fault(r#"{"keys":"/k","jwks":"/j"}"#), several);
        for one in [r#"{"keys":"/k"}"#, r#"{"jwks":"/j"}"#, r#"{"secret-file":"/s"}"#, r#"{"jwks":"https://a/j"}"#] {
            assert!(read(one).check().is_ok(), "{one}");
        }
    }

    #[test]
    fn algorithm_is_refused_when_its_keys_are_of_another_kind() {
        assert_eq!(
            fault(r#"{"secret-file":"/s","algorithms":["HS256","RS256"]}"#),
            "`algorithms` has `RS256`, which `secret-file` cannot verify: remove it"
        );
        assert_eq!(fault(r#"{"keys":"/k","algorithms":["HS256"]}"#), "`algorithms` has `HS256`, which `keys` cannot verify: remove it");
        assert!(fault(r#"{"jwks":"https://a/","algorithms":["HS512"]}"#).contains("`jwks` with a URL cannot verify"));
        assert!(read(r#"{"jwks":"/j","algorithms":["HS512","EdDSA"]}"#).check().is_ok());
        assert!(serde_json::from_str::<Settings>(r#"{"keys":"/k","algorithms":["none"]}"#).is_err());
    }

    #[test]
    fn setting_out_of_its_range_is_refused() {
        for (setting, error) in [
            (r#""unknown-key-ms":0"#, "`unknown-key-ms` is 0: use 1 to 86400000"),
            (r#""refresh-ms":86400001"#, "`refresh-ms` is 86400001: use 1 to 86400000"),
            (r#""leeway-ms":86400001"#, "`leeway-ms` is 86400001: use 0 to 86400000"),
            (r#""token-bytes":0"#, "`token-bytes` is 0: use 1 to 4294967295"),
            (r#""query-parameter":"""#, "`query-parameter` is empty: name a parameter, or remove it"),
            (r#""claims":["sub","/user/sub"]"#, "`claims` has two claims with the name `sub`: remove one"),
        ] {
            assert_eq!(fault(&format!(r#"{{"keys":"/k",{setting}}}"#)), error);
        }
    }

    #[test]
    fn issuer_is_one_text_or_several() {
        assert_eq!(read(r#"{"issuer":"a"}"#).issuer, ["a"]);
        assert_eq!(read(r#"{"issuer":["a","b"]}"#).issuer, ["a", "b"]);
        let error = serde_json::from_str::<Settings>(r#"{"issuer":1}"#).unwrap_err().to_string();
        assert!(error.starts_with("expected a text or a list of texts"), "{error}");
    }

    #[test]
    fn url_of_keys_is_refused_with_a_remedy() {
        for text in ["ftp://a/", "https://", "https://me:secret@a/"] {
            let error = text.parse::<Jwks>().unwrap_err();
            assert!(error.contains(": ") && !error.contains("secret"), "{error}");
        }
        assert_eq!(format!("{:?}", "https://a/b?key=secret".parse::<Jwks>().unwrap()), "Jwks(https://a/b)");
        assert_eq!("/etc/jwks.json".parse(), Ok(Jwks(Place::File("/etc/jwks.json".into()))));
    }
}
