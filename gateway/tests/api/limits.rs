//! Limits: bodies, lists, rate and concurrency.

use serde_json::{Value, json};
use sociable_gateway::api::{Limits, Route};
use std::time::Duration;

use crate::{Backend, keys, problem};

#[actix_web::test]
async fn body_beyond_the_limit_is_refused() {
    let body = json!({"event": "a", "args": ["x".repeat(100)]});
    let length = body.to_string().len();
    for (limit, status) in [(length, 200), (length - 1, 413)] {
        let backend = Backend::with(Limits::default().max_body(limit), keys());
        assert_eq!(backend.post("emit", body.clone()).await.status, status);
    }
}

#[actix_web::test]
async fn list_beyond_its_limit_is_refused() {
    let limits = Limits::default().max_rooms(2).max_args(2).max_batch(2).max_sockets(5).max_ack_timeout(Duration::from_secs(1));
    let backend = Backend::with(limits, keys());
    let three = json!(["a", "b", "c"]);
    let ask = |millis: u64| json!({"operation": "emit-with-ack", "rooms": ["none"], "event": "a", "timeout_ms": millis});
    let emit = json!({"operation": "emit", "event": "a"});
    let beyond = [
        ("emit", json!({"event": "a", "rooms": three}), "/rooms"),
        ("emit", json!({"event": "a", "except": three}), "/except"),
        ("emit", json!({"event": "a", "args": three}), "/args"),
        ("join", json!({"join": three}), "/join"),
        ("leave", json!({"leave": three}), "/leave"),
        ("emit-with-ack", json!({"event": "a", "timeout_ms": 1001}), "/timeout_ms"),
        ("emit-with-ack", json!({"event": "a", "timeout_ms": 0}), "/timeout_ms"),
        ("batch", json!({"operations": [emit, emit, emit]}), "/operations"),
        ("batch", json!({"operations": [ask(600), ask(401)]}), "/operations/1/timeout_ms"),
    ];
    for (operation, body, pointer) in beyond {
        assert_eq!(backend.post(operation, body.clone()).await.problem(), problem(422, "invalid", pointer), "{operation} {body}");
    }
    assert_eq!(backend.post("batch", json!({"operations": [ask(600), ask(400)]})).await.status, 200);
    for limit in ["0", "6", "many"] {
        assert_eq!(backend.get(&format!("sockets?limit={limit}")).await.problem().0, 422);
    }
}

#[actix_web::test]
async fn rate_of_a_key_is_limited() {
    let backend = Backend::with(Limits::default().rate(0.1).burst(3), keys());
    let emit = json!({"operation": "emit", "event": "a"});
    assert_eq!(backend.post("emit", json!({"event": "a"})).await.status, 200);
    // A batch that has begun is done, and delays later requests.
    assert_eq!(backend.post("batch", json!({"operations": [emit, emit, emit]})).await.status, 200);
    let answered = backend.post("emit", json!({"event": "a"})).await;
    assert_eq!(answered.problem(), problem(429, "too-many-requests", Value::Null));
    let wait: u64 = answered.header("retry-after").unwrap().parse().unwrap();
    assert!((15..=20).contains(&wait), "two operations are missing at one in ten seconds: {wait}");
    let counts = backend.api.counts();
    assert_eq!((counts[&(Route::Emit, 200)], counts[&(Route::Emit, 429)], counts[&(Route::Batch, 200)]), (4, 1, 1));
}

#[actix_web::test]
async fn answers_are_metrics_of_the_server() {
    let backend = Backend::with(Limits::default().rate(0.1).burst(2), keys());
    let emit = json!({"operation": "emit", "event": "a"});
    let other = json!({"operation": "count", "namespace": "/none"});
    assert_eq!(backend.post("batch", json!({"operations": [emit, other]})).await.status, 200);
    assert_eq!(backend.post("emit", json!({"event": "a"})).await.status, 429);
    let metrics = backend.io.metrics().await;
    for line in [
        "sociable_api_requests_total{operation=\"emit\",status=\"2xx\"} 1",
        "sociable_api_requests_total{operation=\"emit\",status=\"4xx\"} 1",
        "sociable_api_requests_total{operation=\"count\",status=\"4xx\"} 1",
        "sociable_api_requests_total{operation=\"info\",status=\"5xx\"} 0",
        "sociable_api_problems_total{reason=\"not_found\"} 1",
        "sociable_api_problems_total{reason=\"too_many_requests\"} 1",
        "sociable_api_key_requests_total{key=\"all\",result=\"admitted\"} 1",
        "sociable_api_key_requests_total{key=\"all\",result=\"limited\"} 1",
        "sociable_api_requests_in_flight{key=\"shop\"} 0",
        "sociable_api_idempotency_requests_total{outcome=\"replayed\"} 0",
        "sociable_api_idempotency_lost_answers_total{reason=\"too_long\"} 0",
        "sociable_api_idempotency_records 0",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }
}

#[actix_web::test]
async fn concurrency_of_a_key_is_limited() {
    let backend = Backend::with(Limits::default().concurrency(1), keys());
    let client = backend.client(&[]).await;
    let asked = backend.post("emit-with-ack", json!({"event": "wait"}));
    let meanwhile = async {
        let event = client.expect("wait").await.unwrap();
        let answered = backend.post("emit", json!({"event": "a"})).await;
        client.answer(&event, ()).unwrap();
        answered
    };
    let (asked, refused) = tokio::join!(asked, meanwhile);
    assert_eq!((asked.status, refused.problem().0), (200, 429));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(backend.post("emit", json!({"event": "a"})).await.status, 200);
}

#[actix_web::test]
async fn numbers_are_whole_and_have_defaults_within_the_limits() {
    let backend = Backend::with(Limits::default().max_ack_timeout(Duration::from_millis(50)).max_sockets(5), keys());
    assert_eq!(backend.post("emit-with-ack", json!({"rooms": ["none"], "event": "a"})).await.status, 200);
    assert_eq!(backend.get("sockets").await.status, 200);
    let ask = async |timeout: &str| {
        let body = format!(r#"{{"operations":[{{"operation":"emit-with-ack","rooms":["none"],"event":"a","timeout_ms":{timeout}}}]}}"#);
        backend.post("batch", serde_json::from_str(&body).unwrap()).await
    };
    assert_eq!(ask("13.0").await.status, 200);
    for wrong in ["13.5", "-1", "-1.0", "1e300", "null", "\"1\""] {
        assert_eq!(ask(wrong).await.problem(), problem(422, "invalid", "/operations/0"), "{wrong}");
    }
}
