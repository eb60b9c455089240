//! The check of one token with one set of keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind;
use serde::Deserialize;

use super::algorithm::Algorithm;
use super::claims::Claims;
use super::keys::{KeySet, Search};
use super::refusal::Refusal;
use super::settings::Settings;

/// The rules for tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The rules for each algorithm that is allowed.
    rules: Vec<(Algorithm, Validation)>,
    max_bytes: usize,
    leeway: Duration,
}

/// The parts of a token's header that choose its key.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

impl Verifier {
    pub(super) fn new(settings: &Settings) -> Self {
        let allowed: Vec<_> = match &settings.algorithms[..] {
            [] => Algorithm::all().collect(),
            some => some.to_vec(),
        };
        let rules = |algorithm: Algorithm| {
            let mut rules = Validation::new(algorithm.verified());
            rules.leeway = settings.leeway.as_secs_f64().ceil() as u64;
            rules.validate_nbf = true;
            let needed = [("exp", settings.require_expiry), ("iss", !settings.issuer.is_empty()), ("aud", !settings.audience.is_empty())];
            rules.required_spec_claims = needed.iter().filter(|(_, needed)| *needed).map(|(claim, _)| (*claim).to_owned()).collect();
            if !settings.issuer.is_empty() {
                rules.set_issuer(&settings.issuer);
            }
            if !settings.audience.is_empty() {
                rules.set_audience(&settings.audience);
            }
            (algorithm, rules)
        };
        Self { rules: allowed.into_iter().map(rules).collect(), max_bytes: settings.token_bytes, leeway: settings.leeway }
    }

    /// Returns the claims of a token.
    pub(super) fn verify(&self, token: &str, keys: &KeySet) -> Result<Claims, Refusal> {
        if token.len() > self.max_bytes {
            return Err(Refusal::TooLong);
        }
        let Header { alg, kid } = header(token).ok_or(Refusal::Malformed)?;
        let allowed = self.rules.iter().find(|(algorithm, _)| algorithm.name() == alg);
        let (algorithm, rules) = allowed.ok_or(Refusal::Algorithm)?;
        if !keys.is_read {
            return Err(Refusal::KeysUnavailable);
        }
        let fitting = match keys.find(kid.as_deref(), *algorithm) {
            Search::Found(fitting) => fitting,
            Search::UnknownId => return Err(Refusal::UnknownKey),
            Search::WrongAlgorithm => return Err(Refusal::Algorithm),
        };
        for key in fitting {
            match jsonwebtoken::decode::<Claims>(token, &key.key, rules) {
                Ok(verified) => return Ok(verified.claims),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(error) => return Err(Refusal::of(&error)),
            }
        }
        Err(Refusal::Signature)
    }

    /// Returns the time at which verified claims expire, with the leeway. `None` if they do not expire.
    pub(super) fn expiry(&self, claims: &Claims) -> Option<SystemTime> {
        let seconds = claims.get("exp")?.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
        UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?.checked_add(self.leeway)
    }
}

fn header(token: &str) -> Option<Header> {
    let (encoded, _) = token.split_once('.')?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}
