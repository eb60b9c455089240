//! The signature algorithms of tokens.

use serde::Deserialize;

/// An algorithm that signs tokens. `none` is not among them, so an unsigned token is never accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256, by a shared secret.
    HS256,
    /// HMAC with SHA-384, by a shared secret.
    HS384,
    /// HMAC with SHA-512, by a shared secret.
    HS512,
    /// RSA PKCS #1 with SHA-256.
    RS256,
    /// RSA PKCS #1 with SHA-384.
    RS384,
    /// RSA PKCS #1 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// ECDSA on the curve P-256 with SHA-256.
    ES256,
    /// ECDSA on the curve P-384 with SHA-384.
    ES384,
    /// EdDSA on the curve Ed25519.
    EdDSA,
}

/// The algorithms of a shared secret.
pub(super) const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
/// The algorithms of an RSA key.
pub(super) const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

impl Algorithm {
    /// Returns all algorithms.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        HMAC.iter().chain(RSA).chain(&[Self::ES256, Self::ES384, Self::EdDSA]).copied()
    }

    /// Returns the name in the header of a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Returns whether the key is a shared secret.
    pub(super) fn is_hmac(self) -> bool {
        HMAC.contains(&self)
    }

    /// Returns the algorithm of the library that verifies.
    pub(super) fn verified(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Of;
        match self {
            Self::HS256 => Of::HS256,
            Self::HS384 => Of::HS384,
            Self::HS512 => Of::HS512,
            Self::RS256 => Of::RS256,
            Self::RS384 => Of::RS384,
            Self::RS512 => Of::RS512,
            Self::PS256 => Of::PS256,
            Self::PS384 => Of::PS384,
            Self::PS512 => Of::PS512,
            Self::ES256 => Of::ES256,
            Self::ES384 => Of::ES384,
            Self::EdDSA => Of::EdDSA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithm_has_the_name_of_the_header() {
        assert_eq!(Algorithm::all().count(), 12);
        for algorithm in Algorithm::all() {
            assert_eq!(serde_json::from_value::<Algorithm>(algorithm.name().into()).unwrap(), algorithm);
            assert_eq!(format!("{:?}", algorithm.verified()), algorithm.name());
        }
        for name in ["none", "None", "hs256", "HS256 ", "", "ES512", "ES256K"] {
            assert!(serde_json::from_value::<Algorithm>(name.into()).is_err(), "{name}");
        }
    }
}
