//! The effects of claims: data, rooms, and the end of a socket.

use serde_json::{Value, json};
use sociable::{Ack, Socket};

use crate::issuer::{by_secret, claims, claims_with, now};
use crate::node::{Node, eventually, reason};

/// Starts a node whose sockets tell their data and rooms.
fn telling(changes: &Value) -> Node {
    let node = Node::by_secret(changes);
    node.io.on("who", async |socket: Socket, ack: Ack| {
        let mut rooms: Vec<_> = socket.rooms().iter().filter(|room| **room != *socket.id().as_str()).map(ToString::to_string).collect();
        rooms.sort();
        ack.send(json!({ "data": socket.data::<Value>(), "rooms": rooms })).ok();
    });
    node
}

async fn who(node: &Node, claims: &Value) -> Value {
    let client = node.connect(&by_secret(claims)).await.unwrap();
    client.emit_with_ack("who", ()).await.unwrap().decode(0).unwrap()
}

#[actix_rt::test]
async fn claims_become_data_and_rooms() {
    let node = telling(&json!({
        "claims": ["sub", "name", "/realm_access/roles"],
        "rooms": ["user:{sub}", "role:{/realm_access/roles}", "tenant:{tenant}", "everybody"],
    }));
    let claims = claims_with(&json!({ "name": "Ann", "realm_access": { "roles": ["admin", "staff"] }, "secret": 1 }));
    let expected = json!({
        "data": { "sub": "ann", "name": "Ann", "roles": ["admin", "staff"] },
        "rooms": ["everybody", "role:admin", "role:staff", "user:ann"],
    });
    assert_eq!(who(&node, &claims).await, expected);
}

#[actix_rt::test]
async fn subject_is_the_data_by_default() {
    assert_eq!(who(&telling(&json!({})), &claims()).await, json!({ "data": { "sub": "ann" }, "rooms": [] }));
    assert_eq!(who(&telling(&json!({ "claims": [] })), &claims()).await, json!({ "data": null, "rooms": [] }));
}

#[actix_rt::test]
async fn middleware_behind_the_token_sees_its_claims() {
    let node = telling(&json!({}));
    node.io.middleware(async |socket: Socket| {
        let mut data: Value = socket.data().unwrap();
        assert_eq!(data["sub"], "ann");
        data["more"] = json!(true);
        socket.set_data(&data)?;
        Ok::<_, sociable::Failure>(())
    });
    assert_eq!(who(&node, &claims()).await["data"], json!({ "sub": "ann", "more": true }));
}

#[actix_rt::test]
async fn socket_is_disconnected_when_its_token_expires() {
    let node = telling(&json!({ "disconnect-when-expired": true, "leeway-ms": 0 }));
    let short = node.connect(&by_secret(&claims_with(&json!({ "exp": now(3) })))).await.unwrap();
    let long = node.connect(&by_secret(&claims())).await.unwrap();
    assert_eq!(short.disconnected().await.unwrap(), "io server disconnect");
    assert_eq!(node.jwt.stats().expired, 1);
    long.sync().await.unwrap();
    // The token is no longer good for another connection.
    assert_eq!(node.refusal(&by_secret(&claims_with(&json!({ "exp": now(0) - 1 })))).await.as_deref(), Some("expired"));
}

#[actix_rt::test]
async fn socket_stays_beyond_its_token_by_default() {
    let node = telling(&json!({ "leeway-ms": 0 }));
    let client = node.connect(&by_secret(&claims_with(&json!({ "exp": now(2) })))).await.unwrap();
    eventually("a new connection with an expired token", async || {
        node.refusal(&by_secret(&claims_with(&json!({ "exp": now(-1) })))).await.as_deref() == Some("expired")
    })
    .await;
    eventually("the token has expired", async || now(-3) > now(0) - 4).await;
    client.sync().await.unwrap();
    assert_eq!(node.jwt.stats().expired, 0);
}

#[actix_rt::test]
async fn returning_client_needs_a_valid_token() {
    let node = telling(&json!({ "rooms": ["user:{sub}"] }));
    let good = json!({ "token": by_secret(&claims()) });
    let client = node.client().auth(&good).connect().await.unwrap();
    let lost = client.drop_connection();
    let client = node.client().auth(&good).recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    let lost = client.drop_connection();
    let expired = json!({ "token": by_secret(&claims_with(&json!({ "exp": now(-3600) }))) });
    assert_eq!(reason(node.client().auth(&expired).recover(lost).connect().await).as_deref(), Some("expired"));
}

#[actix_rt::test]
async fn counts_are_metrics_of_the_server() {
    let node = Node::by_secret(&json!({}));
    let jwt = node.jwt.clone();
    node.io.add_metrics(move || jwt.metrics());
    node.connect(&by_secret(&claims())).await.unwrap();
    node.refusal("x").await;
    let metrics = node.io.metrics().await;
    for line in [
        "sociable_tokens_accepted_total 1",
        "sociable_tokens_refused_total{reason=\"malformed\"} 1",
        "sociable_tokens_refused_total{reason=\"expired\"} 0",
        "sociable_tokens_expired_total 0",
        "sociable_token_key_loads_total{outcome=\"failed\"} 0",
        "sociable_token_keys 1",
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line} is not in {metrics}");
    }
}
