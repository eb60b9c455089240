//! Keys, and tokens that they sign.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};

pub(crate) const SECRET: &[u8] = b"a secret of these tests, which is long enough";
pub(crate) const RSA: &[u8] = include_bytes!("keys/rsa.pem");
pub(crate) const RSA_PUBLIC: &[u8] = include_bytes!("keys/rsa.pub.pem");
pub(crate) const OTHER_RSA: &[u8] = include_bytes!("keys/rsa-2.pem");
pub(crate) const OTHER_RSA_PUBLIC: &[u8] = include_bytes!("keys/rsa-2.pub.pem");
pub(crate) const P256: &[u8] = include_bytes!("keys/p256.pem");
pub(crate) const P256_PUBLIC: &[u8] = include_bytes!("keys/p256.pub.pem");
pub(crate) const P384: &[u8] = include_bytes!("keys/p384.pem");
pub(crate) const P384_PUBLIC: &[u8] = include_bytes!("keys/p384.pub.pem");
pub(crate) const ED25519: &[u8] = include_bytes!("keys/ed25519.pem");
pub(crate) const ED25519_PUBLIC: &[u8] = include_bytes!("keys/ed25519.pub.pem");

/// Returns the seconds since 1970, with a difference.
pub(crate) fn now(difference: i64) -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + difference
}

/// Returns claims that are valid for an hour.
pub(crate) fn claims() -> Value {
    json!({ "sub": "ann", "exp": now(3600) })
}

/// Returns claims with changes. `null` removes a claim.
pub(crate) fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn key(algorithm: Algorithm, key: &[u8]) -> EncodingKey {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => EncodingKey::from_secret(key).unwrap(),
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(key).unwrap(),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(key).unwrap(),
        _ => EncodingKey::from_rsa_pem(key).unwrap(),
    }
}

/// Returns a token that a key signed.
pub(crate) fn token(algorithm: Algorithm, signed_by: &[u8], id: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &key(algorithm, signed_by)).unwrap()
}

/// Returns a token by the secret of these tests.
pub(crate) fn by_secret(claims: &Value) -> String {
    token(Algorithm::HS256, SECRET, None, claims)
}

/// Returns the JWK of a public key in PEM.
pub(crate) fn jwk(public: &[u8], id: Option<&str>) -> Value {
    let kinds = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
    let key = kinds.iter().find_map(|read| Jwk::from_decoding_key(&read(public).ok()?, None).ok()).unwrap();
    let mut jwk = serde_json::to_value(key).unwrap();
    if let Some(id) = id {
        jwk["kid"] = id.into();
    }
    jwk
}

/// Returns a set of keys.
pub(crate) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Returns a part of a token.
pub(crate) fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}
