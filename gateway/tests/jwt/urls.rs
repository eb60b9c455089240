//! A URL of keys: fetched, refreshed, away.

use futures_util::future::join_all;
use jsonwebtoken::Algorithm;
use serde_json::json;
use sociable::Server;
use sociable_gateway::jwt::Jwt;

use crate::issuer::{OTHER_RSA, OTHER_RSA_PUBLIC, RSA, RSA_PUBLIC, SECRET, claims, jwk, set, token};
use crate::key_server::{Behaviour, KeyServer};
use crate::node::{Node, eventually, settings};

fn first() -> Behaviour {
    Behaviour::Keys(set(&[jwk(RSA_PUBLIC, Some("1"))]))
}

fn both() -> Behaviour {
    Behaviour::Keys(set(&[jwk(RSA_PUBLIC, Some("1")), jwk(OTHER_RSA_PUBLIC, Some("2"))]))
}

fn by_first() -> String {
    token(Algorithm::RS256, RSA, Some("1"), &claims())
}

fn by_second() -> String {
    token(Algorithm::RS256, OTHER_RSA, Some("2"), &claims())
}

#[actix_rt::test]
async fn first_clients_wait_for_the_keys_of_a_url() {
    let keys = KeyServer::start(first());
    let node = Node::start(&json!({ "jwks": keys.url() }));
    let good = by_first();
    let refusals = join_all((0..10).map(|_| node.refusal(&good))).await;
    assert!(refusals.iter().all(Option::is_none), "{refusals:?}");
    assert_eq!(keys.requests(), 1);
    assert_eq!((node.jwt.stats().keys, node.jwt.stats().key_loads), (1, 1));
}

#[actix_rt::test]
async fn unknown_key_has_the_url_asked_at_once() {
    let keys = KeyServer::start(first());
    let node = Node::start(&json!({ "jwks": keys.url(), "unknown-key-ms": 1 }));
    assert_eq!(node.refusal(&by_first()).await, None);
    keys.behave(both());
    assert_eq!(node.refusal(&by_second()).await, None);
    assert_eq!(node.refusal(&by_first()).await, None);
    assert_eq!(keys.requests(), 2);
}

#[actix_rt::test]
async fn forged_key_ids_cause_few_requests() {
    let keys = KeyServer::start(first());
    let node = Node::start(&json!({ "jwks": keys.url(), "unknown-key-ms": 60_000 }));
    assert_eq!(node.refusal(&by_first()).await, None);
    let forged: Vec<_> = (0..50).map(|id| token(Algorithm::RS256, OTHER_RSA, Some(&format!("forged-{id}")), &claims())).collect();
    for refusal in join_all(forged.iter().map(|token| node.refusal(token))).await {
        assert_eq!(refusal.as_deref(), Some("unknown_key"));
    }
    assert_eq!(keys.requests(), 1);
    assert_eq!(node.refused("unknown_key"), 50);
}

#[actix_rt::test]
async fn keys_of_a_url_are_refreshed_in_time() {
    let keys = KeyServer::start(both());
    let node = Node::start(&json!({ "jwks": keys.url(), "refresh-ms": 20, "unknown-key-ms": 60_000 }));
    assert_eq!(node.refusal(&by_second()).await, None);
    keys.behave(first());
    eventually("the key is gone", async || node.refusal(&by_second()).await.as_deref() == Some("unknown_key")).await;
    assert_eq!(node.refusal(&by_first()).await, None);
}

#[actix_rt::test]
async fn keys_stay_valid_while_their_server_fails() {
    for behaviour in [
        Behaviour::Status("500 Internal Server Error"),
        Behaviour::Status("302 Found\r\nlocation: http://127.0.0.1:1/"),
        Behaviour::Status("204 No Content"),
        Behaviour::Keys("<html>".into()),
        Behaviour::Keys(set(&[])),
        Behaviour::Huge,
        Behaviour::Silent,
        Behaviour::Broken,
    ] {
        let keys = KeyServer::start(first());
        let node = Node::start(&json!({ "jwks": keys.url(), "refresh-ms": 20, "timeout-ms": 200 }));
        assert_eq!(node.refusal(&by_first()).await, None, "{behaviour:?}");
        keys.behave(behaviour.clone());
        eventually("a failure", async || node.jwt.stats().key_load_failures > 0).await;
        assert_eq!(node.refusal(&by_first()).await, None, "{behaviour:?}");
        keys.behave(both());
        eventually("the server is back", async || node.jwt.stats().keys == 2).await;
    }
}

#[actix_rt::test]
async fn clients_are_refused_while_no_keys_were_read() {
    for behaviour in [Behaviour::Silent, Behaviour::Huge, Behaviour::Status("503 Service Unavailable")] {
        let keys = KeyServer::start(behaviour.clone());
        let node = Node::start(&json!({ "jwks": keys.url(), "timeout-ms": 200, "unknown-key-ms": 1, "answer-bytes": 10_000 }));
        assert_eq!(node.refusal(&by_first()).await.as_deref(), Some("keys_unavailable"), "{behaviour:?}");
        keys.behave(first());
        eventually("the keys", async || node.refusal(&by_first()).await.is_none()).await;
    }
    // Nobody listens.
    let node = Node::start(&json!({ "jwks": "http://127.0.0.1:1/jwks.json" }));
    assert_eq!(node.refusal(&by_first()).await.as_deref(), Some("keys_unavailable"));
    assert!(node.refused("keys_unavailable") == 1 && node.jwt.stats().keys == 0);
}

#[actix_rt::test]
async fn secret_in_a_published_set_is_left_out() {
    use base64::Engine;
    let secret = json!({ "kty": "oct", "kid": "s", "k": base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(SECRET) });
    let keys = KeyServer::start(Behaviour::Keys(set(&[jwk(RSA_PUBLIC, Some("1")), secret])));
    let node = Node::start(&json!({ "jwks": keys.url(), "unknown-key-ms": 60_000 }));
    assert_eq!(node.refusal(&by_first()).await, None);
    assert_eq!(node.jwt.stats().keys, 1);
    assert_eq!(node.refusal(&token(Algorithm::HS256, SECRET, Some("s"), &claims())).await.as_deref(), Some("unknown_key"));
}

#[actix_rt::test]
async fn refreshes_end_with_the_last_handle() {
    let keys = KeyServer::start(first());
    // A server keeps its namespaces while it closes its connections, so the handle has none here.
    let jwt = Jwt::start(settings(&json!({ "jwks": keys.url(), "refresh-ms": 20 }))).unwrap();
    eventually("the keys are refreshed", async || keys.requests() > 2).await;
    drop(jwt);
    eventually("no more requests", async || {
        let before = keys.requests();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        keys.requests() == before
    })
    .await;
}

#[test]
fn start_needs_a_runtime() {
    let table = json!({ "jwks": "http://127.0.0.1:1/" });
    let fault = Node::start_on(Server::builder(), &table).err().unwrap();
    assert!(fault.to_string().starts_with("no Tokio runtime: "), "{fault}");
}
