//! Keys and their scopes.

use actix_web::test::TestRequest;
use serde_json::json;
use sociable_gateway::api::Limits;

use crate::{Backend, SHOP, keys, post, problem};

#[actix_web::test]
async fn request_without_a_known_key_is_refused() {
    let backend = Backend::start();
    for authorization in [None, Some("Bearer of no secret"), Some("Basic YTpi"), Some("")] {
        let mut request = post("emit").set_json(json!({"event": "a"}));
        if let Some(authorization) = authorization {
            request = request.insert_header(("Authorization", authorization));
        }
        let answered = backend.send(request).await;
        assert_eq!(answered.problem().0, 401);
        assert_eq!(answered.header("www-authenticate"), Some("Bearer"));
    }
}

#[actix_web::test]
async fn key_is_held_to_its_scope() {
    let backend = Backend::start();
    backend.io.of("/shop-1");
    backend.io.of("/bank");
    let within = [
        ("emit", json!({"rooms": ["order:1", "order:2"], "event": "paid"})),
        ("emit", json!({"namespace": "/shop-1", "rooms": ["order:1"], "event": "paid"})),
        ("emit", json!({"namespace": "shop-1", "rooms": ["order:1"], "except": ["any"], "event": "paid"})),
        ("join", json!({"rooms": ["order:1"], "join": ["order:2"]})),
        ("batch", json!({"operations": []})),
    ];
    for (operation, body) in within {
        assert_eq!(backend.post_as(SHOP, operation, body.clone()).await.status, 200, "{operation} {body}");
    }
    let beyond = [
        ("leave", json!({"rooms": ["order:1"], "leave": ["order:1"]}), json!(null)),
        ("disconnect", json!({"rooms": ["order:1"]}), json!(null)),
        ("emit", json!({"namespace": "/bank", "rooms": ["order:1"], "event": "paid"}), json!("/namespace")),
        ("emit", json!({"namespace": "/none", "rooms": ["order:1"], "event": "paid"}), json!("/namespace")),
        ("emit", json!({"rooms": ["order:1", "admin"], "event": "paid"}), json!("/rooms/1")),
        ("emit", json!({"event": "paid"}), json!("/rooms")),
        ("join", json!({"rooms": ["order:1"], "join": ["admin"]}), json!("/join/0")),
    ];
    for (operation, body, pointer) in beyond {
        let answered = backend.post_as(SHOP, operation, body.clone()).await;
        assert_eq!(answered.problem(), problem(403, "forbidden", pointer), "{operation} {body}");
    }
    let batch = json!({"operations": [{"operation": "leave", "leave": []}, {"operation": "emit", "event": "a", "rooms": ["order:1"]}]});
    let outcomes = backend.post_as(SHOP, "batch", batch).await.json()["outcomes"].clone();
    assert_eq!((&outcomes[0]["status"], &outcomes[1]["status"]), (&json!(403), &json!(200)));
}

#[actix_web::test]
async fn replaced_keys_count_at_once() {
    let keys = keys();
    let backend = Backend::with(Limits::default(), keys.clone());
    let file = json!({"keys": {"new": {"secret": "secret of the key that came later", "operations": ["emit"]}}});
    keys.replace(serde_json::from_value(file).unwrap()).unwrap();
    assert_eq!(backend.post("emit", json!({"event": "a"})).await.status, 401);
    assert_eq!(backend.post_as("secret of the key that came later", "emit", json!({"event": "a"})).await.status, 200);
}

#[actix_web::test]
async fn unknown_path_and_method_are_problems() {
    let backend = Backend::start();
    let answered = backend.get("fly").await;
    assert_eq!(answered.problem(), problem(404, "not-found", json!(null)));
    let answered = backend.send(TestRequest::delete().uri("/api/v1/emit")).await;
    assert_eq!((answered.problem().0, answered.header("allow")), (405, Some("POST")));
    let answered = backend.send(post("sockets")).await;
    assert_eq!((answered.problem().0, answered.header("allow")), (405, Some("GET")));
}
