//! Signatures by [Standard Webhooks](https://www.standardwebhooks.com), and their verification.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use thiserror::Error;

use super::secret::Secret;

/// The prefix of a signature with HMAC-SHA-256.
const VERSION: &str = "v1,";
/// The difference of clocks and the age of a webhook that are accepted by default.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// The most signatures of one webhook that are compared.
const MAX_SIGNATURES: usize = 16;

/// Signs webhooks by each of the secrets.
#[derive(Debug)]
pub(super) struct Signer(Vec<hmac::Key>);

impl Signer {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        Self(keys(secrets))
    }

    /// Returns the signatures, separated by spaces. `None` without secrets.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
        let timestamp = timestamp.to_string();
        let sign = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].iter().for_each(|part| context.update(part));
            format!("{VERSION}{}", BASE64_STANDARD.encode(context.sign()))
        };
        (!self.0.is_empty()).then(|| self.0.iter().map(sign).collect::<Vec<_>>().join(" "))
    }
}

/// Verifies the signatures of webhooks, in a backend that is written in Rust.
///
/// ```
/// use sociable_gateway::webhooks::{Verifier, VerifyFault};
///
/// let verifier = Verifier::new(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?]);
/// // The headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, and the body.
/// let verified = verifier.verify("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", br#"{"test": 2432232314}"#);
/// assert_eq!(verified, Err(VerifyFault::Old), "the webhook is of 2021");
/// # Ok::<(), sociable_gateway::webhooks::SecretFault>(())
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<hmac::Key>,
    tolerance: Duration,
}

/// The reason why a webhook is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyFault {
    /// The timestamp is no number of seconds.
    #[error("`webhook-timestamp` is no number: check that the request comes from Sociable")]
    Timestamp,
    /// The webhook is too old.
    #[error("webhook too old: check the clocks, or refuse it as a repeated one")]
    Old,
    /// The webhook comes from the future.
    #[error("webhook from the future: check the clocks")]
    Early,
    /// No signature is right.
    #[error("no signature is right: check that both sides have the same secret, and that the body is unchanged")]
    Signature,
}

impl Verifier {
    /// Returns a verifier that accepts each of the secrets.
    pub fn new(secrets: &[Secret]) -> Self {
        Self { keys: keys(secrets), tolerance: TOLERANCE }
    }

    /// Sets the accepted age, and the accepted difference of clocks: 5 minutes by default.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Verifies a webhook by the values of its headers and its unchanged body. The comparison takes constant time.
    ///
    /// # Errors
    ///
    /// The webhook has no right signature, or it is too old.
    pub fn verify(&self, id: &str, timestamp: &str, signature: &str, body: &[u8]) -> Result<(), VerifyFault> {
        self.verify_at(SystemTime::now(), id, timestamp, signature, body)
    }

    fn verify_at(&self, now: SystemTime, id: &str, timestamp: &str, signature: &str, body: &[u8]) -> Result<(), VerifyFault> {
        let sent = timestamp.parse::<u64>().map_err(|_| VerifyFault::Timestamp)?;
        let (now, tolerance) = (seconds(now), self.tolerance.as_secs());
        if sent < now.saturating_sub(tolerance) {
            return Err(VerifyFault::Old);
        }
        if sent > now.saturating_add(tolerance) {
            return Err(VerifyFault::Early);
        }
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let signatures = signature.split(' ').take(MAX_SIGNATURES).filter_map(|part| part.strip_prefix(VERSION));
        let tags: Vec<_> = signatures.filter_map(|signature| BASE64_STANDARD.decode(signature).ok()).collect();
        let is_right = |key: &hmac::Key| tags.iter().any(|tag| hmac::verify(key, &signed, tag).is_ok());
        if self.keys.iter().any(is_right) { Ok(()) } else { Err(VerifyFault::Signature) }
    }
}

fn keys(secrets: &[Secret]) -> Vec<hmac::Key> {
    secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.bytes())).collect()
}

/// Returns a time in seconds since the Unix epoch.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn secret(text: &str) -> Secret {
        text.parse().unwrap()
    }

    fn first() -> Secret {
        secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }

    fn second() -> Secret {
        secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    }

    fn verify(verifier: &Verifier, now: u64, signature: &str) -> Result<(), VerifyFault> {
        verifier.verify_at(UNIX_EPOCH + Duration::from_secs(now), ID, &SENT.to_string(), signature, BODY)
    }

    #[test]
    fn signature_is_that_of_the_specification() {
        let signature = Signer::new(&[first()]).sign(ID, SENT, BODY).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(Signer::new(&[]).sign(ID, SENT, BODY), None);
    }

    #[test]
    fn webhook_is_verified_by_either_secret() {
        let signature = Signer::new(&[first(), second()]).sign(ID, SENT, BODY).unwrap();
        assert_eq!(signature.split(' ').count(), 2);
        for one in [first(), second()] {
            assert_eq!(verify(&Verifier::new(&[one]), SENT, &signature), Ok(()));
        }
        let other = secret("whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB");
        assert_eq!(verify(&Verifier::new(&[other]), SENT, &signature), Err(VerifyFault::Signature));
    }

    #[test]
    fn webhook_is_refused_when_old_early_or_changed() {
        let signature = Signer::new(&[first()]).sign(ID, SENT, BODY).unwrap();
        let verifier = Verifier::new(&[first()]).tolerance(Duration::from_secs(10));
        assert_eq!(verify(&verifier, SENT + 10, &signature), Ok(()));
        assert_eq!(verify(&verifier, SENT - 10, &signature), Ok(()));
        assert_eq!(verify(&verifier, SENT + 11, &signature), Err(VerifyFault::Old));
        assert_eq!(verify(&verifier, SENT - 11, &signature), Err(VerifyFault::Early));
        let now = UNIX_EPOCH + Duration::from_secs(SENT);
        let changed = |id, timestamp, signature, body| verifier.verify_at(now, id, timestamp, signature, body);
        let sent = SENT.to_string();
        assert_eq!(changed(ID, &sent, &signature, b"{}"), Err(VerifyFault::Signature));
        assert_eq!(changed("other", &sent, &signature, BODY), Err(VerifyFault::Signature));
        assert_eq!(changed(ID, "soon", &signature, BODY), Err(VerifyFault::Timestamp));
        for wrong in ["", "v1,", "v1,AAAA", "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,?"] {
            assert_eq!(changed(ID, &sent, wrong, BODY), Err(VerifyFault::Signature), "{wrong}");
        }
    }
}
