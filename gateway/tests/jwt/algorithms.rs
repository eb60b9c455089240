//! Keys and algorithms: each key verifies its own algorithms, and no others.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use sociable::Server;
use sociable_gateway::jwt::JwtFault;

use crate::issuer::{
    ED25519, ED25519_PUBLIC, OTHER_RSA, OTHER_RSA_PUBLIC, P256, P256_PUBLIC, P384, P384_PUBLIC, RSA, RSA_PUBLIC, SECRET, claims, jwk, part,
    set, token,
};
use crate::node::{Node, TestFile};

/// All algorithms with their private and public keys.
const ALL: [(Algorithm, &[u8], &[u8]); 12] = [
    (Algorithm::HS256, SECRET, SECRET),
    (Algorithm::HS384, SECRET, SECRET),
    (Algorithm::HS512, SECRET, SECRET),
    (Algorithm::RS256, RSA, RSA_PUBLIC),
    (Algorithm::RS384, RSA, RSA_PUBLIC),
    (Algorithm::RS512, RSA, RSA_PUBLIC),
    (Algorithm::PS256, RSA, RSA_PUBLIC),
    (Algorithm::PS384, RSA, RSA_PUBLIC),
    (Algorithm::PS512, RSA, RSA_PUBLIC),
    (Algorithm::ES256, P256, P256_PUBLIC),
    (Algorithm::ES384, P384, P384_PUBLIC),
    (Algorithm::EdDSA, ED25519, ED25519_PUBLIC),
];

fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

#[actix_rt::test]
async fn every_algorithm_is_verified_by_a_file() {
    for (algorithm, private, public) in ALL {
        let file = TestFile::new(public);
        let place = if is_hmac(algorithm) { "secret-file" } else { "keys" };
        let node = Node::start(&json!({ place: file.path(), "algorithms": [format!("{algorithm:?}")] }));
        // A key without an id fits every id.
        assert_eq!(node.refusal(&token(algorithm, private, Some("any"), &claims())).await, None, "{algorithm:?}");
        let (other, key, _) = ALL[(ALL.iter().position(|(of, ..)| *of == algorithm).unwrap() + 1) % ALL.len()];
        assert_eq!(node.refusal(&token(other, key, None, &claims())).await.as_deref(), Some("algorithm"), "{other:?}");
    }
}

#[actix_rt::test]
async fn every_algorithm_is_verified_by_a_set() {
    let secret = json!({ "kty": "oct", "k": part_of(SECRET), "kid": "secret" });
    let keys = [
        jwk(RSA_PUBLIC, Some("rsa")),
        jwk(P256_PUBLIC, Some("p256")),
        jwk(P384_PUBLIC, Some("p384")),
        jwk(ED25519_PUBLIC, Some("ed")),
        secret,
    ];
    let file = TestFile::new(set(&keys).as_bytes());
    let node = Node::start(&json!({ "jwks": file.path() }));
    assert_eq!(node.jwt.stats().keys, 5);
    for (algorithm, private, _) in ALL {
        assert_eq!(node.refusal(&token(algorithm, private, None, &claims())).await, None, "{algorithm:?}");
    }
    // A key verifies the algorithms of its kind alone, even if a token names the key.
    for (algorithm, private, id) in [(Algorithm::ES256, P256, "rsa"), (Algorithm::HS256, SECRET, "p256"), (Algorithm::ES384, P384, "p256")]
    {
        assert_eq!(node.refusal(&token(algorithm, private, Some(id), &claims())).await.as_deref(), Some("algorithm"), "{id}");
    }
}

fn part_of(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[actix_rt::test]
async fn public_key_is_no_secret_of_hmac() {
    let (pem, set) = (TestFile::new(RSA_PUBLIC), TestFile::new(set(&[jwk(RSA_PUBLIC, Some("a"))]).as_bytes()));
    for table in [json!({ "keys": pem.path() }), json!({ "jwks": set.path() })] {
        let node = Node::start(&table);
        assert_eq!(node.refusal(&token(Algorithm::RS256, RSA, Some("a"), &claims())).await, None);
        // The classic attack: the public key, which everybody knows, signs as a secret.
        for id in [None, Some("a")] {
            assert_eq!(node.refusal(&token(Algorithm::HS256, RSA_PUBLIC, id, &claims())).await.as_deref(), Some("algorithm"), "{table}");
        }
        assert_eq!(node.refusal(&token(Algorithm::RS256, OTHER_RSA, Some("a"), &claims())).await.as_deref(), Some("signature"));
    }
}

#[actix_rt::test]
async fn unsigned_token_is_refused() {
    let file = TestFile::new(SECRET);
    let node = Node::start(&json!({ "secret-file": file.path() }));
    for name in ["none", "None", "NONE", "nOnE", "", "HS257", "hs256", "RS256", "ES512", "dir"] {
        let unsigned = format!("{}.{}.", part(&json!({ "alg": name, "typ": "JWT" })), part(&claims()));
        assert_eq!(node.refusal(&unsigned).await.as_deref(), Some("algorithm"), "{name}");
    }
}

#[actix_rt::test]
async fn key_of_a_set_verifies_the_algorithm_that_it_names() {
    let named = |algorithm: &str, of: &[u8]| {
        let mut key = jwk(of, Some("a"));
        key["alg"] = algorithm.into();
        key
    };
    let file = TestFile::new(set(&[named("RS384", RSA_PUBLIC)]).as_bytes());
    let node = Node::start(&json!({ "jwks": file.path() }));
    assert_eq!(node.refusal(&token(Algorithm::RS384, RSA, Some("a"), &claims())).await, None);
    assert_eq!(node.refusal(&token(Algorithm::RS256, RSA, Some("a"), &claims())).await.as_deref(), Some("algorithm"));
}

#[actix_rt::test]
async fn keys_for_other_purposes_are_left_out() {
    let changed = |change: (&str, Value)| {
        let mut key = jwk(RSA_PUBLIC, Some("a"));
        key[change.0] = change.1;
        key
    };
    let others = [
        changed(("use", json!("enc"))),
        changed(("key_ops", json!(["encrypt"]))),
        changed(("alg", json!("RSA-OAEP"))),
        changed(("alg", json!("HS256"))),
        changed(("n", json!(part_of(&[255; 128])))),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
        json!({ "kty": "oct", "k": part_of(&[1; 16]) }),
        json!({ "kty": "new" }),
        json!(7),
    ];
    let file = TestFile::new(set(&others).as_bytes());
    let fault = Node::start_on(Server::builder(), &json!({ "jwks": file.path() })).err().unwrap();
    assert!(fault.to_string().contains("no usable key"), "{fault}");
    let good = [&others[..], &[changed(("use", json!("sig")))]].concat();
    file.write(set(&good).as_bytes());
    assert_eq!(Node::start(&json!({ "jwks": file.path() })).jwt.stats().keys, 1);
}

#[actix_rt::test]
async fn four_keys_are_tried_for_a_token_without_an_id() {
    let mut keys: Vec<_> = ["1", "2", "3"].map(|id| jwk(OTHER_RSA_PUBLIC, Some(id))).into();
    keys.push(jwk(RSA_PUBLIC, Some("own")));
    let file = TestFile::new(set(&keys).as_bytes());
    let by_any = token(Algorithm::RS256, RSA, None, &claims());
    assert_eq!(Node::start(&json!({ "jwks": file.path() })).refusal(&by_any).await, None);
    keys.insert(0, jwk(OTHER_RSA_PUBLIC, Some("4")));
    file.write(set(&keys).as_bytes());
    let node = Node::start(&json!({ "jwks": file.path() }));
    assert_eq!(node.refusal(&by_any).await.as_deref(), Some("signature"));
    assert_eq!(node.refusal(&token(Algorithm::RS256, RSA, Some("own"), &claims())).await, None);
}

#[actix_rt::test]
async fn pem_file_has_several_keys() {
    let file = TestFile::new(&[RSA_PUBLIC, b"comment\n", P256_PUBLIC, include_bytes!("keys/rsa.pkcs1.pem")].concat());
    let node = Node::start(&json!({ "keys": file.path() }));
    assert_eq!(node.jwt.stats().keys, 3);
    for (algorithm, private) in [(Algorithm::RS256, RSA), (Algorithm::ES256, P256)] {
        assert_eq!(node.refusal(&token(algorithm, private, None, &claims())).await, None);
    }
}

#[actix_rt::test]
async fn file_without_usable_keys_is_a_fault_with_a_remedy() {
    let private = RSA;
    for (place, contents, error) in [
        ("keys", private, "PEM block 1 is no usable public key"),
        ("keys", &[P256_PUBLIC, include_bytes!("keys/p521.pub.pem")].concat()[..], "PEM block 2 is no usable public key"),
        ("keys", include_bytes!("keys/rsa-1024.pub.pem"), "PEM block 1 is no usable public key"),
        ("keys", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PEM block 1 is no usable public key"),
        ("keys", b"", "no usable key"),
        ("keys", b"\xff\xfe", "no text in UTF-8"),
        ("secret-file", b"short\n", "secret has 5 bytes: use at least 32"),
        ("jwks", b"[]", "no JWK Set"),
        ("jwks", b"{\"keys\":[]}", "no usable key"),
    ] {
        let file = TestFile::new(contents);
        let fault = Node::start_on(Server::builder(), &json!({ place: file.path() })).err().unwrap();
        let text = fault.to_string();
        assert!(text.starts_with(&format!("cannot read the keys of tokens: {}: {error}", file.path())), "{text}");
        assert!(matches!(fault, JwtFault::Keys(_)));
    }
    let fault = Node::start_on(Server::builder(), &json!({ "keys": "/nowhere/jwt.pem" })).err().unwrap();
    assert!(fault.to_string().contains("/nowhere/jwt.pem: No such file"), "{fault}");
}
