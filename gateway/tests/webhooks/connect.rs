//! The webhook `connect`: who is let in.

use serde_json::json;
use sociable::testing::TestError;

use crate::backend::{Answer, Backend, json as answer, nothing, status};
use crate::node::Node;

/// Connects a client to a node whose backend gives one answer.
async fn connect(reply: Answer) -> (Node, Result<sociable::testing::TestClient, TestError>, Backend) {
    let backend = Backend::start(move |_| std::future::ready(reply.clone()));
    let node = Node::start(&json!({ "connect": backend.url() }));
    let client = node.try_connect().await;
    (node, client, backend)
}

fn refusal(result: Result<sociable::testing::TestClient, TestError>) -> (String, serde_json::Value) {
    match result.map(drop) {
        Err(TestError::Refused { message, data }) => (message, data),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn connect_carries_the_request_of_the_client() {
    let backend = Backend::quiet();
    let node = Node::start_with(&json!({ "connect": backend.url() }), &json!({ "headers": ["cookie", "x-none"] }));
    let client = node.server.client().auth(&json!({ "token": "t" })).query("a", "b").header("cookie", "c=d").connect().await.unwrap();
    let [request] = &backend.seen()[..] else { panic!("{:?}", backend.seen()) };
    let body = request.json();
    assert_eq!(body["auth"], json!({ "token": "t" }));
    assert_eq!((&body["namespace"], &body["socket"], &body["data"]), (&json!("/"), &json!(client.id()), &json!(null)));
    assert_eq!((&body["address"], &body["headers"]), (&json!("127.0.0.1"), &json!({ "cookie": "c=d" })));
    assert!(body["url"].as_str().unwrap().ends_with("&a=b"), "{body}");
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "io.sociable.connect"),
        // The name of the node is encoded in the URI, and the URI in the header.
        ("ce-source", "/sociable/test/node%25201"),
        ("ce-subject", client.id()),
        ("ce-namespace", "/"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert!(!request.header("ce-id").is_empty() && request.header("webhook-id") == request.header("ce-id"));
    assert_eq!(request.header("webhook-signature"), "", "no secret");
}

#[tokio::test]
async fn answer_sets_data_rooms_and_events_of_the_new_socket() {
    let (node, client, _backend) = connect(answer(&json!({
        "allow": true, "data": { "name": "Ada" }, "join": ["red"], "emit": [{ "rooms": ["red"], "event": "hello", "args": [1, { "$binary": "AQID" }] }],
    })))
    .await;
    let client = client.unwrap();
    let hello = client.expect("hello").await.unwrap();
    assert_eq!(hello.args.attachments(), [&[1, 2, 3][..]]);
    let sockets = node.io.to("red").fetch_sockets().await.unwrap();
    assert_eq!(sockets[0].id().as_str(), client.id());
    assert_eq!(sockets[0].data()["name"].as_str(), Some("Ada"));
}

#[tokio::test]
async fn socket_is_let_in_when_the_answer_is_empty() {
    for reply in [nothing(), status(200), answer(&json!({}))] {
        let (node, client, _backend) = connect(reply).await;
        assert!(client.is_ok());
        assert_eq!(node.metric("sociable_webhooks_total", &["outcome=\"delivered\""]).await, 1);
    }
}

#[tokio::test]
async fn socket_is_refused_with_the_error_of_the_answer() {
    let error = json!({ "error": { "message": "full", "data": { "code": 7 } } });
    let with = |status| Answer { status, ..answer(&error) };
    for (reply, message, data) in [
        (answer(&json!({ "allow": false })), "not authorized", json!(null)),
        (answer(&error), "full", json!({ "code": 7 })),
        (with(401), "full", json!({ "code": 7 })),
        (with(403), "full", json!({ "code": 7 })),
        (status(401), "not authorized", json!(null)),
        (Answer { status: 403, ..answer(&json!("<html>")) }, "not authorized", json!(null)),
    ] {
        let (node, client, backend) = connect(reply).await;
        assert_eq!(refusal(client), (message.to_owned(), data));
        assert_eq!((backend.seen().len(), node.metric("sociable_webhooks_total", &["outcome=\"refused\""]).await), (1, 1));
    }
}

#[tokio::test]
async fn socket_is_refused_when_the_backend_has_no_answer() {
    let unavailable = ("backend unavailable".to_owned(), json!({ "code": "E_BACKEND" }));
    for reply in [status(404), status(302), answer(&json!({ "alow": true })), Answer { body: "<html>".into(), ..status(200) }] {
        let (node, client, backend) = connect(reply).await;
        assert_eq!(refusal(client), unavailable);
        assert_eq!((backend.seen().len(), node.metric("sociable_webhooks_total", &["outcome=\"failed\""]).await), (1, 1));
    }
}
