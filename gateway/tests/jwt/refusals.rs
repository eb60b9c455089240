//! Each reason of a refusal.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::issuer::{RSA, RSA_PUBLIC, by_secret, claims, claims_with, jwk, now, part, set, token};
use crate::node::{Node, TestFile, reason};

#[actix_rt::test]
async fn client_without_a_token_is_refused() {
    let node = Node::by_secret(&json!({}));
    assert_eq!(reason(node.client().connect().await).as_deref(), Some("missing"));
    for auth in [json!({}), json!({ "token": "" }), json!({ "token": 7 }), json!({ "token": null }), json!("token")] {
        assert_eq!(reason(node.client().auth(&auth).connect().await).as_deref(), Some("missing"), "{auth}");
    }
    let by_header = |value: &str| node.client().header("authorization", value);
    assert_eq!(reason(by_header("Basic YTpi").connect().await).as_deref(), Some("missing"));
    // The query counts only if a setting names its parameter.
    let by_query = node.client().query("token", &by_secret(&claims()));
    assert_eq!(reason(by_query.connect().await).as_deref(), Some("missing"));
    assert_eq!((node.refused("missing"), node.jwt.stats().accepted), (8, 0));
}

#[actix_rt::test]
async fn token_comes_by_auth_header_or_query() {
    let node = Node::by_secret(&json!({ "query-parameter": "access" }));
    let good = by_secret(&claims());
    assert_eq!(node.refusal(&good).await, None);
    assert_eq!(reason(node.client().header("authorization", &format!("bearer {good}")).connect().await), None);
    assert_eq!(reason(node.client().query("access", &good).connect().await), None);
    // The token of `auth` comes before that of the header, and that before the query.
    let client = node.client().header("authorization", &format!("Bearer {good}")).query("access", &good);
    assert_eq!(reason(client.auth(&json!({ "token": "x" })).connect().await).as_deref(), Some("malformed"));
    assert_eq!(node.jwt.stats().accepted, 3);
}

#[actix_rt::test]
async fn token_is_refused_when_it_is_malformed() {
    let node = Node::by_secret(&json!({ "token-bytes": 400 }));
    let good = by_secret(&claims());
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let not_json = part(&Value::String("x".into()));
    for wrong in [
        "x".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{good}.{payload}"),
        format!("{not_json}.{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{}.{payload}.{signature}", part(&json!({ "alg": 1 }))),
        format!("{}.{payload}.{signature}", part(&json!({ "alg": "HS256", "kid": 1 }))),
        format!("{}.{payload}.{signature}", part(&json!({ "alg": "HS256", "crit": ["x"], "x": 1 }))),
        format!("{header}.{payload}.!"),
        format!("{}.{payload}.{signature}", "[".repeat(300)),
    ] {
        assert_eq!(node.refusal(&wrong).await.as_deref(), Some("malformed"), "{wrong}");
    }
    assert_eq!(node.refusal(&"x".repeat(401)).await.as_deref(), Some("too_long"));
    assert_eq!((node.refused("malformed"), node.refused("too_long")), (12, 1));
}

#[actix_rt::test]
async fn token_is_refused_when_its_signature_does_not_fit() {
    let node = Node::by_secret(&json!({}));
    let good = by_secret(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let forged = format!("{header}.{}.{signature}", part(&claims_with(&json!({ "sub": "eve" }))));
    for wrong in [forged, format!("{signed}."), token(Algorithm::HS256, b"another secret of at least 32 bytes!", None, &claims())] {
        assert_eq!(node.refusal(&wrong).await.as_deref(), Some("signature"), "{wrong}");
    }
    assert_eq!(node.refused("signature"), 3);
}

#[actix_rt::test]
async fn token_is_refused_outside_its_time() {
    let node = Node::by_secret(&json!({ "leeway-ms": 5000 }));
    let refusal = async |claims: Value| node.refusal(&by_secret(&claims_with(&claims))).await;
    assert_eq!(refusal(json!({ "exp": now(-60) })).await.as_deref(), Some("expired"));
    assert_eq!(refusal(json!({ "nbf": now(60) })).await.as_deref(), Some("not_yet_valid"));
    assert_eq!(refusal(json!({ "exp": null })).await.as_deref(), Some("claims"));
    for (wrong, reason) in [(json!("soon"), "claims"), (json!([1]), "malformed"), (json!({}), "malformed")] {
        assert_eq!(refusal(json!({ "exp": wrong })).await.as_deref(), Some(reason));
        assert_eq!(refusal(json!({ "nbf": wrong })).await.as_deref(), Some(reason));
    }
    // Within the leeway, and with fractions of a second.
    assert_eq!(refusal(json!({ "exp": now(-1), "nbf": now(1) })).await, None);
    assert_eq!(refusal(json!({ "exp": now(60) as f64 + 0.5 })).await, None);
    let node = Node::by_secret(&json!({ "require-expiry": false }));
    assert_eq!(node.refusal(&by_secret(&claims_with(&json!({ "exp": null })))).await, None);
    assert_eq!(node.refusal(&by_secret(&claims_with(&json!({ "exp": now(-3600) })))).await.as_deref(), Some("expired"));
}

#[actix_rt::test]
async fn token_is_refused_for_another_issuer_or_audience() {
    let node = Node::by_secret(&json!({ "issuer": "https://a", "audience": ["chat", "game"] }));
    let refusal = async |claims: Value| node.refusal(&by_secret(&claims_with(&claims))).await;
    assert_eq!(refusal(json!({ "iss": "https://a", "aud": "chat" })).await, None);
    assert_eq!(refusal(json!({ "iss": "https://a", "aud": ["x", "game"] })).await, None);
    for (claims, reason) in [
        (json!({ "aud": "chat" }), "issuer"),
        (json!({ "iss": "https://b", "aud": "chat" }), "issuer"),
        (json!({ "iss": 7, "aud": "chat" }), "issuer"),
        (json!({ "iss": "https://a" }), "audience"),
        (json!({ "iss": "https://a", "aud": "other" }), "audience"),
        (json!({ "iss": "https://a", "aud": [] }), "audience"),
        (json!({ "iss": "https://a", "aud": 7 }), "audience"),
    ] {
        assert_eq!(refusal(claims.clone()).await.as_deref(), Some(reason), "{claims}");
    }
    // By RFC 7519, a token for somebody else is refused by those who have no name.
    let node = Node::by_secret(&json!({}));
    assert_eq!(node.refusal(&by_secret(&claims_with(&json!({ "aud": "chat" })))).await.as_deref(), Some("audience"));
}

#[actix_rt::test]
async fn token_by_an_unknown_key_is_refused() {
    let file = TestFile::new(set(&[jwk(RSA_PUBLIC, Some("a"))]).as_bytes());
    let node = Node::start(&json!({ "jwks": file.path() }));
    assert_eq!(node.refusal(&token(Algorithm::RS256, RSA, Some("a"), &claims())).await, None);
    assert_eq!(node.refusal(&token(Algorithm::RS256, RSA, None, &claims())).await, None);
    assert_eq!(node.refusal(&token(Algorithm::RS256, RSA, Some("b"), &claims())).await.as_deref(), Some("unknown_key"));
    assert_eq!(node.refused("unknown_key"), 1);
}

#[actix_rt::test]
async fn rooms_of_claims_can_refuse_a_token() {
    let node = Node::by_secret(&json!({ "rooms": ["{room}"], "max-rooms": 2, "room-bytes": 30 }));
    let refusal = async |room: Value| node.refusal(&by_secret(&claims_with(&json!({ "room": room })))).await;
    let other = node.connect(&by_secret(&claims())).await.unwrap();
    for wrong in [json!(other.id()), json!(["a", "b", "c"]), json!("x".repeat(31)), json!({}), json!([[]])] {
        assert_eq!(refusal(wrong.clone()).await.as_deref(), Some("rooms"), "{wrong}");
    }
    assert_eq!(refusal(json!(["a", "b"])).await, None);
    assert_eq!(node.refused("rooms"), 5);
}

#[actix_rt::test]
async fn refused_client_leaves_no_socket_and_no_room() {
    let node = Node::by_secret(&json!({ "rooms": ["all"] }));
    assert_eq!(node.refusal("x").await.as_deref(), Some("malformed"));
    assert_eq!((node.io.socket_count(), node.io.room_count()), (0, 0));
}
