//! Production mode: the sums of a node.

use super::*;

#[tokio::test]
async fn sums_count_clients_messages_and_namespaces() {
    let (io, server) = start(options().server_id("one"));
    let client = server.connect().await.unwrap();
    let page = login(&server).await;
    let config: Value = page.expect("config").await.unwrap().data().unwrap();
    assert_eq!(config["supportedFeatures"][7], "AGGREGATED_EVENTS");
    let first: Value = page.expect("server_stats").await.unwrap().data().unwrap();
    assert_eq!((&first["serverId"], &first["clientsCount"], &first["pollingClientsCount"]), (&json!("one"), &json!(2), &json!(0)));
    assert_eq!(first["aggregatedEvents"], json!([]), "nothing of the time before");
    let size = |name: &str| first["namespaces"].as_array().unwrap().iter().find(|of| of["name"] == name).unwrap()["socketsCount"].clone();
    assert_eq!((size("/"), size("/admin")), (json!(1), json!(1)));
    assert!(first["uptime"].is_f64() && first["pid"].is_u64() && first["hostname"].is_string());

    client.emit("echo", "hello").unwrap();
    client.expect("echo").await.unwrap();
    client.disconnect();
    let mut seen = std::collections::BTreeMap::new();
    while !seen.contains_key("rawDisconnection") {
        let stats: Value = page.expect("server_stats").await.unwrap().data().unwrap();
        for event in stats["aggregatedEvents"].as_array().unwrap() {
            assert!(event["timestamp"].as_u64().unwrap() % 1000 == 0);
            *seen.entry(event["type"].as_str().unwrap().to_owned()).or_insert(0) += event["count"].as_u64().unwrap();
        }
    }
    assert!(seen["packetsIn"] >= 1 && seen["bytesIn"] >= 16 && seen["packetsOut"] >= 1 && seen["bytesOut"] >= 16, "{seen:?}");
    page.sync().await.unwrap();
    assert!(!page.pending().iter().any(|name| name == "all_sockets" || name == "socket_disconnected"));
    page.disconnect();
    unwatched(&io).await;
}

#[tokio::test]
async fn second_page_gets_the_sums_too() {
    let (_, server) = start(options());
    let first = login(&server).await;
    first.expect("server_stats").await.unwrap();
    let second = login(&server).await;
    second.expect("server_stats").await.unwrap();
    first.disconnect();
    second.expect("server_stats").await.unwrap();
}
