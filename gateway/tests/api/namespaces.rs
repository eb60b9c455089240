//! Namespaces that exist, that may exist on other nodes, and that nobody has.

use serde_json::{Value, json};

use crate::{Backend, problem};

#[actix_web::test]
async fn namespace_that_nobody_has_is_not_found() {
    let backend = Backend::start();
    for (operation, body) in [
        ("emit", json!({"namespace": "/none", "event": "a"})),
        ("join", json!({"namespace": "/none", "join": []})),
        ("disconnect", json!({"namespace": "none"})),
    ] {
        assert_eq!(backend.post(operation, body).await.problem(), problem(404, "not-found", "/namespace"));
    }
    assert_eq!(backend.get("sockets?namespace=/none").await.status, 404);
    assert_eq!(backend.io.namespaces().len(), 1);
}

#[actix_web::test]
async fn namespace_of_a_pattern_is_not_created() {
    let backend = Backend::start();
    backend.io.of_pattern(regex::Regex::new("^/org-[0-9]+$").unwrap());
    let emit = async |namespace: &str| backend.post("emit", json!({"namespace": namespace, "event": "news"})).await.status;
    assert_eq!((emit("/org-7").await, emit("/org-x").await), (200, 404));
    assert_eq!(backend.get("sockets?namespace=/org-7").await.json()["sockets"], Value::Array(vec![]));
    assert_eq!(backend.io.namespaces().len(), 1, "only the main namespace");
    let client = backend.server.client().namespace("/org-7").connect().await.unwrap();
    assert_eq!(emit("/org-7").await, 200);
    client.expect("news").await.unwrap();
}
