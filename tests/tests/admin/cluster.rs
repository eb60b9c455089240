//! Three nodes over a real NATS server.

use std::collections::BTreeSet;
use std::time::Duration;

use sociable::{NatsAdapter, NatsOptions};
use sociable_tests::{Nats, eventually};

use super::*;

struct Member {
    io: Server,
    server: TestServer,
}

async fn start_node(nats: &Nats, name: &str, options: AdminOptions) -> Member {
    let adapter = NatsAdapter::connect(NatsOptions::new(nats.url()).node_name(name)).await.unwrap();
    let io = server(options.server_id(name), |builder| builder.adapter(adapter).request_timeout(patience()));
    let server = TestServer::start(&io).unwrap();
    // The first client starts the adapter.
    server.connect().await.unwrap().disconnect();
    Member { io, server }
}

async fn start_cluster(nats: &Nats, options: AdminOptions) -> [Member; 3] {
    let mut members = vec![];
    for name in ["a", "b", "c"] {
        members.push(start_node(nats, name, options.clone()).await);
    }
    for member in &members {
        eventually("the nodes know each other", || member.io.other_nodes().len() == 2).await;
    }
    members.try_into().ok().unwrap()
}

#[tokio::test]
async fn page_sees_and_moves_the_sockets_of_all_nodes() {
    let nats = Nats::start();
    let [a, b, c] = start_cluster(&nats, development()).await;
    let client = c.server.connect().await.unwrap();
    let page = login(&a.server).await;
    let all: Vec<Value> = page.expect("all_sockets").await.unwrap().data().unwrap();
    assert!(all.iter().any(|socket| socket["id"] == client.id()), "{all:?}");
    let mut servers = BTreeSet::new();
    while servers.len() < 3 {
        let stats: Value = page.expect("server_stats").await.unwrap().data().unwrap();
        servers.insert(stats["serverId"].as_str().unwrap().to_owned());
    }
    page.emit("join", ("/", "red", client.id())).unwrap();
    expect(&page, "room_joined", json!(["/", "red", client.id()])).await;
    page.emit("_disconnect", ("/", false, client.id())).unwrap();
    assert_eq!(client.disconnected().await.unwrap(), "io server disconnect");
    expect(&page, "socket_disconnected", json!(["/", client.id(), "server namespace disconnect"])).await;
    assert_eq!(metric(&b.io, "admin_watched").await, 1);
    page.disconnect();
    for member in [&a, &b, &c] {
        unwatched(&member.io).await;
    }
}

#[tokio::test]
async fn nodes_stop_reporting_when_the_looking_node_dies() {
    let nats = Nats::start();
    let [a, b, c] = start_cluster(&nats, options()).await;
    let page = login(&a.server).await;
    for member in [&b, &c] {
        eventually_async("the node reports", async || metric(&member.io, "admin_watched").await == 1).await;
    }
    drop((a, page));
    for member in [&b, &c] {
        unwatched(&member.io).await;
    }
}

#[tokio::test]
async fn pages_of_two_nodes_both_see_a_third() {
    let nats = Nats::start();
    let [a, b, c] = start_cluster(&nats, development()).await;
    let (one, two) = (login(&a.server).await, login(&b.server).await);
    for page in [&one, &two] {
        page.expect("all_sockets").await.unwrap();
    }
    let client = c.server.connect().await.unwrap();
    for page in [&one, &two] {
        let socket: Value = page.expect("socket_connected").await.unwrap().data().unwrap();
        assert!(socket["nsp"] == "/admin" || socket["id"] == client.id(), "{socket}");
    }
}

#[tokio::test]
async fn list_is_sent_again_when_a_node_is_gone() {
    let nats = Nats::start();
    let [a, _b, c] = start_cluster(&nats, development()).await;
    let client = c.server.connect().await.unwrap();
    let page = login(&a.server).await;
    let has_client = |list: &[Value]| list.iter().any(|socket| socket["id"] == client.id());
    let all: Vec<Value> = page.expect("all_sockets").await.unwrap().data().unwrap();
    assert!(has_client(&all), "{all:?}");
    c.io.close(Duration::ZERO).await;
    let all: Vec<Value> = page.expect("all_sockets").await.unwrap().data().unwrap();
    assert!(!has_client(&all), "{all:?}");
}
