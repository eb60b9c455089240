//! Files with keys that change.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::issuer::{OTHER_RSA, OTHER_RSA_PUBLIC, RSA, RSA_PUBLIC, SECRET, claims, jwk, set, token};
use crate::node::{Node, TestFile, eventually};

const OTHER_SECRET: &[u8] = b"another secret of these tests, long enough\n";

#[actix_rt::test]
async fn keys_of_a_changed_file_are_used() {
    let file = TestFile::new(SECRET);
    let node = Node::start(&json!({ "secret-file": file.path(), "refresh-ms": 10 }));
    let (old, new) =
        (token(Algorithm::HS256, SECRET, None, &claims()), token(Algorithm::HS256, OTHER_SECRET.trim_ascii_end(), None, &claims()));
    assert_eq!((node.refusal(&old).await.as_deref(), node.refusal(&new).await.as_deref()), (None, Some("signature")));
    file.write(OTHER_SECRET);
    eventually("the new secret", async || node.refusal(&new).await.is_none()).await;
    assert_eq!(node.refusal(&old).await.as_deref(), Some("signature"));
    assert_eq!(node.jwt.stats().key_load_failures, 0);
}

#[actix_rt::test]
async fn two_keys_are_valid_while_they_are_rotated() {
    let (old, new) = (token(Algorithm::RS256, RSA, Some("1"), &claims()), token(Algorithm::RS256, OTHER_RSA, Some("2"), &claims()));
    let file = TestFile::new(set(&[jwk(RSA_PUBLIC, Some("1"))]).as_bytes());
    let node = Node::start(&json!({ "jwks": file.path(), "refresh-ms": 10 }));
    assert_eq!(node.refusal(&new).await.as_deref(), Some("unknown_key"));
    file.write(set(&[jwk(RSA_PUBLIC, Some("1")), jwk(OTHER_RSA_PUBLIC, Some("2"))]).as_bytes());
    eventually("both keys", async || node.refusal(&new).await.is_none()).await;
    assert_eq!(node.refusal(&old).await, None);
    file.write(set(&[jwk(OTHER_RSA_PUBLIC, Some("2"))]).as_bytes());
    eventually("the new key alone", async || node.refusal(&old).await.is_some()).await;
    assert_eq!(node.refusal(&new).await, None);
}

#[actix_rt::test]
async fn keys_stay_valid_while_their_file_is_wrong_or_gone() {
    let good = token(Algorithm::HS256, SECRET, None, &claims());
    let file = TestFile::new(SECRET);
    let node = Node::start(&json!({ "secret-file": file.path(), "refresh-ms": 10, "answer-bytes": 1000 }));
    for contents in [&b"short"[..], &[b'x'; 1001]] {
        let before = node.jwt.stats().key_load_failures;
        file.write(contents);
        eventually("a failure", async || node.jwt.stats().key_load_failures > before).await;
        assert_eq!(node.refusal(&good).await, None);
    }
    std::fs::remove_file(&file.0).unwrap();
    assert_eq!(node.refusal(&good).await, None);
    file.write(OTHER_SECRET);
    eventually("the new secret", async || node.refusal(&good).await.as_deref() == Some("signature")).await;
}
