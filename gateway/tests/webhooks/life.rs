//! The webhooks `connected` and `disconnected`.

use serde_json::json;
use sociable::testing::TestServer;
use sociable::{Recovery, Server};

use crate::backend::{Backend, json as answer, nothing};
use crate::node::{Node, hooks_of};

fn all(url: &str) -> serde_json::Value {
    json!({ "connect": url, "connected": url, "disconnected": url, "events": { "*": url } })
}

#[tokio::test]
async fn life_of_a_socket_is_told_in_order() {
    let backend = Backend::start(async |request| match request.kind() {
        "connect" => answer(&json!({ "data": { "name": "Ada" } })),
        "event" => answer(&json!({ "join": ["red"] })),
        _ => nothing(),
    });
    let node = Node::start(&all(&backend.url()));
    let client = node.connect().await;
    let id = client.id().to_owned();
    client.emit_with_ack("say", ()).await.unwrap();
    client.disconnect();
    let seen = backend.wait_for(4).await;
    assert_eq!(seen.iter().map(|request| request.kind()).collect::<Vec<_>>(), ["connect", "connected", "event", "disconnected"]);
    assert_eq!(seen[1].json(), json!({ "namespace": "/", "socket": id, "recovered": false, "data": { "name": "Ada" } }));
    assert_eq!(
        seen[3].json(),
        json!({ "namespace": "/", "socket": id, "reason": "client namespace disconnect", "rooms": ["red"], "data": { "name": "Ada" } })
    );
}

#[tokio::test]
async fn events_of_a_socket_that_left_are_told_before_its_end() {
    let held = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let hold = held.clone();
    let backend = Backend::start(move |request| {
        let hold = hold.clone();
        async move {
            if request.kind() == "connected" {
                hold.acquire().await.unwrap().forget();
            }
            answer(&json!({ "data": { "late": true }, "emit": [{ "event": "told", "args": [request.kind()] }] }))
        }
    });
    let node = Node::start(&json!({ "connected": backend.url(), "disconnected": backend.url(), "events": { "*": backend.url() } }));
    let watcher_node_clients = node.connect().await;
    held.add_permits(1);
    watcher_node_clients.expect("told").await.unwrap();
    let client = node.connect().await;
    for number in 0..3 {
        client.emit("say", number).unwrap();
    }
    client.sync().await.unwrap();
    client.drop_connection();
    crate::node::eventually("the socket left", || node.io.socket_count() == 1).await;
    held.add_permits(1);
    let seen = backend.wait_for(6).await;
    let told: Vec<_> = seen[1..].iter().map(|request| (request.kind().to_owned(), request.json()["args"].clone())).collect();
    let event = |number: u8| ("event".to_owned(), json!([number]));
    let none = |kind: &str| (kind.to_owned(), json!(null));
    assert_eq!(told, [none("connected"), event(0), event(1), event(2), none("disconnected")]);
    assert_eq!(seen[5].json()["reason"], json!("transport close"));
    for kind in ["connected", "event", "event", "event", "disconnected"] {
        assert_eq!(watcher_node_clients.expect("told").await.unwrap().data::<String>().unwrap(), kind, "answers still send events");
    }
}

#[tokio::test]
async fn resumed_session_is_told_and_not_asked_again() {
    let backend = Backend::quiet();
    let node = Node::start_on(Server::builder().recovery(Recovery::default()), &all(&backend.url()), &json!({}));
    let client = node.connect().await;
    let id = client.id().to_owned();
    client.emit_with_ack("say", ()).await.unwrap();
    node.io.emit("offset", ()).unwrap();
    client.expect("offset").await.unwrap();
    let back = node.server.client().recover(client.drop_connection()).connect().await.unwrap();
    assert!(back.recovered() && back.id() == id);
    let seen = backend.wait_for(5).await;
    assert_eq!(
        seen.iter().map(|request| request.kind()).collect::<Vec<_>>(),
        ["connect", "connected", "event", "disconnected", "connected"]
    );
    assert_eq!((&seen[4].json()["recovered"], &seen[4].json()["socket"]), (&json!(true), &json!(id)));
}

#[tokio::test]
async fn namespaces_of_a_pattern_have_webhooks() {
    let backend = Backend::quiet();
    let io = Server::builder().build().unwrap();
    let node = Node::start(&json!({}));
    let parent = io.of_pattern(regex::Regex::new("^/org-[a-z]+$").unwrap());
    node.webhooks.hook_pattern(&parent, &hooks_of(&all(&backend.url()))).unwrap();
    let server = TestServer::start(&io).unwrap();
    let client = server.client().namespace("/org-a").connect().await.unwrap();
    client.emit_with_ack("say", ()).await.unwrap();
    let seen = backend.wait_for(3).await;
    assert!(seen.iter().all(|request| request.header("ce-namespace") == "/org-a" && request.json()["namespace"] == "/org-a"));
}
