//! Questions that all nodes answer with numbers.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::{Answered, Backend, SHOP, problem};

impl Backend {
    async fn ask_for_shop(&self, path: &str) -> Answered {
        self.send(TestRequest::get().uri(&format!("/api/v1/{path}")).insert_header(("Authorization", format!("Bearer {SHOP}")))).await
    }
}

#[actix_web::test]
async fn sockets_are_counted() {
    let backend = Backend::start();
    let _clients = [backend.client(&["red"]).await, backend.client(&["red", "blue"]).await, backend.client(&[]).await];
    for (query, sockets) in [("", 3), ("?room=red", 2), ("?room=red&room=blue", 2), ("?room=red&except=blue", 1), ("?room=none", 0)] {
        let answered = backend.get(&format!("count{query}")).await;
        assert_eq!((answered.status, answered.json()), (200, json!({"sockets": sockets, "missing": {"nodes": []}})), "{query}");
    }
    assert_eq!(backend.get("count?namespace=/none").await.problem().0, 404);
}

#[actix_web::test]
async fn rooms_are_listed_with_their_sizes() {
    let backend = Backend::start();
    let _clients = [backend.client(&["user:1", "lobby"]).await, backend.client(&["user:2", "lobby"]).await];
    let room = |room: &str, sockets: u64| json!({"room": room, "sockets": sockets});
    let all = [room("lobby", 2), room("user:1", 1), room("user:2", 1)];
    for (query, rooms, truncated) in [("", &all[..], false), ("?prefix=user:", &all[1..], false), ("?limit=2", &all[..2], true)] {
        let expected = json!({"rooms": rooms, "missing": {"nodes": []}, "truncated": truncated});
        let answered = backend.get(&format!("rooms{query}")).await;
        assert_eq!((answered.status, answered.json()), (200, expected), "{query}");
    }
    for limit in ["0", "10001"] {
        let answered = backend.get(&format!("rooms?limit={limit}")).await;
        assert_eq!((answered.problem(), &answered.json()["parameter"]), (problem(422, "invalid", Value::Null), &json!("limit")));
    }
}

#[actix_web::test]
async fn nodes_are_listed() {
    let backend = Backend::start();
    let _client = backend.client(&[]).await;
    let answered = backend.get("info").await;
    let list = answered.json();
    assert_eq!((answered.status, &list["missing"], list["nodes"].as_array().map(Vec::len)), (200, &json!({"nodes": []}), Some(1)));
    let node = &list["nodes"][0];
    assert_eq!(
        (&node["sessions"], &node["sockets"], &node["namespaces"], &node["draining"]),
        (&json!(1), &json!(1), &json!(1), &json!(false))
    );
    assert_eq!((&node["name"], &node["tag"]), (&json!(backend.io.tag().to_string()), &json!(backend.io.tag().to_string())));
    assert_eq!(backend.ask_for_shop("info").await.problem().0, 403);
}

#[actix_web::test]
async fn key_of_some_rooms_asks_for_them_alone() {
    let backend = Backend::start();
    let _clients = [backend.client(&["order:7"]).await, backend.client(&["admin"]).await];
    let allowed = ["count?room=order:7", "rooms?prefix=order:", "rooms?prefix=order:7"];
    for path in allowed {
        assert_eq!(backend.ask_for_shop(path).await.status, 200, "{path}");
    }
    let refused = [("count", "room"), ("count?room=admin", "room"), ("rooms", "prefix"), ("rooms?prefix=order", "prefix")];
    for (path, parameter) in refused {
        let answered = backend.ask_for_shop(path).await;
        assert_eq!(answered.problem(), problem(403, "forbidden", Value::Null), "{path}");
        assert_eq!(answered.json()["parameter"], parameter, "{path}");
    }
    let batch = json!({"operations": [{"operation": "rooms"}, {"operation": "count", "rooms": ["order:7"]}]});
    let outcomes = backend.post_as(SHOP, "batch", batch).await.json()["outcomes"].clone();
    assert_eq!((&outcomes[0]["status"], &outcomes[0]["problem"]["pointer"]), (&json!(403), &json!("/operations/0/prefix")));
    assert_eq!(outcomes[1], json!({"status": 200, "body": {"sockets": 1, "missing": {"nodes": []}}}));
}
