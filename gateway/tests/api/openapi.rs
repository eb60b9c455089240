//! The document of the API, and the page to read it.

use std::collections::BTreeSet;

use actix_web::test::TestRequest;
use serde_json::Value;
use sociable_gateway::api::problem::ProblemKind;
use sociable_gateway::api::{Limits, Route};

use crate::{Backend, keys};

async fn document(backend: &Backend) -> Value {
    backend.send(TestRequest::get().uri("/api/v1/openapi.json")).await.json()
}

#[actix_web::test]
async fn document_has_every_operation_and_the_limits() {
    let backend = Backend::with(Limits::default().max_rooms(7).max_body(999), keys());
    let document = document(&backend).await;
    for route in Route::ALL {
        let operation = &document["paths"][format!("/{route}")][if route.is_read() { "get" } else { "post" }];
        assert_eq!(operation["operationId"], route.name());
    }
    assert_eq!(document["components"]["schemas"]["Emit"]["properties"]["rooms"]["maxItems"], 7);
    assert_eq!(document["paths"]["/emit"]["post"]["requestBody"]["description"], "At most 999 bytes.");
}

#[actix_web::test]
async fn references_of_the_document_lead_somewhere() {
    fn visit<'a>(node: &'a Value, found: &mut BTreeSet<&'a str>) {
        match node {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| visit(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, found)),
            _ => {}
        }
    }
    let document = document(&Backend::start()).await;
    let mut found = BTreeSet::new();
    visit(&document, &mut found);
    assert!(found.len() > 20);
    for reference in &found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    let named = document["components"]["schemas"].as_object().unwrap().keys();
    assert!(named.clone().all(|name| found.iter().any(|reference| reference.ends_with(&format!("/{name}")))), "{named:?}");
}

#[actix_web::test]
async fn examples_of_the_document_are_accepted() {
    let backend = Backend::start();
    let document = document(&backend).await;
    for route in Route::ALL.iter().filter(|route| !route.is_read()) {
        let example = &document["paths"][format!("/{route}")]["post"]["requestBody"]["content"]["application/json"]["example"];
        assert!(example.is_object());
        let answered = backend.post(route.name(), example.clone()).await;
        assert_eq!(answered.status, 200, "{route}: {:?}", answered.body);
    }
    for route in Route::ALL.iter().filter(|route| route.is_read()) {
        let example = &document["paths"][format!("/{route}")]["get"]["responses"]["200"]["content"]["application/json"]["example"];
        let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(members(&backend.get(route.name()).await.json()), members(example), "{route}");
    }
}

#[actix_web::test]
async fn problems_of_the_document_are_all_kinds_but_one() {
    let document = document(&Backend::start()).await;
    let responses = document["components"]["responses"].to_string();
    let kinds = [
        ProblemKind::Malformed,
        ProblemKind::Forbidden,
        ProblemKind::OutcomeUnknown,
        ProblemKind::DurabilityUnavailable,
        ProblemKind::Unavailable,
    ];
    for kind in kinds {
        assert!(responses.contains(&format!("\"{}\"", kind.uri())), "{kind:?}");
    }
    // Documented operations have the right method.
    assert!(!responses.contains(&ProblemKind::MethodNotAllowed.uri()));
}

#[actix_web::test]
async fn page_needs_no_key_and_has_a_strict_policy() {
    let backend = Backend::start();
    for (path, kind) in [("", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")] {
        let answered = backend.send(TestRequest::get().uri(&format!("/api/v1/{path}"))).await;
        assert_eq!(answered.status, 200, "{path}");
        assert!(answered.header("content-type").unwrap().starts_with(kind), "{path}");
        assert!(answered.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self'"));
    }
    let answered = backend.send(TestRequest::get().uri("/api/v1")).await;
    assert_eq!((answered.status, answered.header("location")), (308, Some("/api/v1/")));
    let answered = backend.send(TestRequest::post().uri("/api/v1/openapi.json")).await;
    assert_eq!((answered.problem().0, answered.header("allow")), (405, Some("GET, HEAD")));
}
