//! The reasons for which a client without a valid token is refused.

use sociable::Failure;

/// The text that a refused client gets.
const MESSAGE: &str = "not authorized";
/// The code beside the text.
const CODE: &str = "E_TOKEN";

/// The reason why a client was refused. The client gets its [name](Self::name), and so do the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The client sent no token.
    Missing,
    /// The token is longer than [`token_bytes`](super::Settings::token_bytes).
    TooLong,
    /// The token is no JWT in its compact form, or has a header that is not understood.
    Malformed,
    /// The algorithm is not allowed, or no key is for it.
    Algorithm,
    /// No key has the id that the token names.
    UnknownKey,
    /// No keys could be read yet.
    KeysUnavailable,
    /// The signature does not fit.
    Signature,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// The token has another issuer.
    Issuer,
    /// The token is for another audience.
    Audience,
    /// A claim is missing or has the wrong type.
    Claims,
    /// The claims name too many rooms, or a room that nobody may join by a claim.
    Rooms,
}

impl Refusal {
    /// All reasons.
    pub(super) const ALL: [Self; 13] = [
        Self::Missing,
        Self::TooLong,
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::KeysUnavailable,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Claims,
        Self::Rooms,
    ];

    /// Returns the name: `reason` in the data of the connect error, and a label of the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Rooms => "rooms",
        }
    }

    /// Returns the error that the client gets.
    pub(super) fn failure(self) -> Failure {
        Failure::new(MESSAGE).with_data(&serde_json::json!({ "code": CODE, "reason": self.name() }))
    }

    /// Returns the reason for an error of the library that verifies.
    pub(super) fn of(error: &jsonwebtoken::errors::Error) -> Self {
        use jsonwebtoken::errors::ErrorKind;
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => match &**claim {
                "iss" => Self::Issuer,
                "aud" => Self::Audience,
                _ => Self::Claims,
            },
            ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm | ErrorKind::UnsupportedAlgorithm => Self::Algorithm,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_gets_the_reason_as_data() {
        let failure = Refusal::NotYetValid.failure();
        assert_eq!(failure.message(), "not authorized");
        assert_eq!(failure.data(), Some(&serde_json::json!({ "code": "E_TOKEN", "reason": "not_yet_valid" })));
    }

    #[test]
    fn every_reason_has_its_own_name_and_place() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
            assert_eq!(Refusal::ALL.iter().filter(|other| other.name() == refusal.name()).count(), 1);
        }
    }
}
