//! Requests with an idempotency key.

use serde_json::{Value, json};
use sociable_gateway::api::Limits;

use crate::{ALL, Answered, Backend, SHOP, keys, post, problem};

impl Backend {
    async fn post_with(&self, key: &str, secret: &str, operation: &str, body: Value) -> Answered {
        let request = post(operation).insert_header(("Authorization", format!("Bearer {secret}"))).insert_header(("Idempotency-Key", key));
        self.send(request.set_json(body)).await
    }
}

fn is_replayed(answered: &Answered) -> bool {
    answered.header("idempotency-replayed") == Some("true")
}

#[actix_web::test]
async fn repetition_is_answered_again_and_sends_nothing() {
    let backend = Backend::start();
    let client = backend.client(&["order:7"]).await;
    let body = json!({"rooms": ["order:7"], "event": "paid", "args": [7]});
    for is_repetition in [false, true] {
        // The quotes of a structured field are no part of the key.
        let key = if is_repetition { "\"order 7\"" } else { "order 7" };
        let answered = backend.post_with(key, ALL, "emit", body.clone()).await;
        assert_eq!((answered.status, answered.json()), (200, json!({"durable": false, "idempotency": "node"})));
        assert_eq!((is_replayed(&answered), answered.header("content-type")), (is_repetition, Some("application/json")));
    }
    let other = backend.post_with("order 7", ALL, "emit", json!({"event": "paid"})).await;
    assert_eq!(other.problem(), problem(422, "key-reused", Value::Null));
    assert_eq!(other.json()["parameter"], "Idempotency-Key");
    assert_eq!(backend.post_with("order 7", ALL, "leave", body.clone()).await.status, 422);
    client.expect("paid").await.unwrap();
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
    // Each key of the API has idempotency keys of its own.
    let answered = backend.post_with("order 7", SHOP, "emit", body).await;
    assert!(answered.status == 200 && !is_replayed(&answered));
    client.expect("paid").await.unwrap();
}

#[actix_web::test]
async fn running_request_is_not_repeated() {
    let backend = Backend::start();
    let client = backend.client(&[]).await;
    let body = json!({"event": "ready?"});
    let first = backend.post_with("a", ALL, "emit-with-ack", body.clone());
    let meanwhile = async {
        let event = client.expect("ready?").await.unwrap();
        let repeated = backend.post_with("a", ALL, "emit-with-ack", body.clone()).await;
        client.answer(&event, "yes").unwrap();
        repeated
    };
    let (first, repeated) = tokio::join!(first, meanwhile);
    assert_eq!(repeated.problem(), problem(409, "in-progress", Value::Null));
    assert_eq!(repeated.header("retry-after"), Some("1"));
    let again = backend.post_with("a", ALL, "emit-with-ack", body.clone()).await;
    assert_eq!((again.status, &again.body, is_replayed(&again)), (200, &first.body, true));
    assert_eq!(first.json()["answers"][0]["args"], json!(["yes"]));
}

#[actix_web::test]
async fn request_goes_on_when_its_backend_leaves() {
    let backend = Backend::start();
    let client = backend.client(&[]).await;
    let body = json!({"event": "ready?"});
    let event = tokio::select! {
        answered = backend.post_with("a", ALL, "emit-with-ack", body.clone()) => panic!("nobody has answered: {}", answered.status),
        event = client.expect("ready?") => event.unwrap(),
    };
    assert_eq!(backend.post_with("a", ALL, "emit-with-ack", body.clone()).await.status, 409);
    client.answer(&event, "yes").unwrap();
    let answered = loop {
        let answered = backend.post_with("a", ALL, "emit-with-ack", body.clone()).await;
        if answered.status == 200 {
            break answered;
        }
        tokio::task::yield_now().await;
    };
    assert!(is_replayed(&answered));
    assert_eq!(answered.json()["answers"][0]["args"], json!(["yes"]));
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

#[actix_web::test]
async fn request_without_effects_may_run_again() {
    let backend = Backend::start();
    let body = json!({"namespace": "/late", "event": "a"});
    assert_eq!(backend.post_with("a", ALL, "emit", body.clone()).await.problem(), problem(404, "not-found", "/namespace"));
    backend.io.of("/late");
    for is_repetition in [false, true] {
        let answered = backend.post_with("a", ALL, "emit", body.clone()).await;
        assert_eq!((answered.status, is_replayed(&answered)), (200, is_repetition));
    }
}

#[actix_web::test]
async fn batch_is_repeated_as_one() {
    let backend = Backend::start();
    let client = backend.client(&[]).await;
    let body =
        json!({"operations": [{"operation": "count"}, {"operation": "emit", "event": "a"}, {"operation": "emit", "event": "disconnect"}]});
    let first = backend.post_with("a", ALL, "batch", body.clone()).await;
    let again = backend.post_with("a", ALL, "batch", body).await;
    assert_eq!((first.status, is_replayed(&first), is_replayed(&again)), (200, false, true));
    assert_eq!(first.body, again.body);
    assert_eq!(first.json()["outcomes"][1]["body"]["idempotency"], "node");
    client.expect("a").await.unwrap();
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

#[actix_web::test]
async fn wrong_key_is_refused() {
    let backend = Backend::with(Limits::default().max_idempotency_key(3), keys());
    let emit = || post("emit").insert_header(("Authorization", format!("Bearer {ALL}"))).set_json(json!({"event": "a"}));
    let wrong = [emit().insert_header(("Idempotency-Key", "four")), emit().insert_header(("Idempotency-Key", "\"\""))];
    for request in wrong.into_iter().chain([emit().append_header(("Idempotency-Key", "a")).append_header(("Idempotency-Key", "b"))]) {
        let answered = backend.send(request).await;
        assert_eq!(answered.problem(), problem(422, "invalid", Value::Null));
        assert_eq!(answered.json()["parameter"], "Idempotency-Key");
    }
    assert_eq!(backend.send(emit().insert_header(("Idempotency-Key", "abc"))).await.status, 200);
}
