//! Development mode: the sockets of a node.

use super::*;

#[tokio::test]
async fn life_of_a_socket_is_reported() {
    let (io, server) = start(development());
    let page = login(&server).await;
    let all: Vec<Value> = page.expect("all_sockets").await.unwrap().data().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0]["id"], &all[0]["nsp"], &all[0]["data"]["user"]), (&json!(page.id()), &json!("/admin"), &json!("ada")));

    let client = server.client().query("a", "b").header("x-test", "yes").header("cookie", "secret=1").connect().await.unwrap();
    let id = client.id().to_owned();
    let [socket, time] = <[Value; 2]>::try_from(page.expect("socket_connected").await.unwrap().all::<Vec<Value>>().unwrap()).unwrap();
    assert_eq!((&socket["id"], &socket["nsp"], &socket["transport"]), (&json!(id), &json!("/"), &json!("websocket")));
    assert_eq!((&socket["data"], &socket["rooms"]), (&json!({}), &json!([id])));
    assert_eq!(socket["clientId"].as_str().unwrap().len(), 12);
    let handshake = &socket["handshake"];
    assert_eq!((&handshake["address"], &handshake["query"]["a"], &handshake["secure"]), (&json!("127.0.0.1"), &json!("b"), &json!(false)));
    assert_eq!((&handshake["headers"]["x-test"], &handshake["headers"]["cookie"]), (&json!("yes"), &json!("(hidden)")));
    assert!(handshake["issued"].is_u64() && handshake["url"].as_str().unwrap().starts_with("/socket.io/?EIO=4"));
    assert!(time.as_str().unwrap().ends_with('Z'));

    client.emit("join", "red").unwrap();
    expect(&page, "event_received", json!(["/", id, ["join", "red"]])).await;
    expect(&page, "room_joined", json!(["/", "red", id])).await;
    client.emit("echo", "hello").unwrap();
    expect(&page, "event_sent", json!(["/", id, ["echo", "hello"]])).await;
    io.to("red").emit("news", ("a", 1)).unwrap();
    expect(&page, "event_sent", json!(["/", id, ["news", "a", 1]])).await;
    client.emit("leave", "red").unwrap();
    expect(&page, "room_left", json!(["/", "red", id])).await;
    client.disconnect();
    expect(&page, "socket_disconnected", json!(["/", id, "client namespace disconnect"])).await;
}

#[tokio::test]
async fn changed_data_is_reported() {
    let (io, server) = start(development());
    io.on("name", async |socket: Socket, Data(name): Data<String>| drop(socket.set_data(&json!({ "name": name }))));
    let client = server.connect().await.unwrap();
    let page = login(&server).await;
    page.expect("all_sockets").await.unwrap();
    client.emit("name", "Ada").unwrap();
    let update: Value = page.expect("socket_updated").await.unwrap().data().unwrap();
    assert_eq!((&update["id"], &update["data"]["name"]), (&json!(client.id()), &json!("Ada")));
}

#[tokio::test]
async fn namespace_created_later_is_watched() {
    let (io, server) = start(development());
    let page = login(&server).await;
    page.expect("all_sockets").await.unwrap();
    io.of("/later");
    let client = server.client().namespace("/later").connect().await.unwrap();
    let socket: Value = page.expect("socket_connected").await.unwrap().data().unwrap();
    assert_eq!((&socket["id"], &socket["nsp"]), (&json!(client.id()), &json!("/later")));
}

#[tokio::test]
async fn sample_has_a_bound() {
    let (_, server) = start(development().sockets(4));
    let mut clients = vec![];
    for _ in 0..20 {
        clients.push(server.connect().await.unwrap());
    }
    let page = login(&server).await;
    let all: Vec<Value> = page.expect("all_sockets").await.unwrap().data().unwrap();
    assert!((1..=4).contains(&all.len()), "{all:?}");
    let stats: Value = page.expect("server_stats").await.unwrap().data().unwrap();
    assert_eq!(stats["clientsCount"], 21, "the sums are of all sockets");
}

#[tokio::test]
async fn list_of_sockets_is_bounded_in_bytes() {
    let (_, server) = start(development().sockets_bytes(1500));
    let mut clients = vec![];
    for _ in 0..20 {
        clients.push(server.connect().await.unwrap());
    }
    let page = login(&server).await;
    let all: Vec<Value> = page.expect("all_sockets").await.unwrap().data().unwrap();
    assert!(!all.is_empty() && serde_json::to_string(&all).unwrap().len() <= 1502, "{}", all.len());
}

#[tokio::test]
async fn events_beyond_the_budget_are_dropped_and_counted() {
    let (io, server) = start(development().events_per_second(5));
    let page = login(&server).await;
    page.expect("all_sockets").await.unwrap();
    let client = server.connect().await.unwrap();
    page.expect("socket_connected").await.unwrap();
    for n in 0..200 {
        client.emit("unheard", n).unwrap();
    }
    client.sync().await.unwrap();
    // Few seconds have passed at most, and each has its budget.
    assert!(metric(&io, "admin_records_dropped_total{kind=\"event\"}").await > 100);
}

#[tokio::test]
async fn list_is_sent_again_after_lost_changes() {
    let (io, server) = start(development().changes_per_second(1));
    let page = login(&server).await;
    page.expect("all_sockets").await.unwrap();
    let client = server.connect().await.unwrap();
    page.expect("socket_connected").await.unwrap();
    for n in 0..50 {
        client.emit("join", format!("room-{n}")).unwrap();
    }
    let all: Vec<Value> = page.expect("all_sockets").await.unwrap().data().unwrap();
    let socket = all.iter().find(|socket| socket["id"] == client.id()).unwrap();
    assert_eq!(socket["rooms"].as_array().unwrap().len(), 50, "rooms are cut at 50");
    assert!(metric(&io, "admin_records_dropped_total{kind=\"change\"}").await > 10);
}

#[tokio::test]
async fn long_arguments_are_reported_by_their_length() {
    let (_, server) = start(development().event_bytes(100));
    let page = login(&server).await;
    page.expect("all_sockets").await.unwrap();
    let client = server.connect().await.unwrap();
    page.expect("socket_connected").await.unwrap();
    client.emit("long", "a".repeat(1000)).unwrap();
    expect(&page, "event_received", json!(["/", client.id(), ["long", "(1002 bytes)"]])).await;
    client.emit("binary", bytes::Bytes::from_static(&[1, 2])).unwrap();
    expect(&page, "event_received", json!(["/", client.id(), ["binary", { "_placeholder": true, "num": 0 }]])).await;
    client.emit("nothing", ()).unwrap();
    expect(&page, "event_received", json!(["/", client.id(), ["nothing"]])).await;
}

#[tokio::test]
async fn history_of_recovery_keeps_no_report() {
    let io = server(development(), |builder| builder.recovery(sociable::Recovery::default()));
    let server = TestServer::start(&io).unwrap();
    let page = login(&server).await;
    page.expect("all_sockets").await.unwrap();
    page.expect("server_stats").await.unwrap();
    assert_eq!(io.recovery_usage().events, 0);
    let lost = page.drop_connection();
    let back = self::page(&server).recover(lost).connect().await.unwrap();
    assert!(back.recovered());
    back.expect("config").await.unwrap();
    back.expect("server_stats").await.unwrap();
}
