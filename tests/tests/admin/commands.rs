//! The commands of a page.

use super::*;

async fn command(page: &TestClient, name: &str, args: Value) {
    let args: Vec<Value> = args.as_array().unwrap().clone();
    match &args[..] {
        [a] => page.emit(name, (a,)),
        [a, b] => page.emit(name, (a, b)),
        [a, b, c] => page.emit(name, (a, b, c)),
        [a, b, c, d, e] => page.emit(name, (a, b, c, d, e)),
        other => panic!("{other:?}"),
    }
    .unwrap();
}

#[tokio::test]
async fn page_emits_moves_and_disconnects_sockets() {
    let (io, server) = start(options());
    let (red, blue) = (server.connect().await.unwrap(), server.connect().await.unwrap());
    let page = login(&server).await;
    command(&page, "join", json!(["/", "red", red.id()])).await;
    command(&page, "emit", json!(["/", "red", "news", "a", 1])).await;
    assert_eq!(red.expect("news").await.unwrap().all::<(String, u8)>().unwrap(), ("a".into(), 1));
    command(&page, "emit", json!(["/", null, "all"])).await;
    red.expect("all").await.unwrap();
    blue.expect("all").await.unwrap();
    assert!(blue.pending().is_empty(), "not in the room");
    command(&page, "leave", json!(["/", "red"])).await;
    command(&page, "emit", json!(["/", ["red", blue.id()], "rest"])).await;
    blue.expect("rest").await.unwrap();
    red.sync().await.unwrap();
    assert!(red.pending().is_empty(), "left the room");
    command(&page, "_disconnect", json!(["/", false, red.id()])).await;
    assert_eq!(red.disconnected().await.unwrap(), "io server disconnect");
    command(&page, "_disconnect", json!(["/", true])).await;
    blue.disconnected().await.unwrap();
    eventually_async("all are counted", async || metric(&io, "admin_commands_total{outcome=\"done\"}").await == 7).await;
}

#[tokio::test]
async fn commands_with_wrong_arguments_fail() {
    let (io, server) = start(options());
    let page = login(&server).await;
    let client = server.connect().await.unwrap();
    command(&page, "join", json!(["/unknown", "red", "x"])).await;
    command(&page, "join", json!(["/"])).await;
    command(&page, "_disconnect", json!([7])).await;
    command(&page, "_disconnect", json!(["/", false, { "no": "filter" }])).await;
    command(&page, "emit", json!(["/", null, "connect"])).await;
    eventually_async("all have failed", async || metric(&io, "admin_commands_total{outcome=\"failed\"}").await == 5).await;
    assert!(io.namespace("/unknown").is_none());
    client.sync().await.unwrap();
}

#[tokio::test]
async fn readonly_page_gives_no_command() {
    let (io, server) = start(development().readonly(true));
    let page = login(&server).await;
    let config: Value = page.expect("config").await.unwrap().data().unwrap();
    assert_eq!(config["supportedFeatures"], json!(["AGGREGATED_EVENTS", "ALL_EVENTS"]));
    let client = server.connect().await.unwrap();
    command(&page, "_disconnect", json!(["/", true])).await;
    page.sync().await.unwrap();
    client.sync().await.unwrap();
    assert_eq!(metric(&io, "admin_commands_total{outcome=\"done\"}").await, 0);
}
