//! Each operation, with its effect on clients.

use serde_json::{Value, json};

use crate::{Backend, problem};

#[actix_web::test]
async fn emit_reaches_rooms_without_the_excepted() {
    let backend = Backend::start();
    let (red, both, blue) = (backend.client(&["red"]).await, backend.client(&["red", "blue"]).await, backend.client(&["blue"]).await);
    let answered =
        backend.post("emit", json!({"rooms": ["red"], "except": ["blue"], "event": "paid", "args": ["order-7", {"sum": 12.5}]})).await;
    assert_eq!((answered.status, answered.json()), (200, json!({"durable": false, "idempotency": null})));
    let event = red.expect("paid").await.unwrap();
    assert_eq!(event.all::<(String, Value)>().unwrap(), ("order-7".into(), json!({"sum": 12.5})));
    for other in [both, blue] {
        other.sync().await.unwrap();
        assert!(other.pending().is_empty());
    }
}

#[actix_web::test]
async fn emit_reaches_all_sockets_when_no_room_is_named() {
    let backend = Backend::start();
    let (ada, bob) = (backend.client(&[]).await, backend.client(&["red"]).await);
    assert_eq!(backend.post("emit", json!({"event": "news"})).await.status, 200);
    for client in [ada, bob] {
        assert_eq!(client.expect("news").await.unwrap().args.len(), 0);
    }
}

#[actix_web::test]
async fn emit_reaches_one_socket_by_its_id() {
    let backend = Backend::start();
    let (ada, bob) = (backend.client(&[]).await, backend.client(&[]).await);
    assert_eq!(backend.post("emit", json!({"rooms": [ada.id()], "event": "hello"})).await.status, 200);
    ada.expect("hello").await.unwrap();
    bob.sync().await.unwrap();
    assert!(bob.pending().is_empty());
}

#[actix_web::test]
async fn binary_arguments_arrive_as_binary() {
    let backend = Backend::start();
    let client = backend.client(&[]).await;
    assert_eq!(backend.post("emit", json!({"event": "dots", "args": [{"at": {"$binary": "AQID"}}]})).await.status, 200);
    let event = client.expect("dots").await.unwrap();
    let value = event.args.decode::<sociable::Value>(0).unwrap();
    assert_eq!(value["at"].as_bytes().map(|bytes| &bytes[..]), Some(&[1, 2, 3][..]));
}

#[actix_web::test]
async fn reserved_event_is_refused() {
    let backend = Backend::start();
    for operation in ["emit", "emit-with-ack"] {
        let answered = backend.post(operation, json!({"event": "disconnect"})).await;
        assert_eq!(answered.problem(), problem(422, "invalid", "/event"));
    }
}

#[actix_web::test]
async fn durable_event_is_refused_without_jetstream() {
    let backend = Backend::start();
    let client = backend.client(&[]).await;
    let answered = backend.post("emit", json!({"event": "order", "durable": true})).await;
    assert_eq!(answered.problem(), problem(422, "durability-unavailable", "/durable"));
    let answered = backend.post("emit", json!({"event": "order", "durable": true, "volatile": true})).await;
    assert_eq!(answered.problem(), problem(422, "invalid", "/durable"));
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

#[actix_web::test]
async fn acknowledgements_come_with_their_sockets() {
    let backend = Backend::start();
    let (ada, silent) = (backend.client(&["red"]).await, backend.client(&["red"]).await);
    let answer = async {
        let event = ada.expect("ready?").await.unwrap();
        ada.answer(&event, ("yes", 7)).unwrap();
    };
    let asked = backend.post("emit-with-ack", json!({"rooms": ["red"], "event": "ready?", "timeout_ms": 300}));
    let (answered, ()) = tokio::join!(asked, answer);
    let expected = json!({
        "answers": [{"socket": ada.id(), "args": ["yes", 7]}], "missing": {"sockets": [silent.id()], "nodes": []}, "timed_out": true,
    });
    assert_eq!((answered.status, answered.json()), (200, expected));
    let answered = backend.post("emit-with-ack", json!({"rooms": ["nobody"], "event": "ready?"})).await;
    assert_eq!(answered.json(), json!({"answers": [], "missing": {"sockets": [], "nodes": []}, "timed_out": false}));
}

#[actix_web::test]
async fn sockets_join_and_leave_rooms() {
    let backend = Backend::start();
    let client = backend.client(&["red"]).await;
    let rooms = async || {
        let mut rooms: Vec<String> = serde_json::from_value(backend.get("sockets").await.json()["sockets"][0]["rooms"].clone()).unwrap();
        rooms.retain(|room| room != client.id());
        rooms.sort();
        rooms
    };
    let answered = backend.post("join", json!({"rooms": ["red"], "join": ["blue", "green"]})).await;
    assert_eq!((answered.status, answered.json()), (200, json!({})));
    assert_eq!(rooms().await, ["blue", "green", "red"]);
    let answered = backend.post("leave", json!({"leave": ["red", "green"]})).await;
    assert_eq!((answered.status, answered.json()), (200, json!({})));
    assert_eq!(rooms().await, ["blue"]);
}

#[actix_web::test]
async fn disconnect_ends_sockets_or_connections() {
    let backend = Backend::start();
    for close in [false, true] {
        let (ada, bob) = (backend.client(&["red"]).await, backend.client(&[]).await);
        let answered = backend.post("disconnect", json!({"rooms": ["red"], "close": close})).await;
        assert_eq!((answered.status, answered.json()), (200, json!({})));
        ada.disconnected().await.unwrap();
        bob.sync().await.unwrap();
    }
}

#[actix_web::test]
async fn sockets_are_listed_with_their_state() {
    let backend = Backend::start();
    let ada = backend.server.client().auth(&json!({"token": "x"})).connect().await.unwrap();
    let bob = backend.client(&["red"]).await;
    let all = backend.get("sockets?auth=true").await.json();
    assert_eq!((&all["missing"], &all["truncated"]), (&json!({"nodes": []}), &json!(false)));
    let of = |id: &str| all["sockets"].as_array().unwrap().iter().find(|socket| socket["id"] == id).cloned().unwrap();
    assert_eq!((&of(ada.id())["auth"], &of(ada.id())["data"]), (&json!({"token": "x"}), &json!({})));
    assert!(of(ada.id())["address"].as_str().unwrap().starts_with("127.0.0.1"), "{all}");
    assert!(of(ada.id())["issued"].as_u64().unwrap() > 1_600_000_000_000);
    let ids = async |path: &str| {
        let list = backend.get(path).await.json();
        let ids: Vec<_> = list["sockets"].as_array().unwrap().iter().map(|socket| socket["id"].as_str().unwrap().to_owned()).collect();
        assert!(list["sockets"].as_array().unwrap().iter().all(|socket| socket.get("auth").is_none()));
        (ids, list["truncated"].as_bool().unwrap())
    };
    assert_eq!(ids("sockets?room=red&room=other").await, (vec![bob.id().to_owned()], false));
    assert_eq!(ids("sockets?except=red").await, (vec![ada.id().to_owned()], false));
    let (cut, truncated) = ids("sockets?limit=1").await;
    assert_eq!((cut.len(), truncated), (1, true));
}

#[actix_web::test]
async fn batch_has_an_outcome_for_each_operation() {
    let backend = Backend::start();
    let client = backend.client(&["red"]).await;
    let operations = json!([
        {"operation": "join", "rooms": ["red"], "join": ["blue"]},
        {"operation": "emit", "event": "disconnect"},
        {"operation": "emit", "namespace": "/none", "event": "a"},
        {"operation": "emit", "rooms": ["blue"], "event": "first"},
        {"operation": "emit", "rooms": ["blue"], "event": "second"},
        {"operation": "sockets", "rooms": ["blue"]},
    ]);
    let answered = backend.post("batch", json!({"operations": operations})).await;
    assert_eq!(answered.status, 200);
    let outcomes = answered.json()["outcomes"].clone();
    let statuses: Vec<_> = outcomes.as_array().unwrap().iter().map(|outcome| outcome["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 422, 404, 200, 200, 200]);
    assert_eq!((&outcomes[0]["body"], &outcomes[3]["body"]), (&json!({}), &json!({"durable": false, "idempotency": null})));
    assert_eq!(outcomes[1]["problem"]["pointer"], "/operations/1/event");
    assert_eq!(outcomes[5]["body"]["sockets"][0]["id"], client.id());
    for event in ["first", "second"] {
        assert_eq!(client.next().await.unwrap().name, event);
    }
}
