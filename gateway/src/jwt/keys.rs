//! The keys that verify tokens, from the contents of a file or an answer.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use thiserror::Error;

use super::algorithm::{Algorithm, HMAC, RSA};

/// The most keys of a set.
const MAX_KEYS: usize = 100;
/// The fewest bytes of a shared secret, by RFC 7518.
const MIN_SECRET: usize = 32;
/// The fewest bytes of the modulus of an RSA key, by RFC 7518.
const MIN_MODULUS: usize = 256;
/// The most keys that are tried for one token, so that a token without the id of its key costs little.
const MAX_TRIED: usize = 4;

/// The form in which keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Public keys in PEM.
    Pem,
    /// A shared secret.
    Secret,
    /// A JWK Set.
    Jwks,
    /// A JWK Set that is published, so that a shared secret in it is no secret.
    PublicJwks,
}

/// The reason why a file or an answer has no usable keys.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeysFault {
    /// The text is no JWK Set.
    #[error("no JWK Set: expected a JSON object with the list `keys`")]
    NoSet,
    /// There are too many keys.
    #[error("{0} keys: use at most {MAX_KEYS}")]
    TooMany(usize),
    /// No key is usable.
    #[error("no usable key: use an RSA key from 2048 bits, an EC key on P-256 or P-384, or an Ed25519 key")]
    NoKey,
    /// A part of the file is no public key in PEM.
    #[error("PEM block {0} is no usable public key: use `PUBLIC KEY` of RSA from 2048 bits, EC on P-256 or P-384, or Ed25519")]
    Pem(usize),
    /// The secret is too short.
    #[error("secret has {0} bytes: use at least {MIN_SECRET}, such as `openssl rand -hex 32`")]
    ShortSecret(usize),
    /// The contents are no text.
    #[error("no text in UTF-8")]
    NoText,
    /// The file or the answer is too long.
    #[error("longer than {0} bytes: raise `answer-bytes`, or remove keys")]
    TooLong(usize),
}

/// A key with its id and its algorithms. `Debug` shows no secret.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// The keys that are valid at the same time.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Whether keys have been read.
    pub(super) is_read: bool,
}

/// The keys that may have signed a token.
#[derive(Debug)]
pub(super) enum Search<'a> {
    /// These, the first ones alone if there are many.
    Found(Vec<&'a Key>),
    /// No key has the id.
    UnknownId,
    /// No key is for the algorithm.
    WrongAlgorithm,
}

impl KeySet {
    /// Reads keys. Keys of a set that are for other purposes, or of an unknown kind, are left out.
    pub(super) fn read(contents: &[u8], format: Format) -> Result<Self, KeysFault> {
        let keys = match format {
            Format::Secret => vec![secret(contents)?],
            Format::Pem => pem(contents)?,
            Format::Jwks => set(contents, true)?,
            Format::PublicJwks => set(contents, false)?,
        };
        if keys.is_empty() { Err(KeysFault::NoKey) } else { Ok(Self { keys, is_read: true }) }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the keys for the header of a token. A key without an id fits every id.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Search<'_> {
        let has_id = |key: &&Key| id.is_none_or(|id| key.id.as_deref().is_none_or(|own| own == id));
        let named: Vec<&Key> = self.keys.iter().filter(has_id).collect();
        if named.is_empty() {
            return Search::UnknownId;
        }
        let fitting: Vec<&Key> = named.into_iter().filter(|key| key.algorithms.contains(&algorithm)).take(MAX_TRIED).collect();
        if fitting.is_empty() { Search::WrongAlgorithm } else { Search::Found(fitting) }
    }
}

fn secret(contents: &[u8]) -> Result<Key, KeysFault> {
    // An editor ends the file with a line break, which is no part of the secret.
    let secret = contents.strip_suffix(b"\n").unwrap_or(contents);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    hmac(None, secret, HMAC).ok_or(KeysFault::ShortSecret(secret.len()))
}

fn hmac(id: Option<String>, secret: &[u8], algorithms: &[Algorithm]) -> Option<Key> {
    let key = DecodingKey::from_secret(secret).ok().filter(|_| secret.len() >= MIN_SECRET)?;
    Some(Key { id, algorithms: algorithms.to_vec(), key })
}

fn pem(contents: &[u8]) -> Result<Vec<Key>, KeysFault> {
    const BEGIN: &str = "-----BEGIN ";
    let text = std::str::from_utf8(contents).map_err(|_| KeysFault::NoText)?;
    let blocks: Vec<_> = text.split(BEGIN).skip(1).collect();
    if blocks.len() > MAX_KEYS {
        return Err(KeysFault::TooMany(blocks.len()));
    }
    let key = |(place, block): (usize, &&str)| pem_key(format!("{BEGIN}{block}").as_bytes()).ok_or(KeysFault::Pem(place + 1));
    blocks.iter().enumerate().map(key).collect()
}

/// Returns the public key of a PEM block. The way over its JWK checks the contents.
fn pem_key(block: &[u8]) -> Option<Key> {
    let kinds = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
    let jwk = kinds.iter().find_map(|read| Jwk::from_decoding_key(&read(block).ok()?, None).ok())?;
    public_key(&jwk)
}

fn set(contents: &[u8], with_secrets: bool) -> Result<Vec<Key>, KeysFault> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let Set { keys } = serde_json::from_slice(contents).map_err(|_| KeysFault::NoSet)?;
    if keys.len() > MAX_KEYS {
        return Err(KeysFault::TooMany(keys.len()));
    }
    // By RFC 7517, keys that are not understood are ignored.
    let keys = keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    Ok(keys
        .filter(signs)
        .filter_map(|jwk| if with_secrets { secret_of(&jwk).or_else(|| public_key(&jwk)) } else { public_key(&jwk) })
        .collect())
}

/// Returns whether a key is for signatures.
fn signs(jwk: &Jwk) -> bool {
    let operations = jwk.common.key_operations.as_ref();
    matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
        && operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}

/// Returns the algorithms of a key: the one that it names, else all of its kind.
fn algorithms(jwk: &Jwk, of_kind: &[Algorithm]) -> Vec<Algorithm> {
    match jwk.common.key_algorithm {
        None => of_kind.to_vec(),
        Some(named) => {
            of_kind.iter().copied().filter(|algorithm| jsonwebtoken::jwk::KeyAlgorithm::from(algorithm.verified()) == named).collect()
        }
    }
}

fn secret_of(jwk: &Jwk) -> Option<Key> {
    let AlgorithmParameters::OctetKey(parameters) = &jwk.algorithm else { return None };
    let secret = BASE64_URL_SAFE_NO_PAD.decode(parameters.value.trim_end_matches('=')).ok()?;
    hmac(jwk.common.key_id.clone(), &secret, &algorithms(jwk, HMAC)).filter(|key| !key.algorithms.is_empty())
}

fn public_key(jwk: &Jwk) -> Option<Key> {
    let of_kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(parameters) => {
            let modulus = BASE64_URL_SAFE_NO_PAD.decode(parameters.n.trim_end_matches('=')).ok()?;
            let leading = modulus.iter().take_while(|byte| **byte == 0).count();
            if modulus.len() - leading < MIN_MODULUS {
                return None;
            }
            RSA
        }
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let algorithms = algorithms(jwk, of_kind);
    (!algorithms.is_empty()).then_some(Key { id: jwk.common.key_id.clone(), algorithms, key })
}
