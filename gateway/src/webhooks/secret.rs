//! Secrets that sign webhooks.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use thiserror::Error;

/// The prefix of a secret, by Standard Webhooks.
const PREFIX: &str = "whsec_";
/// The fewest bytes of a secret.
const MIN_BYTES: usize = 24;
/// The most bytes of a secret.
const MAX_BYTES: usize = 64;

/// Base64 with or without padding, as the libraries of Standard Webhooks read it.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A secret of Standard Webhooks: `whsec_` and the Base64 of 24 to 64 bytes. [`Debug`] does not show the secret.
///
/// ```
/// use sociable_gateway::webhooks::Secret;
///
/// let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// # Ok::<(), sociable_gateway::webhooks::SecretFault>(())
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(Vec<u8>);

/// The reason why a text is no secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretFault {
    /// The text has another form.
    #[error("secret is not `whsec_` with Base64 behind it: make one with `echo whsec_$(openssl rand -base64 32)`")]
    Form,
    /// The secret is too short or too long.
    #[error("secret has {0} bytes: use 24 to 64 bytes, such as `echo whsec_$(openssl rand -base64 32)`")]
    Length(usize),
}

impl Secret {
    /// Returns the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::str::FromStr for Secret {
    type Err = SecretFault;

    fn from_str(text: &str) -> Result<Self, SecretFault> {
        let base64 = text.trim().strip_prefix(PREFIX).ok_or(SecretFault::Form)?;
        let bytes = BASE64.decode(base64).map_err(|_| SecretFault::Form)?;
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
            return Err(SecretFault::Length(bytes.len()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Secret {
    type Error = SecretFault;

    fn try_from(text: String) -> Result<Self, SecretFault> {
        text.parse()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_refused_when_its_form_or_length_is_wrong() {
        let of = |bytes: usize| format!("{PREFIX}{}", BASE64.encode(vec![7; bytes])).parse::<Secret>();
        assert_eq!(of(23), Err(SecretFault::Length(23)));
        assert_eq!(of(65), Err(SecretFault::Length(65)));
        assert!(of(24).is_ok() && of(64).is_ok());
        assert_eq!("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse::<Secret>().unwrap().0.len(), 28);
        for wrong in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwA"] {
            assert_eq!(wrong.parse::<Secret>(), Err(SecretFault::Form), "{wrong}");
        }
    }
}
